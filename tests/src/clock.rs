//! Waiting for a condition with a deadline: the only clock of the harness.

use std::time::{Duration, Instant};

use crate::failure::{Failure, Result};

/// How long something may take that is done in a moment on an idle machine: long, because a test machine is not idle.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The time.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "the harness runs real programs in real time, and this is where it reads it")]
pub fn now() -> Instant {
    Instant::now()
}

/// Looks until `probe` finds something, and gives that back.
///
/// # Errors
/// When `limit` passes without, or the probe fails.
#[track_caller]
pub fn eventually<T>(limit: Duration, what: &str, mut probe: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let start = now();
    loop {
        if let Some(found) = probe()? {
            return Ok(found);
        }
        if start.elapsed() >= limit {
            return Err(Failure::new(format!("not within {limit:?}: {what}")));
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Lets time pass. Only for what comes at a moment that chance decides; whoever waits for something looks for it with
/// [`eventually`].
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_comes_true_is_returned_and_one_that_does_not_is_named() {
        let mut looks = 0;
        let found = eventually(PATIENCE, "three looks", || {
            looks += 1;
            Ok((looks == 3).then_some(looks))
        });
        assert_eq!(found.unwrap(), 3);
        let never = eventually(Duration::ZERO, "the moon to fall", || Ok(None::<()>)).unwrap_err();
        assert!(never.message().contains("the moon to fall"));
    }
}
