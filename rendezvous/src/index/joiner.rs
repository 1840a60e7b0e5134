//! [`Joiner`]: joins segments of the catalog beside everything else, on a thread that gives way to those that search.

use std::panic::AssertUnwindSafe;
use std::sync::mpsc::{SyncSender, sync_channel};

use potluck_common::search::{Done, Job};
use tokio::sync::mpsc;

use crate::catalog::IndexJob;

/// How far the thread gives way: while all cores are at work it has a tenth of what another thread has. Joining takes an eighth of a core
/// at a hundred thousand files a second, and who searches does not wait for its turn to end.
const NICENESS: i32 = 10;

/// The thread that joins segments, one job at a time. Dropping it ends the thread after the job that it is at.
#[derive(Debug)]
pub(super) struct Joiner {
    jobs: SyncSender<IndexJob<Job>>,
    done: mpsc::Receiver<Option<IndexJob<Done>>>,
    is_busy: bool,
}

impl Joiner {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system has no threads.
    pub(super) fn start() -> std::io::Result<Self> {
        let (jobs, to_do) = sync_channel::<IndexJob<Job>>(1);
        let (tell, done) = mpsc::channel(1);
        std::thread::Builder::new().name("join".to_owned()).spawn(move || {
            give_way();
            for job in to_do {
                // A panic costs this job alone: what it would have joined is searched as it is.
                let done = std::panic::catch_unwind(AssertUnwindSafe(|| job.run())).ok();
                if tell.blocking_send(done).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { jobs, done, is_busy: false })
    }

    /// Gives it a job, if it has none.
    pub(super) fn start_job(&mut self, next: impl FnOnce() -> Option<IndexJob<Job>>) {
        if !self.is_busy {
            self.is_busy = next().is_some_and(|job| self.jobs.try_send(job).is_ok());
        }
    }

    /// The result of its job, or `None` when the job panicked. Never, while it has none; dropping the future loses nothing.
    pub(super) async fn done(&mut self) -> Option<IndexJob<Done>> {
        match self.done.recv().await {
            Some(done) => {
                self.is_busy = false;
                done
            }
            // The thread outlives this; without it all else goes on.
            None => std::future::pending().await,
        }
    }
}

/// Lets this thread give way, where that is a matter of one thread: elsewhere it would be of the whole tracker.
fn give_way() {
    if cfg!(target_os = "linux")
        && let Err(failure) = rustix::process::nice(NICENESS)
    {
        tracing::debug!("joining segments does not give way to searches: {failure}");
    }
}
