//! The threads that read, hash and write pieces.
//!
//! A few that are always the same, instead of the runtime's blocking pool: that one wakes another of its many threads for
//! every piece, and all of them then wait for each other at the lock of the one file that they write. Here a thread that
//! has finished a piece takes the next one without having slept, and what is in flight stays in a processor's cache.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tokio::sync::{mpsc, oneshot};

use crate::error::{CommandError, Failure};

/// Pieces of work that may wait for a thread; who has more waits with it.
const WORK_QUEUE: usize = 64;

/// Threads for one direction: two, so that a disk that is slow for one file does not keep another waiting, and no more, or
/// they would wait for each other at the lock of one file.
const THREADS_FOR_PIECES: usize = 2;

/// Work for one thread, which leaves its result where it is waited for.
type Work = Box<dyn FnOnce() + Send>;

/// A few threads for work that blocks. Cloning shares them; they end when the last clone is dropped.
#[derive(Clone, Debug)]
pub(crate) struct DiskThreads {
    work: mpsc::Sender<Work>,
}

impl DiskThreads {
    /// Starts the threads that read, or that write, pieces.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn for_pieces(name: &str) -> Result<Self, CommandError> {
        Self::start(name, THREADS_FOR_PIECES)
            .map_err(|error| CommandError::new(Failure::Other, format!("no thread can be started: {error}")))
    }

    /// Starts so many threads, at least one. `name` is what the system shows of them, at most 15 bytes.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn start(name: &str, threads: usize) -> io::Result<Self> {
        let (work, queue) = mpsc::channel(WORK_QUEUE);
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..threads.max(1) {
            let queue = Arc::clone(&queue);
            thread::Builder::new().name(name.to_owned()).spawn(move || work_forever(&queue))?;
        }
        Ok(Self { work })
    }

    /// Runs `work` on a thread and waits for its result. `None` when it panicked, which is a bug of ours, or the threads are
    /// gone. Dropping the future before the work was taken takes it back; after that it runs to its end.
    pub(crate) async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let (result, answer) = oneshot::channel();
        let boxed: Work = Box::new(move || {
            let _ = result.send(work()); // who asked may have gone
        });
        self.work.send(boxed).await.ok()?;
        answer.await.ok()
    }
}

fn work_forever(queue: &Mutex<mpsc::Receiver<Work>>) {
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
        let Some(work) = next else { return };
        if catch_unwind(AssertUnwindSafe(work)).is_err() {
            tracing::error!("work on a disk thread panicked; the thread goes on");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_runs_elsewhere_and_its_result_comes_back() {
        let threads = DiskThreads::start("test", 2).unwrap();
        let here = thread::current().id();
        assert_ne!(threads.run(|| thread::current().id()).await, Some(here));
        let sum: u64 = futures::future::join_all((0..1000_u64).map(|n| threads.run(move || n))).await.into_iter().flatten().sum();
        assert_eq!(sum, 499_500);
    }

    #[tokio::test]
    async fn a_panic_costs_one_result_and_no_thread() {
        let threads = DiskThreads::start("test", 1).unwrap();
        assert_eq!(threads.run(|| if thread::current().name().is_some() { panic!("as planned") } else { 1 }).await, None);
        assert_eq!(threads.run(|| 2).await, Some(2));
    }
}
