//! The one place of the node that reads a clock. Everything that decides is handed the time.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Time that only moves forward, for all that lasts or lapses.
#[allow(clippy::disallowed_methods)] // this is the place
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The calendar, for what people are shown and files are stamped with.
#[allow(clippy::disallowed_methods)] // this is the place
pub(crate) fn today() -> SystemTime {
    SystemTime::now()
}

/// A time as people and scripts are shown it: RFC 3339 in UTC, whole seconds. Times before 1970 are shown as 1970.
pub(crate) fn rfc3339(unix_seconds: i64) -> String {
    // humantime refuses years of five digits
    const LAST: u64 = 253_402_300_799;
    let seconds = u64::try_from(unix_seconds).unwrap_or(0).min(LAST);
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds)).to_string()
}

/// The calendar in whole seconds since 1970-01-01 UTC.
pub(crate) fn unix_seconds() -> i64 {
    today().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}
