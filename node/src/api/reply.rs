//! Answers and errors in the shapes of `--json`.

use axum::Json;
use axum::http::StatusCode;
pub(crate) use potluck_common::web::reply::{ErrorBody, Refused};
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

/// An answer of a route.
pub(crate) type Answer<T> = Result<Json<T>, Refused>;
