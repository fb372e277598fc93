//! Who may ask: the rate of requests, and basic auth. Every request passes here first, whatever its route.

use super::refusal::Refusal;
use super::refusal_log::Sort;
use super::{Web, accept, webhook};
use crate::access::Verdict;
use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::header::{AUTHORIZATION, HOST, HeaderName, ORIGIN};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::net::{IpAddr, SocketAddr};

/// How clients are asked for a user and password.
const CHALLENGE: &str = "Basic realm=\"dragdropdo-exporter\", charset=\"UTF-8\"";

/// The client's address, as the listener tells it.
type Peer = ConnectInfo<SocketAddr>;

/// Marks a request whose sender is a user with the right password.
#[derive(Clone, Copy, Debug)]
pub(super) struct AuthenticatedUser;

/// What a route asks of those who send requests to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    /// Nothing: what watches the process has no password, and webhooks have signatures.
    Open,
    /// A user, where there are any.
    Users,
    /// A user or the bearer token, which the route itself looks for.
    UsersOrToken,
}

/// Lets a request through, or refuses it.
pub(super) async fn guard(State(web): State<Web>, mut request: Request, next: Next) -> Response {
    accept::allow_identity(request.headers_mut());
    let admitted = admit(&web, &mut request).await;
    let mut response = match admitted {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    };
    // As in the toolkit, what the page itself says of its style and script goes first.
    for (name, value) in web.rooms.access.headers() {
        response.headers_mut().entry(name).or_insert(value);
    }
    response
}

async fn admit(web: &Web, request: &mut Request) -> Result<(), Refusal> {
    let door = door(request);
    let access = &web.rooms.access;
    if door == Door::Open {
        return Ok(());
    }
    if !access.has_room() {
        let what = "more requests than the rate_limit of the web config file allows: ask less often";
        return Err(Refusal::new(StatusCode::TOO_MANY_REQUESTS, what));
    }
    if !access.needs_user() {
        return Ok(());
    }
    let Some((user, password)) = credentials(request.headers()) else {
        return match door {
            Door::UsersOrToken => Ok(()),
            Door::Open | Door::Users => {
                Err(unauthorized("a user and password are missing: send one of basic_auth_users by basic auth"))
            }
        };
    };
    if !request.method().is_safe() && is_from_elsewhere(request.headers()) {
        let what =
            "a page of another site has a browser send this with the user's password: only bearer tokens may come so";
        return Err(Refusal::new(StatusCode::FORBIDDEN, what));
    }
    // Every listener tells it; whoever came without would share the places of one address.
    let from = request.extensions().get().map_or(IpAddr::from([0; 4]), |ConnectInfo(peer): &Peer| peer.ip());
    match access.verify(&user, &password, from).await {
        Verdict::Right => {
            request.extensions_mut().insert(AuthenticatedUser);
            Ok(())
        }
        Verdict::Wrong => {
            let refusal = unauthorized("the user or the password is wrong: send one of basic_auth_users");
            if door == Door::UsersOrToken {
                web.tell_of(Sort::of_change(request.method()), &refusal);
            }
            Err(refusal)
        }
        Verdict::Busy => {
            let what = "too many passwords are being checked: try again in a moment";
            Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, what))
        }
    }
}

/// The refusal of a request without a user.
pub(super) fn unauthorized(what: &str) -> Refusal {
    Refusal::new(StatusCode::UNAUTHORIZED, what).with_challenge(CHALLENGE)
}

/// A path that no route has is no way to find out which there are.
fn door(request: &Request) -> Door {
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    match (route, request.method()) {
        (Some("/-/healthy" | "/-/ready" | webhook::PATH), _) => Door::Open,
        (Some("/api/v1/tasks"), &Method::POST) | (Some("/api/v1/tasks/{id}"), &Method::DELETE) => Door::UsersOrToken,
        _ => Door::Users,
    }
}

/// Whether a browser says that the page of another site sends a request. Browsers add a password that they know to it.
fn is_from_elsewhere(headers: &HeaderMap) -> bool {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    match text(HeaderName::from_static("sec-fetch-site")) {
        Some(site) => !matches!(site, "same-origin" | "none"),
        // Over plain HTTP, browsers tell only this.
        None => text(ORIGIN).is_some_and(|origin| {
            let host = origin.split_once("://").map_or(origin, |(_, host)| host);
            text(HOST) != Some(host)
        }),
    }
}

/// The user and password of basic authentication (RFC 7617).
fn credentials(headers: &HeaderMap) -> Option<(String, Vec<u8>)> {
    let (scheme, given) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let given = STANDARD.decode(given.trim()).ok()?;
    let colon = given.iter().position(|byte| *byte == b':')?;
    let user = String::from_utf8(given.get(..colon)?.to_vec()).ok()?;
    Some((user, given.get(colon + 1..)?.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(header: &str) -> Option<(String, Vec<u8>)> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, header.parse().unwrap());
        credentials(&headers)
    }

    #[test]
    fn a_browser_tells_of_pages_of_other_sites() {
        let from_elsewhere = |given: &[(&'static str, &'static str)]| {
            let named = given.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
            is_from_elsewhere(&named.collect())
        };
        for (given, expected) in [
            (&[][..], false),
            (&[("sec-fetch-site", "same-origin"), ("origin", "https://a"), ("host", "b")], false),
            (&[("sec-fetch-site", "cross-site")], true),
            (&[("sec-fetch-site", "same-site")], true),
            (&[("origin", "http://d3:10211"), ("host", "d3:10211")], false),
            (&[("origin", "http://d3"), ("host", "d3:10211")], true),
            (&[("origin", "null"), ("host", "d3:10211")], true),
        ] {
            assert_eq!(from_elsewhere(given), expected, "{given:?}");
        }
    }

    #[test]
    fn the_user_ends_at_the_first_colon() {
        assert_eq!(read("Basic dXNlcjpwYXNzOndvcmQ="), Some(("user".to_owned(), b"pass:word".to_vec())));
        assert_eq!(read("bAsIc  Og=="), Some((String::new(), Vec::new())));
        for wrong in ["Basic", "Basic dXNlcg==", "Basic !", "Bearer dXNlcjpw", "dXNlcjpw", "Basic /zpw"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
