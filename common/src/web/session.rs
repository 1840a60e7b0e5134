//! Signing a browser in and out: three routes that every page has.

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::header::{HeaderValue, SET_COOKIE};
use axum::http::{HeaderMap, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::{MutexGuard, PoisonError};

use super::Door;
use super::access::Access;
use super::reply::Refused;
use crate::failure::Failure;

/// What a browser signs in with.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SignIn {
    /// A key that the program printed, or the token.
    key: String,
}

/// Whether a browser is signed in.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Session {
    /// Whether it holds a session that has not lapsed, or the token.
    signed_in: bool,
}

impl Door {
    pub(super) fn lock(&self) -> MutexGuard<'_, Access> {
        self.0.access.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cookie(&self, value: &str, seconds: i64) -> Result<(StatusCode, HeaderMap), Refused> {
        // Not `Secure`: on loopback there is no TLS, and browsers would drop it.
        let text = format!("{}={value}; HttpOnly; SameSite=Strict; Path=/; Max-Age={seconds}", self.0.cookie);
        let broken = |error: axum::http::header::InvalidHeaderValue| {
            Refused::new(StatusCode::INTERNAL_SERVER_ERROR, Failure::Other, error.to_string())
        };
        let cookie = HeaderValue::from_str(&text).map_err(broken)?;
        Ok((StatusCode::NO_CONTENT, HeaderMap::from_iter([(SET_COOKIE, cookie)])))
    }
}

/// Lets a page ask without being refused, which a browser would report as an error.
pub async fn session(State(door): State<Door>, headers: HeaderMap) -> Json<Session> {
    Json(Session { signed_in: door.is_known(&headers) })
}

/// Gives a browser that knows a key or the token a session.
///
/// # Errors
/// When it knows neither.
pub async fn sign_in(State(door): State<Door>, body: Result<Json<SignIn>, JsonRejection>) -> Result<(StatusCode, HeaderMap), Refused> {
    let Json(SignIn { key }) = body?;
    let (session, seconds) = {
        let mut access = door.lock();
        if !access.is_token(&key) && !access.redeem(&key, (door.0.clocks.now)()) {
            let command = door.0.command;
            let message = format!("that key does not work (any more): each works once, for ten minutes; `{command}` prints another");
            return Err(Refused::new(StatusCode::UNAUTHORIZED, Failure::NotPermitted, message));
        }
        access.new_session((door.0.clocks.unix_seconds)())
    };
    door.cookie(&session, seconds)
}

/// Takes a browser's session away.
///
/// # Errors
/// None that is known.
pub async fn sign_out(State(door): State<Door>) -> Result<(StatusCode, HeaderMap), Refused> {
    door.cookie("", 0)
}
