//! The page for people, as it is sent: what a browser makes of it is the step `page` of `tests/run`.
#![expect(
    clippy::unwrap_used,
    reason = "clippy takes only the test functions themselves for tests, not what they share"
)]

use crate::harness::{Answer, Exporter, FakeApi, Holder, LOOK, PATIENCE, Setup, operation};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dragdropdo_exporter::time::Time;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const TOKEN: &str = "the-token-of-the-applications";

/// The page at an address.
async fn page(exporter: &Exporter, address: &str) -> String {
    let answer = exporter.get(address).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 200, "{address}");
    answer.text().await.unwrap()
}

/// The page, once it meets a condition.
async fn page_that(exporter: &Exporter, what: &str, condition: impl Fn(&str) -> bool) -> String {
    let mut latest = page(exporter, "/").await;
    let holds = async {
        while !condition(&latest) {
            tokio::time::sleep(LOOK).await;
            latest = page(exporter, "/").await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, holds).await.is_ok(), "{what}: never so\n{latest}");
    latest
}

/// A section of a page, without its tags: what a reader sees.
fn section(page: &str, id: &str) -> String {
    let (_, section) = page.split_once(&format!("<section id=\"{id}\">")).unwrap_or_else(|| panic!("no {id}: {page}"));
    seen(section.split_once("</section>").unwrap().0)
}

/// The tiles at the top, as a reader sees them.
fn tiles(page: &str) -> String {
    seen(page.split_once("<div class=\"tiles\">").unwrap().1.split_once("<section").unwrap().0)
}

fn seen(html: &str) -> String {
    let tags_away = html.split('<').map(|part| part.split_once('>').map_or(part, |(_, text)| text));
    let text = tags_away.collect::<Vec<_>>().join(" ");
    let text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The rows of a section's table.
fn rows(page: &str, id: &str) -> usize {
    let section = page.split_once(&format!("<section id=\"{id}\">")).unwrap().1.split_once("</section>").unwrap().0;
    section.split_once("<tbody").map_or(0, |(_, body)| body.matches("<tr").count())
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// An exporter that takes registrations.
fn registry(api: &FakeApi, yaml: &str) -> Setup {
    let mut setup = Setup::new(api, "web: {api_token_file: token}");
    setup.configure(yaml);
    std::fs::write(setup.path("token"), TOKEN).unwrap();
    setup
}

async fn register(exporter: &Exporter, tasks: &Value) {
    let request = exporter.request(Method::POST, "/api/v1/tasks").bearer_auth(TOKEN).body(tasks.to_string());
    assert!(request.send().await.unwrap().status().is_success());
}

#[tokio::test]
async fn it_tells_what_is_tracked_what_failed_and_what_is_polled_next() {
    let api = FakeApi::start().await;
    api.answers(
        "running",
        [operation("in_progress", &[("in_1", "queued"), ("out_2", "completed"), ("in_3", "failed/Bad")])],
    );
    api.answers("partial", [operation("completed", &[("out", "completed"), ("scan.pdf", "failed")])]);
    api.answers("unnamed", [operation("queued", &[]), operation("failed", &[])]);
    api.answers("refused", [Answer::status(500)]);
    let yaml = "{tasks: [running, {id: partial, group: photos}, {id: unnamed, group: photos}, {id: lost, group: archive}, \
                {id: refused, group: archive}], metrics: {per_task_limit: 2}, poll: {interval: 20s}}";
    let mut setup = Setup::new(&api, yaml);
    setup.argument("--web.telemetry-path=/d3/metrics");
    let exporter = setup.start().await;
    let page = page_that(&exporter, "everything is observed", |page| {
        let (failures, unfinished) = (section(page, "failures"), section(page, "unfinished"));
        failures.contains("3 of tracked tasks")
            && unfinished.contains("server_error")
            && unfinished.contains("not_found")
    })
    .await;

    let failures = section(&page, "failures");
    for text in
        ["in_3 bad", "scan.pdf unspecified", "the operation, which named no failed file unspecified", "photos", " ago "]
    {
        assert!(failures.contains(text), "{text}: {failures}");
    }
    let unfinished = section(&page, "unfinished");
    assert!(unfinished.contains("3, oldest first"), "{unfinished}");
    assert!(unfinished.contains("running ◐ in progress"), "{unfinished}");
    assert!(unfinished.contains("○ 1 queued , ✓ 1 completed , ✗ 1 failed now "), "{unfinished}");
    assert!(unfinished.contains("server_error : status 500 Internal Server Error"), "{unfinished}");
    assert!(unfinished.contains("not_found : the API does not know it, first 0s ago"), "{unfinished}");
    let finished = section(&page, "finished");
    assert!(finished.contains("partial ✗ partially failed") && finished.contains("unnamed ✗ failed"), "{finished}");
    // Queued to unknown tasks, then files.
    let groups = section(&page, "groups");
    assert!(groups.contains("archive 0 0 0 0 2 0 0 0 0 0"), "{groups}");
    assert!(groups.contains("default 0 1 0 0 0 1 0 1 1 0"), "{groups}");
    assert!(groups.contains("photos 0 0 1 1 0 0 0 1 1 0 none"), "{groups}");
    let polling = section(&page, "polling");
    for text in
        ["Last good answer", "Polled tasks 3", "Held back no", "server_error of 1 task", "Next polls", " not_found"]
    {
        assert!(polling.contains(text), "{text}: {polling}");
    }
    let own = section(&page, "exporter");
    for text in [
        "Health healthy",
        "Readiness ready",
        "Configuration loaded",
        "static : 5 tasks",
        "of 2 of 5 tasks, 3 hidden",
        env!("CARGO_PKG_VERSION"),
    ] {
        assert!(own.contains(text), "{text}: {own}");
    }
    assert!(tiles(&page).contains("Failures ✗ Problem: latest 0s ago"), "{}", tiles(&page));
    for link in [
        "/d3/metrics",
        "/api/v1/tasks",
        "/-/healthy",
        "/-/ready",
        "/?group=photos&amp;state=failed#finished",
        "/?q=running",
    ] {
        assert!(page.contains(&format!("href=\"{link}\"")), "{link}: {page}");
    }
}

#[tokio::test]
async fn without_a_task_it_says_what_to_do() {
    let api = FakeApi::start().await;
    let exporter = Setup::new(&api, "{}").start().await;
    let page = page(&exporter, "/").await;
    assert!(tiles(&page).contains("none so far") && tiles(&page).contains("nothing to poll"), "{}", tiles(&page));
    assert!(section(&page, "groups").contains("register them at /api/v1/tasks"));
}

#[tokio::test]
async fn a_failure_has_the_time_at_which_it_was_counted_for_ever() {
    let api = FakeApi::start().await;
    api.answers("t1", [operation("in_progress", &[("a", "failed/code")])]);
    let setup = Setup::new(&api, "tasks: [t1]");
    let exporter = setup.start().await;
    let scrape = exporter.shows(&[("dragdropdo_file_failures_total{error_code=code}", 1.0)]).await;
    let counted = scrape.value("dragdropdo_last_failure_timestamp_seconds{error_code=code}");
    let time_of = |page: &str| {
        let failures = page.split_once("<section id=\"failures\">").unwrap().1;
        failures.split_once("datetime=\"").unwrap().1.split_once('"').unwrap().0.to_owned()
    };
    let shown = time_of(&page(&exporter, "/").await);
    assert_eq!(Time::parse(&shown).unwrap().as_secs_f64(), counted);
    api.is_asked_again("t1", 2).await;
    exporter.kill().await;
    let exporter = setup.start().await;
    api.is_asked_again("t1", 2).await;
    assert_eq!(time_of(&page(&exporter, "/").await), shown);
}

#[tokio::test]
async fn what_comes_from_outside_is_escaped_and_reorders_nothing() {
    let api = FakeApi::start().await;
    let exporter = registry(&api, "{}").start().await;
    let evil = [
        "<script>alert(1)</script>",
        "\"onmouseover=\"alert(1)",
        "'&lt;&#39;",
        "a\u{202e}fdp.b\u{2066}",
        "</style><b>",
    ];
    for (number, evil) in evil.into_iter().enumerate() {
        let id = format!("{number}{evil}");
        api.answers(
            &encoded_segment(&id),
            [operation("in_progress", &[(&format!("key{evil}"), &format!("failed/code{evil}"))])],
        );
        register(&exporter, &json!({ "id": id, "group": evil })).await;
    }
    page_that(&exporter, "all fail", |page| section(page, "failures").contains("5 of tracked tasks")).await;
    let every = evil.map(encoded).concat();
    let addresses =
        ["/".to_owned(), format!("/?q={every}&group={every}&state={every}"), format!("/?q={}", encoded(evil[0]))];
    for address in addresses {
        let page = page(&exporter, &address).await;
        assert_eq!(page.matches("<script").count(), 1, "{address}: {page}");
        assert_eq!(page.matches("<style").count(), 1, "{address}");
        assert!(!page.contains("\"onmouseover") && !page.contains("<b>"), "{address}: {page}");
        // In the form alone, where it is the reader's own text and a value.
        let without_values = page.split("value=\"").map(|part| part.split_once('"').map_or(part, |(_, rest)| rest));
        let text: String = without_values.collect();
        assert!(!text.contains('\u{202e}') && !text.contains('\u{2066}'), "{address}: {text}");
    }
    let failures = section(&page(&exporter, "/").await, "failures");
    for text in [
        "key<script>alert(1)</script> code<script>alert(1)</script>",
        "key'&lt;&#39; code'&lt;&#39;",
        "keya\\u{202e}fdp.b\\u{2066}",
    ] {
        assert!(failures.contains(text), "{text}: {failures}");
    }
    let page = page(&exporter, "/").await;
    assert!(page.contains("<bdi>key&lt;script&gt;alert(1)&lt;/script&gt;</bdi>"), "{page}");
    assert!(page.contains("<bdi>code'&amp;lt;&amp;#39;</bdi>"), "{page}");
}

/// A path segment as the exporter writes it, by which the fake API knows the task.
fn encoded_segment(id: &str) -> String {
    id.bytes()
        .map(|byte| match byte {
            b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

#[tokio::test]
async fn a_filter_finds_by_group_state_and_text_and_is_kept_in_the_form_and_the_links() {
    let api = FakeApi::start().await;
    api.answers("first", [operation("in_progress", &[("Scan-1.PDF", "queued"), ("b", "failed/Broken_Input")])]);
    api.answers("second", [operation("in_progress", &[("c", "queued")])]);
    api.answers("third", [operation("completed", &[("scan-3.pdf", "completed")])]);
    let yaml = "tasks: [{id: first, group: invoices}, {id: second, group: photos}, {id: third, group: photos}]";
    let exporter = Setup::new(&api, yaml).start().await;
    page_that(&exporter, "all are observed", |page| {
        section(page, "finished").contains("third") && section(page, "failures").contains("broken_input")
    })
    .await;
    for (query, failures, unfinished, finished) in [
        ("", 1, 2, 1),
        ("group=photos", 0, 1, 1),
        ("group=invoices", 1, 1, 0),
        ("state=in_progress", 1, 2, 0),
        ("state=completed", 0, 0, 1),
        ("state=failed", 1, 0, 0),
        ("q=SCAN", 0, 1, 1),
        ("q=BROKEN_input", 1, 1, 0),
        ("q=+ir", 1, 1, 1),
        ("q=scan&group=photos&state=completed", 0, 0, 1),
        ("q=scan&q=nothing&group=&state=", 0, 1, 1),
        ("q=%C3%A4", 0, 0, 0),
        ("unknown=parameter", 1, 2, 1),
    ] {
        let page = page(&exporter, &format!("/?{query}")).await;
        let found = (rows(&page, "failures"), rows(&page, "unfinished"), rows(&page, "finished"));
        assert_eq!(found, (failures, unfinished, finished), "{query}");
        // The numbers of all that is tracked stay what they are.
        assert_eq!(rows(&page, "groups"), 2);
        assert!(tiles(&page).contains("2 tasks"), "{}", tiles(&page));
    }
    let page = page(&exporter, "/?group=photos&state=completed&q=scan%22").await;
    for kept in [
        "<option value=\"photos\" selected>photos</option>",
        "<option value=\"completed\" selected>completed</option>",
        "name=\"q\" value=\"scan&quot;\"",
        "href=\"/?group=invoices&amp;state=completed&amp;q=scan%22\"",
        "href=\"/?group=photos&amp;state=in%5Fprogress&amp;q=scan%22#unfinished\"",
        "Show all",
    ] {
        assert!(page.contains(kept), "{kept}: {page}");
    }
    let found = self::page(&exporter, "/?q=scan-1").await;
    assert!(section(&found, "unfinished").contains("Scan-1.PDF ○ queued"), "the file that was looked for is named");
}

#[tokio::test]
async fn what_cannot_be_found_is_told_and_is_no_error() {
    let api = FakeApi::start().await;
    let exporter = Setup::new(&api, "tasks: [t1]").start().await;
    for (query, says) in [
        ("group=nobody", "There is no group nobody : nothing is found"),
        ("state=partially_failed", "There is no state partially_failed : nothing is found. Choose queued, in_progress"),
        (&*format!("q={}", "k".repeat(600)), "q is longer than 512 bytes"),
        (&*format!("group={}", "%F0%9F%9A%80".repeat(600)), "group is longer than 512 bytes"),
        ("q=%ff%fe&state=%00", "There is no state \\u{0}"),
    ] {
        let page = page(&exporter, &format!("/?{query}")).await;
        let seen = seen(page.split_once("<main>").unwrap().1);
        assert!(seen.contains(says), "{query}: {seen}");
        assert_eq!((rows(&page, "unfinished"), rows(&page, "failures")), (0, 0), "{query}");
        assert!(page.len() < 64 * 1024, "{query}: {}", page.len());
    }
}

#[tokio::test]
async fn every_list_is_bounded_and_says_how_many_there_are_more() {
    let api = FakeApi::start().await;
    let files: Vec<(String, &str)> = (0..40).map(|number| (format!("key_{number}"), "failed/code")).collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(key, state)| (&**key, *state)).collect();
    let long = "k".repeat(512);
    api.answers("t0", [operation("in_progress", &files)]);
    api.answers("t1", [operation("in_progress", &[(&long, "failed/code"), (&"j".repeat(513), "queued")])]);
    api.otherwise(operation("in_progress", &[]));
    let exporter = registry(&api, "{}").start().await;
    let tasks: Vec<Value> =
        (0..60).map(|number| json!({ "id": format!("t{number}"), "group": format!("g{}", number % 3) })).collect();
    register(&exporter, &Value::Array(tasks)).await;
    let whole = page_that(&exporter, "all fail", |page| section(page, "failures").contains("41 of tracked")).await;
    assert_eq!((rows(&whole, "unfinished"), rows(&whole, "failures")), (25, 25));
    assert!(section(&whole, "unfinished").contains("35 unfinished tasks more"), "{}", section(&whole, "unfinished"));
    assert!(section(&whole, "failures").contains("16 failures more"), "{}", section(&whole, "failures"));
    let filtered = page(&exporter, "/?group=g0").await;
    assert!(section(&filtered, "unfinished").contains("20, oldest first"), "{}", section(&filtered, "unfinished"));
    assert!(section(&filtered, "failures").contains("15 failures more"), "{}", section(&filtered, "failures"));
    let one = page(&exporter, "/?q=kkkk").await;
    assert!(one.contains(&format!("title=\"{long}\"")) && section(&one, "failures").contains('…'), "{one}");
}

#[tokio::test]
async fn its_headers_allow_nothing_but_what_it_has_inside() {
    let api = FakeApi::start().await;
    let exporter = Setup::new(&api, "{}").start().await;
    let answer = exporter.get("/").send().await.unwrap();
    let headers = answer.headers().clone();
    let page = answer.text().await.unwrap();
    let source = |tag: &str| {
        let (_, inner) = page.split_once(&format!("<{tag}>")).unwrap();
        let (inner, _) = inner.split_once(&format!("</{tag}>")).unwrap();
        format!("'sha256-{}'", STANDARD.encode(Sha256::digest(inner)))
    };
    assert_eq!(
        headers["content-security-policy"].to_str().unwrap(),
        format!(
            "default-src 'none'; script-src {}; style-src {}; img-src data:; connect-src 'self'; form-action 'self'; \
             base-uri 'none'; frame-ancestors 'none'",
            source("script"),
            source("style")
        )
    );
    for (name, value) in
        [("x-content-type-options", "nosniff"), ("referrer-policy", "no-referrer"), ("cache-control", "no-store")]
    {
        assert_eq!(headers[name], value);
    }
    assert!(
        !headers.contains_key("set-cookie") && !page.contains("style=\"") && !page.contains("\" on"),
        "{headers:?}"
    );
    assert!(page.contains("<noscript><meta http-equiv=\"refresh\""), "{page}");
    let head = exporter.request(Method::HEAD, "/").send().await.unwrap();
    assert_eq!(
        (head.status().as_u16(), &head.headers()["content-security-policy"]),
        (200, &headers["content-security-policy"])
    );

    let client = reqwest::Client::builder().no_proxy().no_gzip().build().unwrap();
    let request = client.get(format!("http://{}/", exporter.address())).header(ACCEPT_ENCODING, "gzip");
    let zipped = request.send().await.unwrap();
    assert_eq!(zipped.headers()[CONTENT_ENCODING], "gzip");
    assert!(!zipped.headers().contains_key(CONTENT_LENGTH) && zipped.bytes().await.unwrap().len() < page.len() / 2);
}

#[tokio::test]
async fn an_api_that_fails_is_told_with_the_reason() {
    for (answer, says, why) in [
        (Answer::status(500), "the latest request failed; 2 of 2 polls fail", "server_error for"),
        (Answer::status(401), "the key is not accepted", "One request every 30 s"),
        (Answer::status(429).header("retry-after", "100"), "rate limited", "all requests wait for another"),
        (Answer::body("the-body-of-a-failure"), "the latest request failed", "invalid_response for"),
    ] {
        let api = FakeApi::start().await;
        api.otherwise(operation("in_progress", &[("a", "queued")]));
        let setup = Setup::new(&api, "{tasks: [t1, t2], api: {api_key: d3_live_the-key}}");
        let exporter = setup.start().await;
        page_that(&exporter, "it answers", |page| tiles(page).contains("✓ Good: answers")).await;
        api.otherwise(answer);
        let page = page_that(&exporter, says, |page| tiles(page).contains(says)).await;
        assert!(tiles(&page).contains(why) && tiles(&page).contains("last good answer"), "{}", tiles(&page));
        assert!(page.contains("<title>✗ "), "{page}");
        assert!(section(&page, "polling").contains("failed (dragdropdo_up 0)"), "{}", section(&page, "polling"));
        for secret in ["the-key", "the-body-of-a-failure"] {
            assert!(!page.contains(secret), "{secret}");
        }
    }
}

#[tokio::test]
async fn a_reload_that_failed_shows() {
    let api = FakeApi::start().await;
    let mut setup = Setup::new(&api, "{}");
    setup.argument("--web.enable-lifecycle");
    let exporter = setup.start().await;
    std::fs::write(setup.path("config.yaml"), "nonsense: true").unwrap();
    exporter.request(Method::POST, "/-/reload").send().await.unwrap();
    let page = page(&exporter, "/").await;
    assert!(tiles(&page).contains("Attention: healthy; an older configuration"), "{}", tiles(&page));
    assert!(section(&page, "exporter").contains("the latest reload failed; in force is that loaded"));
}

#[tokio::test]
async fn it_shows_nothing_before_it_is_durable() {
    let api = FakeApi::start().await;
    api.answers("t1", [operation("in_progress", &[("a", "queued")])]);
    let setup = Setup::new(&api, "tasks: [t1]");
    let exporter = setup.start().await;
    exporter.shows(&[("dragdropdo_files{state=queued}", 1.0)]).await;
    let holder = Holder::of(&setup.path("exporter.db"), "BEGIN IMMEDIATE");

    api.answers("t1", [operation("completed", &[("a", "failed/code")])]);
    exporter.logs("the store fails").await;
    let held = page(&exporter, "/").await;
    assert_eq!((rows(&held, "failures"), rows(&held, "finished"), rows(&held, "unfinished")), (0, 0, 1));
    assert!(tiles(&held).contains("Problem: the store fails"), "{}", tiles(&held));
    holder.lets_go();
    page_that(&exporter, "the failure", |page| rows(page, "failures") == 1 && rows(page, "finished") == 1).await;
    page_that(&exporter, "no trouble any more", |page| tiles(page).contains("Good: healthy and ready")).await;
}
