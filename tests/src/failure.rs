//! [`Failure`]: why a step of a scenario could not be done.

use std::fmt;
use std::panic::Location;

/// What a scenario and every step of it return.
pub type Result<T = (), E = Failure> = std::result::Result<T, E>;

/// Some lines for the person who reads the output of a test, and where in the code it happened.
///
/// It prints the same with `{}` and `{:?}`, because a test that returns it is shown with the latter. It is no
/// `std::error::Error`, so that every such error becomes one by `?`.
pub struct Failure {
    message: String,
    at: &'static Location<'static>,
}

impl Failure {
    /// A failure in words.
    #[track_caller]
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), at: Location::caller() }
    }

    /// The words alone.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl<E: std::error::Error> From<E> for Failure {
    #[track_caller]
    fn from(error: E) -> Self {
        Self::new(error.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (at {})", self.message, self.at)
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
