//! Answers and errors in the shapes of `--json`.

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{CommandError, Failure};

/// Some of a list.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Page<T> {
    /// The items from `offset` or `after` on, `limit` at most.
    pub(crate) items: Vec<T>,
    /// How many there are in all, where that is known.
    pub(crate) total: Option<u64>,
    /// What to pass as `after` for the next page, where a list is told that way; `null`: that was all.
    pub(crate) next: Option<String>,
}

/// Which part of a list is wanted.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Slice {
    #[serde(default)]
    pub(crate) offset: u64,
    pub(crate) limit: Option<u32>,
}

/// Items of a page unless told otherwise, and most of them.
const PAGE_ITEMS: u32 = 100;
const MAX_PAGE_ITEMS: u32 = 1000;

impl Slice {
    /// Items wanted.
    pub(crate) fn limit(self) -> u32 {
        self.limit.unwrap_or(PAGE_ITEMS).clamp(1, MAX_PAGE_ITEMS)
    }

    /// Items before and in the page.
    pub(crate) fn end(self) -> u64 {
        self.offset.saturating_add(u64::from(self.limit()))
    }

    /// Cuts the page out of the whole list.
    pub(crate) fn cut<T>(self, all: Vec<T>) -> Page<T> {
        let total = Some(all.len() as u64);
        let offset = usize::try_from(self.offset).unwrap_or(usize::MAX);
        Page { items: all.into_iter().skip(offset).take(self.limit() as usize).collect(), total, next: None }
    }
}

/// Why a request was not carried out.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ErrorBody {
    /// What kind of failure: `NotFound`, `Usage`, …
    pub(crate) failure: String,
    /// The exit code that a verb on the command line would have.
    pub(crate) code: u8,
    /// A sentence with the next step.
    pub(crate) message: String,
}

/// A request that was refused or failed.
#[derive(Debug)]
pub(crate) struct Refused {
    status: StatusCode,
    body: ErrorBody,
}

impl Refused {
    pub(crate) fn new(status: StatusCode, failure: Failure, message: impl Into<String>) -> Self {
        let body = ErrorBody { failure: format!("{failure:?}"), code: failure.exit_code(), message: message.into() };
        Self { status, body }
    }
}

impl From<CommandError> for Refused {
    fn from(error: CommandError) -> Self {
        let status = match error.failure {
            Failure::Usage => StatusCode::BAD_REQUEST,
            Failure::NotFound => StatusCode::NOT_FOUND,
            Failure::NotPermitted => StatusCode::FORBIDDEN,
            Failure::LocalFile => StatusCode::CONFLICT,
            Failure::NoSource | Failure::Unreachable | Failure::Interrupted => StatusCode::SERVICE_UNAVAILABLE,
            Failure::Verification => StatusCode::BAD_GATEWAY,
            Failure::Other | Failure::Partly => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error.failure, error.message)
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

/// An answer of a route.
pub(crate) type Answer<T> = Result<Json<T>, Refused>;
