//! [`both`]: two halves of a piece of work at the same time, where a core is idle.
//!
//! Who waits for an answer waits half as long; what is found is the same wherever it is done. Where all cores are at work a
//! half more at a time would only make others wait, so they are done one after the other.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon_core::{ThreadPool, ThreadPoolBuilder};

/// Work under way, of which each piece has a core to itself.
static AT_WORK: AtomicUsize = AtomicUsize::new(0);

/// Threads for the other halves: as many as there are cores beside the one that asks. Started when one is needed for the first
/// time; `None` where there is one core, or where the system has no more threads.
static HELPERS: LazyLock<Option<ThreadPool>> = LazyLock::new(|| {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let builder = ThreadPoolBuilder::new().num_threads(cores.checked_sub(1).filter(|helpers| *helpers > 0)?);
    builder.thread_name(|_| "half".to_owned()).build().ok()
});

/// A piece of work that is counted among those under way for as long as this lives.
#[derive(Debug)]
pub(crate) struct AtWork(());

impl AtWork {
    /// Begins a piece of work.
    pub(crate) fn begin() -> Self {
        AT_WORK.fetch_add(1, Ordering::Relaxed);
        Self(())
    }

    /// Begins one only where a core of so many is left for it.
    fn begin_beside(cores: usize) -> Option<Self> {
        let one_more = |at_work| (at_work < cores).then_some(at_work + 1);
        AT_WORK.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok().map(|_| Self(()))
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        AT_WORK.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Does two things, `theirs` on another thread if a core is idle. The caller is [`AtWork`].
pub(crate) fn both(ours: impl FnOnce(), theirs: impl FnOnce() + Send) {
    let helpers = HELPERS.as_ref().and_then(|helpers| Some((helpers, AtWork::begin_beside(helpers.current_num_threads() + 1)?)));
    let Some((helpers, at_work)) = helpers else {
        ours();
        theirs();
        return;
    };
    helpers.in_place_scope(|scope| {
        scope.spawn(move |_| {
            theirs();
            drop(at_work);
        });
        ours();
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_halves_are_done_wherever_there_is_room() {
        for _ in 0..100 {
            let _at_work = AtWork::begin();
            let (mut ours, mut theirs) = (0, 0);
            both(|| ours = 1, || theirs = 2);
            assert_eq!((ours, theirs), (1, 2));
        }
    }

    #[test]
    fn where_all_cores_are_at_work_no_half_goes_to_another_thread() {
        let _all: Vec<AtWork> = (0..1000).map(|_| AtWork::begin()).collect();
        let here = std::thread::current().id();
        let (mut ours, mut theirs) = (None, None);
        both(|| ours = Some(std::thread::current().id()), || theirs = Some(std::thread::current().id()));
        assert_eq!((ours, theirs), (Some(here), Some(here)));
    }

    #[test]
    fn a_half_that_panics_ends_the_whole() {
        let ended = std::panic::catch_unwind(|| both(|| (), || panic!("as a test does")));
        assert!(ended.is_err());
    }
}
