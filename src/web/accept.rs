//! Which exposition format a scrape asks for, by its `Accept` header (RFC 9110, section 12.5.1).
//!
//! There are two: OpenMetrics 1.0 and the text format 0.0.4. For each the most specific range of the header counts, with its
//! quality: the type with its version before the type alone, that before `application/*` or `text/*`, and that before `*/*`.
//! A range with another version does not count; neither does what is no range. The format of the higher quality is served.
//! When both have the same, the one that was named more specifically is, and the text format when that is the same, too.
//! Where neither is acceptable it is the text format all the same, as Prometheus wants it: a scrape with an answer that it
//! may not understand tells more than one without.
//!
//! OpenMetrics 0.0.1 alone is not OpenMetrics 1.0. Whoever asks for it knows the text format, too, and gets that.

use axum::http::HeaderMap;
use axum::http::HeaderValue;
use axum::http::header::{ACCEPT, ACCEPT_ENCODING};

/// A format that can be served: type, subtype, version.
type Offer = (&'static str, &'static str, &'static str);

const OPENMETRICS: Offer = ("application", "openmetrics-text", "1.0.0");
const TEXT: Offer = ("text", "plain", "0.0.4");

/// Whether OpenMetrics is to be served rather than text.
pub(super) fn prefers_openmetrics(headers: &HeaderMap) -> bool {
    let lines: Vec<_> = headers.get_all(ACCEPT).iter().map(|line| String::from_utf8_lossy(line.as_bytes())).collect();
    let ranges: Vec<Range> = lines.iter().flat_map(|line| split(line, ',')).filter_map(Range::parse).collect();
    preference(&ranges, OPENMETRICS) > preference(&ranges, TEXT)
}

/// Takes out of `Accept-Encoding` what refuses an answer that is not encoded: there is always one, for the same reason.
pub(super) fn allow_identity(headers: &mut HeaderMap) {
    let lines: Vec<_> =
        headers.get_all(ACCEPT_ENCODING).iter().map(|line| String::from_utf8_lossy(line.as_bytes())).collect();
    let (refusing, kept): (Vec<&str>, Vec<&str>) = lines
        .iter()
        .flat_map(|line| split(line, ','))
        .map(str::trim_ascii)
        .partition(|coding| refuses_identity(coding));
    if refusing.is_empty() {
        return;
    }
    let kept = HeaderValue::from_str(&kept.join(", ")).ok().filter(|kept| !kept.is_empty());
    match kept {
        Some(kept) => headers.insert(ACCEPT_ENCODING, kept),
        None => headers.remove(ACCEPT_ENCODING),
    };
}

fn refuses_identity(coding: &str) -> bool {
    let mut parts = split(coding, ';').map(str::trim_ascii);
    let is_meant = parts.next().is_some_and(|name| name == "*" || name.eq_ignore_ascii_case("identity"));
    let quality_of = |parameter: &str| {
        let (name, value) = parameter.split_once('=')?;
        name.eq_ignore_ascii_case("q").then(|| quality(value))?
    };
    is_meant && parts.filter_map(quality_of).any(|quality| quality == 0)
}

/// How much an offer is wanted: the quality of the most specific range for it, and how specific that is; `None` when it is
/// not acceptable.
fn preference(ranges: &[Range], offer: Offer) -> Option<(u16, u8)> {
    let matching = ranges.iter().filter_map(|range| Some((range.specificity(offer)?, range.quality)));
    matching.max().filter(|(_, quality)| *quality > 0).map(|(specificity, quality)| (quality, specificity))
}

/// One member of the header.
#[derive(Debug)]
struct Range {
    kind: String,
    subtype: String,
    version: Option<String>,
    /// In thousandths.
    quality: u16,
}

impl Range {
    /// Reads a member; `None` when it is none. Parameters other than `version` and `q` make no difference: nothing that is
    /// served depends on an escaping scheme, and everything is UTF-8.
    fn parse(member: &str) -> Option<Self> {
        let mut parts = split(member, ';').map(str::trim_ascii);
        let (kind, subtype) = parts.next()?.split_once('/')?;
        if !is_token(kind) || !is_token(subtype) || (kind == "*" && subtype != "*") {
            return None;
        }
        let mut range = Self {
            kind: kind.to_ascii_lowercase(),
            subtype: subtype.to_ascii_lowercase(),
            version: None,
            quality: 1000,
        };
        for parameter in parts.filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=')?;
            let value = unquoted(value)?;
            match name.to_ascii_lowercase().as_str() {
                "q" => range.quality = quality(&value)?,
                "version" => range.version = Some(value),
                name if is_token(name) => {}
                _ => return None,
            }
        }
        Some(range)
    }

    /// How specifically it names an offer; `None` when it does not.
    fn specificity(&self, (kind, subtype, version): Offer) -> Option<u8> {
        let of_type = match (self.kind.as_str(), self.subtype.as_str()) {
            ("*", "*") => 0,
            (k, "*") if k == kind => 1,
            (k, s) if k == kind && s == subtype => 2,
            _ => return None,
        };
        match &self.version {
            None => Some(of_type),
            Some(v) if v == version => Some(of_type + 1),
            Some(_) => None,
        }
    }
}

/// The parts of a text between its separators. One within quotes separates nothing.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    text.split(move |c| {
        let was_escaped = std::mem::take(&mut is_escaped);
        match c {
            '\\' if is_quoted && !was_escaped => is_escaped = true,
            '"' if !was_escaped => is_quoted = !is_quoted,
            _ => {}
        }
        c == separator && !is_quoted
    })
}

/// A parameter's value, which may be quoted; `None` when it is none.
fn unquoted(value: &str) -> Option<String> {
    let Some(rest) = value.strip_prefix('"') else { return is_token(value).then(|| value.to_owned()) };
    let mut text = String::new();
    let mut chars = rest.chars();
    loop {
        match chars.next()? {
            '"' => return chars.as_str().is_empty().then_some(text),
            '\\' => text.push(chars.next()?),
            c => text.push(c),
        }
    }
}

/// A quality from 0 to 1 with at most three decimals, in thousandths.
fn quality(text: &str) -> Option<u16> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    if !matches!(whole, "0" | "1") || decimals.len() > 3 || !decimals.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    format!("{whole}{decimals:0<3}").parse().ok().filter(|thousandths| *thousandths <= 1000)
}

/// Whether a text is a token (RFC 9110, section 5.6.2).
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_answer_that_is_not_encoded_is_never_refused() {
        for (given, left) in [
            (&["gzip"][..], Some("gzip")),
            (&["identity;q=0"], None),
            (&["gzip;q=0.5, identity; q=0.000", "*;Q=0"], Some("gzip;q=0.5")),
            (&["*;q=0.1, identity"], Some("*;q=0.1, identity")),
            (&["gzip;q=0, *;q=0"], Some("gzip;q=0")),
        ] {
            let mut headers = HeaderMap::new();
            for line in given {
                headers.append(ACCEPT_ENCODING, line.parse().unwrap());
            }
            allow_identity(&mut headers);
            let found: Vec<_> = headers.get_all(ACCEPT_ENCODING).iter().map(|line| line.to_str().unwrap()).collect();
            assert_eq!(found, left.into_iter().collect::<Vec<_>>(), "{given:?}");
        }
    }

    fn prefers(lines: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(ACCEPT, line.parse().unwrap());
        }
        prefers_openmetrics(&headers)
    }

    #[track_caller]
    fn assert_openmetrics(header: &str) {
        assert!(prefers(&[header]), "{header}");
    }

    #[track_caller]
    fn assert_text(header: &str) {
        assert!(!prefers(&[header]), "{header}");
    }

    #[test]
    fn what_scrapers_send_gets_the_best_that_they_understand() {
        // Prometheus 2.42, 2.5, and 3 with its default, with protobuf first, and with one protocol each.
        assert_openmetrics(
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
             text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
        );
        assert_text("application/openmetrics-text; version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1");
        let three = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                     application/openmetrics-text;version=0.0.1;q=0.4,\
                     text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
        assert_openmetrics(three);
        let protobuf = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
        assert_openmetrics(&format!("{protobuf};q=0.6,{three}"));
        assert_text(&format!("{protobuf};q=0.2,*/*;q=0.1"));
        assert_text("text/plain;version=1.0.0;escaping=allow-utf-8;q=0.2,*/*;q=0.1");
        assert_text("text/plain;version=0.0.4;q=0.2,*/*;q=0.1");
        assert_text("application/openmetrics-text;version=0.0.1;q=0.2,*/*;q=0.1");
        // A browser.
        assert_text("text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8");
    }

    #[test]
    fn without_a_wish_it_is_text() {
        assert!(!prefers(&[]));
        for header in ["", " , ,", "*/*", "*/*;q=0.3", "application/json", "application/*, text/*", "*/*;q=0"] {
            assert_text(header);
        }
    }

    #[test]
    fn the_version_is_1_0_0_or_none() {
        assert_openmetrics("application/openmetrics-text");
        assert_openmetrics("Application/OpenMetrics-Text;Version=1.0.0");
        assert_openmetrics("application/openmetrics-text; version=\"1.0.0\"; charset=utf-8");
        for version in ["0.0.1", "1.0", "1.0.0-rc1", "2.0.0", "\"\""] {
            assert_text(&format!("application/openmetrics-text;version={version}"));
        }
    }

    #[test]
    fn the_higher_quality_wins_wherever_it_stands() {
        assert_openmetrics("text/plain;q=0.5, application/openmetrics-text;q=0.501");
        assert_openmetrics("application/openmetrics-text;q=0.501,text/plain;q=0.5");
        assert_text("application/openmetrics-text;q=0.5,text/plain;q=0.501");
        assert_text("application/openmetrics-text;q=0.999 , text/plain");
        assert_openmetrics("application/openmetrics-text;Q=1.000, text/plain;q=0.");
        assert_openmetrics("application/openmetrics-text;version=1.0.0;q=0.001");
    }

    #[test]
    fn quality_zero_is_not_acceptable() {
        assert_text("application/openmetrics-text;q=0");
        assert_text("application/openmetrics-text;q=0.000, */*");
        assert_openmetrics("text/plain;q=0, */*;q=0.1");
        assert_text("text/plain;q=0");
        assert_text("text/plain;q=0, application/openmetrics-text;q=0");
    }

    #[test]
    fn the_most_specific_range_counts() {
        assert_text("application/openmetrics-text;version=1.0.0;q=0.1, application/openmetrics-text, text/plain;q=0.2");
        assert_openmetrics("application/openmetrics-text;q=0.3, application/*;q=0.1, */*;q=0.2");
        assert_text("application/*;q=0.1, */*;q=0.2");
        assert_openmetrics("text/*;q=0.1, */*;q=0.2");
        assert_openmetrics("application/*");
    }

    #[test]
    fn of_equal_qualities_the_more_specific_wins_and_then_text() {
        assert_openmetrics("application/openmetrics-text, */*");
        assert_text("text/plain, */*");
        assert_text("application/openmetrics-text, text/plain");
        assert_text("application/openmetrics-text;version=1.0.0;q=0.5, text/plain;version=0.0.4;q=0.5");
        assert_openmetrics("application/openmetrics-text;version=1.0.0, text/plain");
    }

    #[test]
    fn several_lines_are_one_list() {
        assert!(prefers(&["text/plain;q=0.5", "application/openmetrics-text"]));
        assert!(!prefers(&["application/openmetrics-text;q=0.4", "application/json", "text/plain;q=0.5"]));
    }

    #[test]
    fn separators_within_quotes_separate_nothing() {
        assert_text("text/plain;note=\"a,application/openmetrics-text\"");
        assert_text("text/plain;note=\"\\\",application/openmetrics-text;q=1,\"");
        assert_openmetrics("application/openmetrics-text;note=\"; version=9,\\\\\";version=1.0.0, text/plain;q=0.9");
    }

    #[test]
    fn what_is_no_range_is_ignored_and_the_rest_counts() {
        for wrong in [
            "application/openmetrics-text;q=2",
            "application/openmetrics-text;q=1.001",
            "application/openmetrics-text;q=0.0001",
            "application/openmetrics-text;q=.5",
            "application/openmetrics-text;q=-1",
            "application/openmetrics-text;q=+0.5",
            "application/openmetrics-text;q=high",
            "application/openmetrics-text;q",
            "application/openmetrics-text;version =1.0.0",
            "application/openmetrics-text;version=\"1.0.0",
            "application/openmetrics-text;version=\"1.0.0\"x",
            "application/openmetrics-text/1.0.0",
            "application",
            "*",
            "*/openmetrics-text",
            "appl ication/openmetrics-text",
            "/",
        ] {
            assert_text(wrong);
            assert_text(&format!("text/plain;q=0.1,{wrong}"));
            if !wrong.contains("\"1.0.0") {
                assert_openmetrics(&format!("{wrong},application/openmetrics-text"));
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn no_header_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(value) = axum::http::HeaderValue::from_bytes(&bytes) {
                prefers_openmetrics(&HeaderMap::from_iter([(ACCEPT, value)]));
            }
        }
    }
}
