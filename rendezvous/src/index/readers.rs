//! [`Readers`]: searches on threads of their own, as many at once as there are cores. The thread of the network, which alone
//! changes the catalog, never waits for a whole line of them: for the rest of those that run at most, some milliseconds.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use potluck_common::wire::index::{Answer, Request};
use tokio::sync::mpsc;

use crate::catalog::Catalog;

/// Searches that wait for a thread; who comes then is told that the tracker is busy. At a thousand a second they wait for as
/// long as a second.
const MAX_WAITING: usize = 1024;
/// Answers that the event loop has not taken yet: beyond, the threads wait for it.
const MAX_TOLD: usize = 64;

/// A catalog that one thread changes and others read.
#[derive(Clone, Debug)]
pub(super) struct CatalogLock(Arc<RwLock<Catalog>>);

/// The threads that search, seen from the event loop: no method waits for one. Dropping it ends them after the search that
/// each is at. `W` is whoever waits for an answer.
#[derive(Debug)]
pub(super) struct Readers<W> {
    questions: SyncSender<(Request, W)>,
    answers: mpsc::Receiver<(W, Answer)>,
}

impl CatalogLock {
    pub(super) fn new(catalog: Catalog) -> Self {
        Self(Arc::new(RwLock::new(catalog)))
    }

    /// To read: on the thread that writes it never waits.
    pub(super) fn read(&self) -> RwLockReadGuard<'_, Catalog> {
        // A panic while something was changed has ended the tracker: nobody is left to read what is half done.
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// To change: waits for the searches that run.
    pub(super) fn write(&self) -> RwLockWriteGuard<'_, Catalog> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W: Send + 'static> Readers<W> {
    /// Starts a thread a core.
    ///
    /// # Errors
    /// When the system has no threads.
    pub(super) fn start(catalog: &CatalogLock) -> std::io::Result<Self> {
        let (questions, asked) = sync_channel(MAX_WAITING);
        let (tell, answers) = mpsc::channel(MAX_TOLD);
        let asked = Arc::new(Mutex::new(asked));
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            let (catalog, asked, tell) = (catalog.clone(), Arc::clone(&asked), tell.clone());
            std::thread::Builder::new().name("search".to_owned()).spawn(move || answer_all(&catalog, &asked, &tell))?;
        }
        Ok(Self { questions, answers })
    }

    /// Answers a request on another thread.
    ///
    /// # Errors
    /// When too many wait.
    pub(super) fn ask(&mut self, request: Request, waiter: W) -> Result<(), W> {
        self.questions
            .try_send((request, waiter))
            .map_err(|(TrySendError::Full((_, waiter)) | TrySendError::Disconnected((_, waiter)))| waiter)
    }

    /// What is answered by now, at least one. Dropping the future loses nothing.
    pub(super) async fn answers(&mut self) -> Vec<(W, Answer)> {
        let mut answers = Vec::new();
        if self.answers.recv_many(&mut answers, MAX_TOLD).await == 0 {
            // All threads have ended, which they do only if they panicked: searches are refused, all else goes on.
            std::future::pending::<()>().await;
        }
        answers
    }
}

/// What each thread does, until the event loop has ended.
fn answer_all<W>(catalog: &CatalogLock, asked: &Mutex<Receiver<(Request, W)>>, tell: &mpsc::Sender<(W, Answer)>) {
    loop {
        let next = asked.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((request, waiter)) = next else { return };
        let answer = catalog.read().answer(&request);
        if tell.blocking_send((waiter, answer)).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use potluck_common::namespace::Namespace;
    use potluck_common::wire::index::{Search, SearchPage};

    use super::*;
    use crate::quota::Limits;

    fn search() -> Request {
        Request::Search(Search { namespace: Namespace::default(), text: Default::default(), after: None, limit: 10 })
    }

    #[tokio::test]
    async fn what_is_asked_while_the_catalog_changes_is_answered_after_and_one_too_many_is_refused() {
        let catalog = CatalogLock::new(Catalog::new(Limits::default(), Duration::from_secs(60)));
        let mut readers = Readers::start(&catalog).unwrap();
        let change = catalog.write();
        let asked: Vec<usize> = (0..).take_while(|number| readers.ask(search(), *number).is_ok()).collect();
        let at_once = std::thread::available_parallelism().map_or(1, usize::from); // may have been taken by a thread each
        assert!((MAX_WAITING..=MAX_WAITING + at_once).contains(&asked.len()), "{}", asked.len());
        drop(change);
        let mut answers = Vec::new();
        while answers.len() < asked.len() {
            answers.extend(readers.answers().await);
        }
        assert!(answers.iter().all(|(_, answer)| *answer == Answer::Search(SearchPage::default())));
        answers.sort_by_key(|(number, _)| *number);
        assert_eq!(answers.into_iter().map(|(number, _)| number).collect::<Vec<_>>(), asked);
    }
}
