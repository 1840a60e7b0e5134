//! [`Allowance`]: how often something may happen. governor counts; the time is handed in.

use std::cell::Cell;
use std::fmt;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use governor::clock::Clock;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

/// Times that something may happen at once, and how soon one more may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// At once, after a time in which nothing happened; 0 counts as 1.
    pub burst: u64,
    /// One more after so long; nothing counts as a nanosecond.
    pub every: Duration,
}

impl Rate {
    /// `burst` at once, then so many a second.
    #[must_use]
    pub fn per_second(burst: u64, count: u64) -> Self {
        Self { burst, every: Duration::from_secs(1) / u32::try_from(count.max(1)).unwrap_or(u32::MAX) }
    }

    /// `burst` at once, then so many a minute.
    #[must_use]
    pub fn per_minute(burst: u64, count: u64) -> Self {
        Self { burst, every: Duration::from_secs(60) / u32::try_from(count.max(1)).unwrap_or(u32::MAX) }
    }

    fn quota(self) -> Quota {
        let burst = u32::try_from(self.burst).ok().and_then(NonZeroU32::new).unwrap_or(if self.burst == 0 {
            NonZeroU32::MIN
        } else {
            NonZeroU32::MAX
        });
        let every = self.every.max(Duration::from_nanos(1));
        Quota::with_period(every).unwrap_or(Quota::per_second(NonZeroU32::MIN)).allow_burst(burst)
    }
}

/// What is left of a rate. It begins full.
pub struct Allowance {
    limiter: RateLimiter<NotKeyed, InMemoryState, Handed>,
}

/// The time as it was handed in last.
struct Handed(Cell<Instant>);

impl Clock for Handed {
    type Instant = Instant;

    fn now(&self) -> Instant {
        self.0.get()
    }
}

impl Allowance {
    /// A full allowance.
    #[must_use]
    pub fn new(rate: Rate, now: Instant) -> Self {
        Self { limiter: RateLimiter::direct_with_clock(rate.quota(), Handed(Cell::new(now))) }
    }

    /// Takes one, if there is one.
    #[must_use]
    pub fn take(&mut self, now: Instant) -> bool {
        self.limiter.clock().0.set(now);
        self.limiter.check().is_ok()
    }
}

impl fmt::Debug for Allowance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Allowance").field("now", &self.limiter.clock().0).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[allow(clippy::disallowed_methods)] // an Instant has no other beginning; only differences to it matter
    fn beginning() -> Instant {
        Instant::now()
    }

    /// G053.
    #[test]
    fn as_many_as_allowed_and_one_more_only_with_time() {
        for burst in [1, 2, 200] {
            let (rate, now) = (Rate { burst, every: Duration::from_millis(20) }, beginning());
            let mut allowance = Allowance::new(rate, now);
            assert!((0..burst).all(|_| allowance.take(now)), "{burst}");
            assert!(!allowance.take(now), "{burst} and one");
            assert!(allowance.take(now + rate.every) && !allowance.take(now + rate.every));
        }
    }

    #[test]
    fn a_day_of_silence_fills_an_allowance_and_no_more() {
        let (rate, now) = (Rate::per_minute(16, 6), beginning());
        let mut allowance = Allowance::new(rate, now);
        assert!(allowance.take(now));
        let later = now + Duration::from_secs(86_400);
        assert!((0..16).all(|_| allowance.take(later)));
        assert!(!allowance.take(later));
    }

    #[test]
    fn time_that_stands_still_or_goes_back_gives_nothing() {
        let now = beginning();
        let mut allowance = Allowance::new(Rate::per_second(1, 1), now + Duration::from_secs(9));
        assert!(allowance.take(now + Duration::from_secs(9)));
        assert!(!allowance.take(now));
    }

    #[test]
    fn no_rate_is_too_odd() {
        for (burst, count) in [(0, 0), (u64::MAX, u64::MAX), (1, u64::MAX)] {
            assert!(Allowance::new(Rate::per_second(burst, count), beginning()).take(beginning()));
        }
    }
}
