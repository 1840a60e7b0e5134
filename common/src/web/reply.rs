//! Errors of the interface, in the shape that all its routes share.

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;

use crate::failure::Failure;

/// Why a request was not carried out.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ErrorBody {
    /// What kind of failure: `NotFound`, `Usage`, …
    pub failure: String,
    /// The exit code that a verb on the command line would have.
    pub code: u8,
    /// A sentence with the next step.
    pub message: String,
}

/// A request that was refused or failed.
#[derive(Debug)]
pub struct Refused {
    status: StatusCode,
    body: ErrorBody,
}

impl Refused {
    /// A refusal in words.
    pub fn new(status: StatusCode, failure: Failure, message: impl Into<String>) -> Self {
        let body = ErrorBody { failure: format!("{failure:?}"), code: failure.exit_code(), message: message.into() };
        Self { status, body }
    }
}

impl From<JsonRejection> for Refused {
    fn from(error: JsonRejection) -> Self {
        Self::new(error.status(), Failure::Usage, error.body_text())
    }
}

impl From<QueryRejection> for Refused {
    fn from(error: QueryRejection) -> Self {
        Self::new(error.status(), Failure::Usage, error.body_text())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.status, Json(self.body)).into_response()
    }
}
