//! Answers of several parties, none of which may hold the others up.

use std::pin::pin;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};

use super::{SEARCH_PATIENCE, Unanswered};
use crate::clock::now;

/// How long a search waits for others once one party has answered: those that are slow or gone must not hold it up.
const LATE_PATIENCE: Duration = Duration::from_secs(1);

/// Waits for answers, and returns them in the order of the questions. Once one is there, the others are late after [`LATE_PATIENCE`].
pub(super) async fn in_time<T>(asks: impl Iterator<Item = impl Future<Output = Result<T, Unanswered>>>) -> Vec<Result<T, Unanswered>> {
    let mut waiting: FuturesUnordered<_> = asks.enumerate().map(|(place, ask)| async move { (place, ask.await) }).collect();
    let mut answers = Vec::new();
    answers.resize_with(waiting.len(), || Err(Unanswered::TooSlow));
    let mut time_is_up = pin!(tokio::time::sleep(SEARCH_PATIENCE));
    let mut is_answered = false;
    loop {
        let (place, answer) = tokio::select! {
            Some(next) = waiting.next() => next,
            () = &mut time_is_up => return answers,
            else => return answers,
        };
        if answer.is_ok() && !std::mem::replace(&mut is_answered, true) {
            let late = tokio::time::Instant::from_std(now() + LATE_PATIENCE);
            let deadline = time_is_up.deadline().min(late);
            time_is_up.as_mut().reset(deadline);
        }
        if let Some(known) = answers.get_mut(place) {
            *known = answer;
        }
    }
}
