//! A strict reader of the text format 0.0.4: what a lenient scraper would forgive is an error here.

use std::collections::{BTreeMap, HashSet};

/// What `/metrics` showed.
#[derive(Debug)]
pub(crate) struct Scrape {
    text: String,
    types: BTreeMap<String, String>,
    samples: BTreeMap<Series, f64>,
}

/// A series: its name and its labels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Series {
    name: String,
    labels: BTreeMap<String, String>,
}

impl Scrape {
    /// Reads a whole answer.
    ///
    /// # Errors
    ///
    /// The first line that is malformed, a series or family that comes twice, a sample outside its family or without a
    /// TYPE, a counter without `_total` or below zero, and a histogram whose buckets do not add up.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut scrape = Self { text: text.to_owned(), types: BTreeMap::new(), samples: BTreeMap::new() };
        let mut family = String::new();
        let mut helped = HashSet::new();
        let lines = text.strip_suffix('\n').ok_or("the last line does not end")?;
        for line in lines.split('\n') {
            let wrong = |what: &str| format!("{what}: {line}");
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').ok_or_else(|| wrong("no help"))?;
                if !is_name(name) || help.is_empty() || !helped.insert(name.to_owned()) {
                    return Err(wrong("a bad or second HELP"));
                }
                family = name.to_owned();
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').ok_or_else(|| wrong("no type"))?;
                if name != family || !["counter", "gauge", "histogram"].contains(&kind) {
                    return Err(wrong("a TYPE that is none, or not behind its HELP"));
                }
                if (kind == "counter") != name.ends_with("_total") {
                    return Err(wrong("a counter, and no other, ends in _total"));
                }
                if scrape.types.insert(name.to_owned(), kind.to_owned()).is_some() {
                    return Err(wrong("a second TYPE"));
                }
            } else {
                let (series, value) = sample(line).ok_or_else(|| wrong("malformed"))?;
                let kind = scrape.types.get(&family).ok_or_else(|| wrong("a sample without a TYPE"))?;
                let suffixes: &[&str] = if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
                let suffix = series.name.strip_prefix(&family).ok_or_else(|| wrong("outside its family"))?;
                if !suffixes.contains(&suffix) || (suffix == "_bucket") != series.labels.contains_key("le") {
                    return Err(wrong("no sample of its family"));
                }
                if kind != "gauge" && (value.is_nan() || value < 0.0) {
                    return Err(wrong("below zero"));
                }
                if scrape.samples.insert(series, value).is_some() {
                    return Err(wrong("a second time"));
                }
            }
        }
        scrape.check_histograms()?;
        Ok(scrape)
    }

    fn check_histograms(&self) -> Result<(), String> {
        for name in self.types.iter().filter(|(_, kind)| *kind == "histogram").map(|(name, _)| name) {
            let mut buckets: BTreeMap<BTreeMap<String, String>, Vec<(f64, f64)>> = BTreeMap::new();
            for (series, count) in self.samples.iter().filter(|(series, _)| series.name == format!("{name}_bucket")) {
                let mut labels = series.labels.clone();
                let le = labels.remove("le").and_then(|le| number(&le)).ok_or_else(|| format!("{series:?}"))?;
                buckets.entry(labels).or_default().push((le, *count));
            }
            for (labels, mut buckets) in buckets {
                buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
                let of = |suffix| self.samples.get(&Series { name: format!("{name}{suffix}"), labels: labels.clone() });
                let rising = buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1);
                let total = buckets.last().filter(|(le, _)| *le == f64::INFINITY).map(|(_, count)| count);
                if !rising || total.is_none() || total != of("_count") || of("_sum").is_none() {
                    return Err(format!("the histogram {name} {labels:?} does not add up: {buckets:?}"));
                }
            }
        }
        Ok(())
    }

    /// The whole answer.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Every family and its type.
    pub(crate) fn types(&self) -> &BTreeMap<String, String> {
        &self.types
    }

    /// The values of all series with this name and at least these labels: `name{label=value,other="value"}`, or the
    /// name alone.
    pub(crate) fn all(&self, selector: &str) -> Vec<f64> {
        let (name, labels) = selector.strip_suffix('}').and_then(|s| s.split_once('{')).unwrap_or((selector, ""));
        let wanted: Vec<(&str, &str)> = labels
            .split(',')
            .filter(|label| !label.is_empty())
            .map(|label| label.split_once('=').map_or_else(|| panic!("{selector}"), |(k, v)| (k, v.trim_matches('"'))))
            .collect();
        let matches = |series: &Series| {
            series.name == name && wanted.iter().all(|(k, v)| series.labels.get(*k).is_some_and(|have| have == v))
        };
        self.samples.iter().filter(|(series, _)| matches(series)).map(|(_, value)| *value).collect()
    }

    /// The value of the only series that a selector (see [`all`](Self::all)) matches; `None` when it matches none.
    pub(crate) fn get(&self, selector: &str) -> Option<f64> {
        let found = self.all(selector);
        assert!(found.len() <= 1, "{selector} is not one series but {}", found.len());
        found.first().copied()
    }

    /// The same, of a series that must be there.
    pub(crate) fn value(&self, selector: &str) -> f64 {
        self.get(selector).unwrap_or_else(|| panic!("there is no {selector}\n{}", self.text))
    }

    /// The sum of all series that a selector matches.
    pub(crate) fn sum(&self, selector: &str) -> f64 {
        self.all(selector).iter().sum()
    }
}

fn sample(line: &str) -> Option<(Series, f64)> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = BTreeMap::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            let (label, after) = rest.split_once("=\"")?;
            let (value, after) = quoted(after)?;
            if !is_name(label) || label.contains(':') || labels.insert(label.to_owned(), value).is_some() {
                return None;
            }
            match after.strip_prefix(',') {
                Some(after) => rest = after,
                None => break rest = after.strip_prefix('}')?,
            }
        }
    }
    let value = rest.strip_prefix(' ')?;
    is_name(name).then_some((Series { name: name.to_owned(), labels }, number(value)?))
}

/// The text up to the closing quote, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                c @ ('\\' | '"') => c,
                _ => return None,
            }),
            c => value.push(c),
        }
    }
    None
}

fn number(text: &str) -> Option<f64> {
    match text {
        "+Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        "NaN" => Some(f64::NAN),
        // Rust reads a number more forms than the format has: `inf`, `infinity`, a leading `+`.
        _ if text.starts_with(|c: char| c.is_ascii_digit() || c == '-') => text.parse().ok(),
        _ => None,
    }
}

fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    !text.is_empty() && !text.starts_with(|c: char| c.is_ascii_digit()) && text.chars().all(plain)
}

#[test]
fn what_breaks_a_rule_of_the_format_is_refused() {
    let head = "# HELP a_total A.\n# TYPE a_total counter\n";
    let histogram = "# HELP h H.\n# TYPE h histogram\n";
    for (text, expected) in [
        ("a_total 1", "does not end"),
        ("a_total 1\n", "without a TYPE"),
        (&format!("{head}a_total 1\n\n"), "malformed"),
        (&format!("{head}a_total\n"), "malformed"),
        (&format!("{head}a_total  1\n"), "malformed"),
        (&format!("{head}a_total 1 \n"), "malformed"),
        (&format!("{head}a_total inf\n"), "malformed"),
        (&format!("{head}a_total{{}} 1\n"), "malformed"),
        (&format!("{head}a_total{{x=\"1\"}}1\n"), "malformed"),
        (&format!("{head}a_total{{x=\"1\",x=\"2\"}} 1\n"), "malformed"),
        (&format!("{head}a_total{{x=\"\\t\"}} 1\n"), "malformed"),
        (&format!("{head}a_total{{x=\"1}} 1\n"), "malformed"),
        (&format!("{head}a_total{{1x=\"1\"}} 1\n"), "malformed"),
        (&format!("{head}a_total -1\n"), "below zero"),
        (&format!("{head}b_total 1\n"), "outside its family"),
        (&format!("{head}a_total_sum 1\n"), "no sample of its family"),
        (&format!("{head}a_total{{x=\"1\",y=\"2\"}} 1\na_total{{y=\"2\",x=\"1\"}} 1\n"), "a second time"),
        (&format!("{head}{head}"), "second HELP"),
        ("# TYPE a_total counter\n", "not behind its HELP"),
        ("# HELP a A.\n# TYPE a counter\n", "ends in _total"),
        ("# HELP a A.\n# TYPE a untyped\n", "a TYPE that is none"),
        (&format!("{histogram}h_bucket{{le=\"1\"}} 2\nh_sum 1\nh_count 2\n"), "does not add up"),
        (&format!("{histogram}h_bucket{{le=\"+Inf\"}} 2\nh_sum 1\nh_count 3\n"), "does not add up"),
        (&format!("{histogram}h_bucket{{le=\"1\"}} 2\nh_bucket{{le=\"+Inf\"}} 1\nh_sum 1\nh_count 1\n"), "add up"),
        (&format!("{histogram}h_bucket{{le=\"+Inf\"}} 2\nh_count 2\n"), "does not add up"),
    ] {
        let found = Scrape::parse(text).expect_err(text);
        assert!(found.contains(expected), "{text}\n{found}");
    }
}

#[test]
fn series_are_found_by_some_of_their_labels() {
    let text = "# HELP a_total A.\n# TYPE a_total counter\na_total{x=\"1\",y=\"q\\\"\\\\\\n\"} 1\na_total{y=\"2\",x=\"2\"} 2.5\n";
    let scrape = Scrape::parse(text).unwrap();
    assert_eq!((scrape.get("a_total{x=1}"), scrape.get("a_total{x=2,y=\"2\"}")), (Some(1.0), Some(2.5)));
    assert_eq!((scrape.get("a_total{x=3}"), scrape.sum("a_total")), (None, 3.5));
    assert_eq!(scrape.value("a_total{y=q\"\\\n}"), 1.0);
}
