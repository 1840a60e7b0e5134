//! Who may send a request at all, and the headers of every answer.
//!
//! A page on loopback can be reached by every web site that its user looks at: by name (DNS rebinding), by form, by image, by
//! script. So a request must be addressed to one of a few names, exactly; a browser must say that it comes from the page
//! itself; and it must hold the token or a session. The checks are made before anything of a request is looked at, in this
//! order, on every path.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::{
    ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, COOKIE, HOST, ORIGIN, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};

use super::reply::Refused;
use super::{Door, MAX_BODY_BYTES};
use crate::failure::Failure;

/// How long a route may think before its answer begins: a search of slow trackers, or files over there that are being hashed.
const ANSWER_PATIENCE: Duration = Duration::from_secs(40);

/// Scripts, styles and data of the page itself, and nothing else; nobody may frame it; no text ever becomes markup.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; connect-src 'self'; \
     manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");

/// The names under which the page may be asked for, each with its port.
#[derive(Clone, Debug)]
pub(crate) struct Hosts(Vec<String>);

impl Hosts {
    /// The names of an address: on loopback its three, elsewhere itself and what the user named.
    pub(crate) fn new(address: SocketAddr, named: &[String]) -> Self {
        let port = address.port();
        let mut names = if address.ip().is_unspecified() { Vec::new() } else { vec![address.to_string()] };
        if address.ip().is_loopback() || address.ip().is_unspecified() {
            names.extend([format!("127.0.0.1:{port}"), format!("localhost:{port}"), format!("[::1]:{port}")]);
        }
        names.extend(named.iter().cloned());
        names.dedup();
        Self(names)
    }

    /// The name that is told to people.
    pub(crate) fn first(&self) -> &str {
        self.0.first().map_or("localhost", String::as_str)
    }

    fn fits(&self, host: &str) -> bool {
        self.0.iter().any(|name| name == host)
    }
}

/// Checks where a request was sent to and where it comes from, limits how long it may take, and sets the headers of its answer.
pub async fn border(State(door): State<Door>, request: Request, next: Next) -> Response {
    let mut response = match check_border(&door, &request) {
        Err(refused) => refused.into_response(),
        Ok(()) => match tokio::time::timeout(ANSWER_PATIENCE, next.run(request)).await {
            Ok(response) => response,
            Err(_) => Refused::new(StatusCode::GATEWAY_TIMEOUT, Failure::Unreachable, "that took too long; try again, or ask for less")
                .into_response(),
        },
    };
    set_headers(response.headers_mut());
    response
}

/// Lets in who holds the token or a session.
pub async fn signed_in(State(door): State<Door>, request: Request, next: Next) -> Response {
    match check_access(&door, &request) {
        Ok(()) => next.run(request).await,
        Err(refused) => refused.into_response(),
    }
}

/// Answers methods that a path does not know.
pub async fn wrong_method() -> Refused {
    Refused::new(StatusCode::METHOD_NOT_ALLOWED, Failure::Usage, "this path knows no such method")
}

/// Answers paths that are not there.
pub async fn nowhere() -> Refused {
    Refused::new(StatusCode::NOT_FOUND, Failure::NotFound, "there is nothing at this path")
}

/// Puts all routes behind the door: around the router, not around each route, so that what the routing itself answers comes
/// from behind it too.
pub fn behind<S: Clone + Send + Sync + 'static>(routes: Router<S>, state: S, door: Door) -> Router {
    let routes =
        routes.method_not_allowed_fallback(wrong_method).fallback(nowhere).layer(DefaultBodyLimit::max(MAX_BODY_BYTES)).with_state(state);
    Router::new().fallback_service(routes).layer(from_fn_with_state(door, border))
}

fn check_border(door: &Door, request: &Request) -> Result<(), Refused> {
    let misdirected = || {
        let message = format!("the page does not answer to that name; open it as it is printed by `{}`", door.0.command);
        Refused::new(StatusCode::MISDIRECTED_REQUEST, Failure::NotPermitted, message)
    };
    let headers = request.headers();
    let host = only(headers, &HOST).filter(|host| door.0.hosts.fits(host)).ok_or_else(misdirected)?;
    // A proxy's form of a request names a host of its own, which nobody would have checked.
    if request.uri().authority().is_some() || !request.uri().path().starts_with('/') {
        return Err(misdirected());
    }
    let foreign = || Refused::new(StatusCode::FORBIDDEN, Failure::NotPermitted, "only the page itself may ask that");
    if headers.contains_key(ORIGIN) && only(headers, &ORIGIN).is_none_or(|origin| origin.strip_prefix("http://") != Some(host)) {
        return Err(foreign());
    }
    let length = only(headers, &CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
    if length.is_some_and(|length| length > MAX_BODY_BYTES as u64) {
        let message = format!("a request has at most {MAX_BODY_BYTES} bytes; ask for it in parts");
        return Err(Refused::new(StatusCode::PAYLOAD_TOO_LARGE, Failure::Usage, message));
    }
    match headers.get(FETCH_SITE).map(HeaderValue::as_bytes) {
        None | Some(b"same-origin" | b"none") => Ok(()),
        // A link elsewhere may lead to the page; what the page then asks for comes from itself.
        Some(_) if request.method() == Method::GET && request.uri().path() == "/" && is_navigation(headers) => Ok(()),
        Some(_) => Err(foreign()),
    }
}

fn is_navigation(headers: &HeaderMap) -> bool {
    headers.get(FETCH_MODE).is_some_and(|mode| mode == "navigate")
}

impl Door {
    /// Whether headers hold the token, or a session that has not lapsed. A wrong token is not made good by a session.
    #[must_use]
    pub fn is_known(&self, headers: &HeaderMap) -> bool {
        if headers.contains_key(AUTHORIZATION) {
            let token = only(headers, &AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
            return token.is_some_and(|token| self.lock().is_token(token));
        }
        cookie(headers, &self.0.cookie).is_some_and(|session| self.lock().is_session(session, (self.0.clocks.unix_seconds)()))
    }
}

fn check_access(door: &Door, request: &Request) -> Result<(), Refused> {
    let headers = request.headers();
    if !door.is_known(headers) {
        let message = format!("sign in first: `{}` prints a link that does", door.0.command);
        return Err(Refused::new(StatusCode::UNAUTHORIZED, Failure::NotPermitted, message));
    }
    // A browser says where a request that changes something comes from; one that does not is none, and has no cookie of its own.
    let is_told = [AUTHORIZATION, ORIGIN, FETCH_SITE].iter().any(|name| headers.contains_key(name));
    if request.method().is_safe() || is_told {
        return Ok(());
    }
    Err(Refused::new(StatusCode::FORBIDDEN, Failure::NotPermitted, "only the page itself may change something by its cookie"))
}

/// The value of a header that must be there once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// The value of a cookie.
fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let pairs = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(';'));
    pairs.filter_map(|pair| pair.trim().split_once('=')).find(|(known, _)| *known == name).map(|(_, value)| value)
}

/// Sets what every answer has; what a route has set itself stays.
fn set_headers(headers: &mut HeaderMap) {
    let all = [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        (RESOURCE_POLICY, "same-origin"),
        (OPENER_POLICY, "same-origin"),
        (CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in all {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    headers.remove(ALLOW); // the description of the interface tells, to who is signed in
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_exact_names_with_the_right_port_fit() {
        let hosts = Hosts::new("127.0.0.1:9481".parse().unwrap(), &[]);
        for name in ["127.0.0.1:9481", "localhost:9481", "[::1]:9481"] {
            assert!(hosts.fits(name), "{name}");
        }
        for name in
            ["127.0.0.1", "localhost", "127.0.0.1:80", "127.0.0.1.nip.io:9481", "localhost.evil:9481", "LOCALHOST:9481", "0.0.0.0:9481", ""]
        {
            assert!(!hosts.fits(name), "{name}");
        }
        let open = Hosts::new("0.0.0.0:9481".parse().unwrap(), &["nas.lan:9481".to_owned()]);
        assert!(open.fits("nas.lan:9481") && !open.fits("0.0.0.0:9481") && !open.fits("192.168.1.2:9481"));
    }

    #[test]
    fn a_cookie_is_found_among_others_and_not_by_a_part_of_its_name() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, HeaderValue::from_static("a=1; potluck-9481=x.y;b=2"));
        assert_eq!(cookie(&headers, "potluck-9481"), Some("x.y"));
        assert_eq!(cookie(&headers, "potluck-948"), None);
        assert!(only(&headers, &COOKIE).is_some());
        headers.append(COOKIE, HeaderValue::from_static("potluck-1=z"));
        assert_eq!(cookie(&headers, "potluck-1"), Some("z"));
        assert_eq!(only(&headers, &COOKIE), None, "twice");
    }
}
