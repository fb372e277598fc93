//! `GET /`: a page for people, made on the server and complete without a script.
//!
//! `facts` reads the rooms once; the rest is pure. `filter` is what the reader asks for and `lists` what is found,
//! `status` judges, `document` and `rows` write it down, `text` and `table` are how. The script only fetches the same
//! address again and puts the new numbers in the place of the old.

mod document;
mod facts;
mod filter;
mod lists;
mod rows;
mod status;
mod table;
mod text;

use super::Web;
use super::refusal::Refusal;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use axum::http::{StatusCode, Uri};
use axum::response::{Html, IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use facts::Facts;
use filter::Filter;
use lists::Lists;
use sha2::{Digest, Sha256};
use std::sync::LazyLock;

/// Pages with a filter that are written at once: one that looks for something goes through every task, and more at once would only take
/// the processor from polling. Others wait; the number of connections bounds them.
pub(super) const MAX_PAGES: usize = 2;

const STYLE: &str = include_str!("page/style.css");
const SCRIPT: &str = include_str!("page/refresh.js");

/// Nothing but this page's own style and script is used, and nothing but the exporter is asked.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    format!(
        "default-src 'none'; script-src {}; style-src {}; img-src data:; connect-src 'self'; form-action 'self'; \
         base-uri 'none'; frame-ancestors 'none'",
        source(SCRIPT),
        source(STYLE)
    )
});

/// The page, as the address asks for it.
pub(super) async fn show(State(web): State<Web>, uri: Uri) -> Response {
    let filter = Filter::of(&uri);
    // Only those that look for something take long. It never closes, so it never refuses.
    let permit = if filter.is_empty() { None } else { web.pages.clone().acquire_owned().await.ok() };
    // Not on the threads that serve everybody: looking through all tasks takes its time.
    let sending = web.sending.clone();
    let page = tokio::task::spawn_blocking(move || {
        let page = render(&web, &filter);
        drop(permit);
        page
    });
    match page.await {
        Ok(page) => match sending.body(page) {
            Ok(body) => (headers(), Html(body)).into_response(),
            Err(refusal) => refusal.into_response(),
        },
        Err(_) => Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the exporter is shutting down").into_response(),
    }
}

fn render(web: &Web, filter: &Filter) -> String {
    let facts = Facts::read(web, filter);
    let found = filter.matcher().map(|matcher| Lists::of(&facts.overview.tasks, &matcher)).unwrap_or_default();
    let lists = if filter.is_empty() { found.out_of(facts.overview.counts) } else { found };
    let polls = facts::polls(web, lists.unfinished.rows.iter().map(|row| &row.task.id));
    document::document(&facts, filter, &lists, &polls).into_string()
}

fn headers() -> [(HeaderName, &'static str); 4] {
    [
        (CONTENT_SECURITY_POLICY, POLICY.as_str()),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-store"),
    ]
}

/// An inline text as a source of the policy: by the hash of the very text.
fn source(text: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_named_by_its_hash() {
        assert_eq!(source("alert('Hello, world.');"), "'sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng='");
    }

    #[test]
    fn what_is_written_inline_ends_where_it_should() {
        for text in [STYLE, SCRIPT] {
            assert!(!text.contains("</") && !text.contains("<!--") && !text.contains('\r'));
        }
    }
}
