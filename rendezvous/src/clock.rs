//! The one clock of this crate: everything else is handed the time.
//!
//! Time in which this program was stopped (a suspended laptop, a debugger, one very long turn of the loop) does not
//! count: nobody could be heard in it, so nobody's silence or lease may be measured by it.

use std::time::{Duration, Instant};

/// When the clock was not asked for this long, the program was stopped: the event loop asks several times a second.
const STALL: Duration = Duration::from_secs(2);

/// Tells the time, less what the program slept through.
#[derive(Debug)]
pub(crate) struct Clock {
    asked: Instant,
    slept: Duration,
}

impl Clock {
    /// A clock that has not slept yet.
    #[allow(clippy::disallowed_methods)] // the one place
    pub(crate) fn start() -> Self {
        Self { asked: Instant::now(), slept: Duration::ZERO }
    }

    /// Now; never earlier than before.
    #[allow(clippy::disallowed_methods)] // the one place
    pub(crate) fn now(&mut self) -> Instant {
        self.at(Instant::now())
    }

    fn at(&mut self, real: Instant) -> Instant {
        let passed = real.saturating_duration_since(self.asked);
        if passed > STALL {
            self.slept += passed;
        }
        self.asked = real;
        real.checked_sub(self.slept).unwrap_or(real)
    }
}

/// The time as it is, for what is the same after a sleep: how fast connections come, how long a ban lasts, the page.
#[allow(clippy::disallowed_methods)] // the one place
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The calendar in whole seconds since 1970-01-01 UTC.
#[allow(clippy::disallowed_methods)] // the one place
pub(crate) fn unix_seconds() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

/// A time for tests to start from.
#[cfg(test)]
pub(crate) fn some_time() -> Instant {
    Clock::start().asked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_turns_count_and_a_night_of_sleep_does_not() {
        let mut clock = Clock::start();
        let start = clock.asked;
        let second = Duration::from_secs(1);
        assert_eq!(clock.at(start + second), start + second);
        assert_eq!(clock.at(start + 30_000 * second), start + second);
        assert_eq!(clock.at(start + 30_001 * second), start + 2 * second);
    }
}
