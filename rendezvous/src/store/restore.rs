//! The catalog, made again of the database: one thread reads, one fills the index, one joins its segments.

use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::time::Instant;

use potluck_common::search::{Done, Job};
use potluck_common::wire::index::Entry;

use super::StoreError;
use super::table::Table;
use crate::catalog::{Catalog, IndexJob, Saved};

/// Files that are handed on at once.
const PAGE: usize = 4096;
/// Pages that wait to be taken (about 10 MB): enough to bridge a slow read.
const PAGES: usize = 16;

/// Fills a catalog with what is saved, and tells now and then how many files it has taken.
///
/// # Errors
/// When the database cannot be read.
pub(super) fn restore(table: &Table, catalog: &mut Catalog, now: Instant, tell: impl FnMut(u64) + Send) -> Result<(), StoreError> {
    let registrations = table.registrations()?;
    for saved in &registrations {
        catalog.restore(saved, now);
    }
    let (pages, taken) = sync_channel(PAGES);
    let (jobs, to_do) = sync_channel(1);
    let (done, results) = sync_channel(1);
    std::thread::scope(|scope| {
        scope.spawn(|| run_jobs(to_do, &done));
        let registrations = &registrations;
        let filling = scope.spawn(move || fill(catalog, registrations, taken, jobs, results, tell));
        for (number, saved) in registrations.iter().enumerate() {
            // It ends before us only if it panics, which the scope hands on.
            table.read(saved.shelf, PAGE, |entries| drop(pages.send((number, entries))))?;
        }
        drop(pages);
        drop(filling);
        Ok(())
    })
}

/// Takes files into the catalog, and results of jobs when they come.
fn fill(
    catalog: &mut Catalog,
    registrations: &[Saved],
    pages: Receiver<(usize, Vec<Entry>)>,
    jobs: SyncSender<IndexJob<Job>>,
    results: Receiver<IndexJob<Done>>,
    mut tell: impl FnMut(u64),
) {
    let mut is_busy = false;
    let mut files = 0;
    for (number, entries) in pages {
        let Some(saved) = registrations.get(number) else { continue };
        files += entries.len() as u64;
        catalog.restore_files(saved, entries);
        tell(files);
        if is_busy {
            match results.try_recv() {
                Ok(done) => catalog.finish_job(done),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => continue,
            }
        }
        is_busy = catalog.next_job().is_some_and(|job| jobs.send(job).is_ok());
    }
    if is_busy && let Ok(done) = results.recv() {
        catalog.finish_job(done); // what else there is to join, the event loop does beside its other work
    }
}

fn run_jobs(jobs: Receiver<IndexJob<Job>>, done: &SyncSender<IndexJob<Done>>) {
    for job in jobs {
        if done.send(job.run()).is_err() {
            return;
        }
    }
}
