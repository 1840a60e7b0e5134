//! What is kept of a download that is done: a record of it, for `verify` and for the next run, and an offer to others.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use potluck_common::content_id::ContentId;
use tokio::sync::{oneshot, watch};

use super::engine::Engine;
use super::file::{File, Phase};
use super::{Purpose, lock};
use crate::clock::unix_seconds;
use crate::core::scheduler::FileNo;
use crate::shares::Shares;
use crate::store::{FinishedRecord, State};

/// How long nothing may have been finished before what is done is offered: a folder of small files has the processor to
/// itself until then.
const CALM: Duration = Duration::from_secs(1);
/// Finished downloads that are offered under one lock, so that those who look something up wait for milliseconds.
const BATCH: usize = 256;

/// How often it is looked whether finished downloads are still there as they were, and how many at a time: whoever has some hundred of them
/// tells within seconds that one was deleted, and a hundred thousand are all looked at in little more than an hour.
const LOOK_EVERY: Duration = Duration::from_secs(10);
const LOOKS: usize = 256;

/// Downloads that are done, on their way into the database and to others. As many as were finished since the last calm.
#[derive(Default)]
pub(super) struct Keepsakes {
    /// To be written down.
    new: Vec<FinishedRecord>,
    /// Written down, to be offered.
    written: Arc<Mutex<Vec<FinishedRecord>>>,
    last: Option<Instant>,
    /// When it was last looked whether what is offered is there.
    looked: Option<Instant>,
    /// Writings under way.
    writings: watch::Sender<usize>,
}

impl Engine {
    /// A file is in its place.
    pub(super) fn keep(&mut self, file: &File) {
        let Phase::Done(path) = &file.phase else { return };
        if file.shelf.purpose == Purpose::Stream {
            return;
        }
        let size = file.size.unwrap_or_else(|| file.came_from.values().sum());
        self.keepsakes.new.push(FinishedRecord { path: path.clone(), content_id: file.shelf.content_id, size, stamp: None });
        self.keepsakes.last = Some(crate::clock::now());
        if self.setup.offers.is_none() {
            self.withdraw(file);
        } // else it is served from the temporary file's handle until it is offered
    }

    /// Writes down what is done, and takes it out of the list of what is wanted, many at a time. One that is not taken out
    /// before a crash is found in its place after the restart.
    pub(super) fn forget_records(&mut self) -> impl Future<Output = ()> + use<> {
        let (ids, mut records) = (std::mem::take(&mut self.forgotten), std::mem::take(&mut self.keepsakes.new));
        let (state, written) = (Arc::clone(&self.setup.state), Arc::clone(&self.keepsakes.written));
        let is_needed = !ids.is_empty() || !records.is_empty();
        let writings = self.keepsakes.writings.clone();
        let work = is_needed.then(|| {
            writings.send_modify(|count| *count += 1);
            tokio::task::spawn_blocking(move || {
                records.iter_mut().for_each(|record| record.stamp = record.look());
                let result = state.put_finished(&records).and_then(|()| state.remove_downloads(&ids));
                lock(&written).append(&mut records);
                writings.send_modify(|count| *count -= 1);
                result
            })
        });
        async move {
            if let Some(Ok(Err(error))) = futures::future::OptionFuture::from(work).await {
                tracing::warn!(%error, "finished downloads are still in the database");
            }
        }
    }

    /// Writes down what is done, and says so when that and all before is on the disk.
    pub(super) fn settle(&mut self, reply: oneshot::Sender<()>) {
        drop(self.forget_records()); // the work goes on by itself
        let mut writings = self.keepsakes.writings.subscribe();
        tokio::spawn(async move {
            let _ = writings.wait_for(|count| *count == 0).await; // an engine that has ended writes no more
            let _ = reply.send(()); // nobody may wait any more
        });
    }

    /// Offers what was written down, once nothing more is being finished.
    pub(super) fn offer_finished(&mut self, now: Instant) {
        let is_calm = self.keepsakes.last.is_none_or(|last| now.saturating_duration_since(last) >= CALM);
        let Some(offers) = self.setup.offers.as_ref().filter(|_| is_calm) else { return };
        let records = std::mem::take(&mut *lock(&self.keepsakes.written));
        if records.is_empty() {
            return;
        }
        let (offers, board) = (Arc::clone(offers), Arc::clone(&self.board));
        tokio::task::spawn_blocking(move || {
            offer(&offers, &records);
            let mut partial = lock(&board.partial);
            records.iter().for_each(|record| drop(partial.remove(&record.content_id)));
        });
    }

    /// Offers what earlier runs have finished, as far as it is still there as it was.
    pub(super) fn offer_remembered(&self) {
        let Some(offers) = self.setup.offers.clone() else { return };
        let state = Arc::clone(&self.setup.state);
        tokio::task::spawn_blocking(move || offer(&offers, &untouched(&state)));
    }

    /// Looks from time to time whether some of what is offered is still as it was, and offers it no longer if it is not.
    pub(super) fn look_after_offers(&mut self, now: Instant) {
        let Some(offers) = &self.setup.offers else { return };
        if self.keepsakes.looked.is_some_and(|looked| now.saturating_duration_since(looked) < LOOK_EVERY) {
            return;
        }
        self.keepsakes.looked = Some(now);
        let mut offered = offers.lock().next_offered(LOOKS);
        if offered.is_empty() {
            return;
        }
        let offers = Arc::clone(offers);
        tokio::task::spawn_blocking(move || {
            offered.retain(|(_, offered)| !offered.is_untouched());
            if !offered.is_empty() {
                offers.change(|table| table.withdraw_offered(&offered));
            }
        });
    }

    /// Offers a file that grows.
    pub(super) fn offer_partial(&self, no: FileNo) {
        let (Some(offers), Some(file), Some(geometry)) = (&self.setup.offers, self.files.get(&no), self.scheduler.geometry(no)) else {
            return;
        };
        let (id, name, mtime) = (file.shelf.content_id, file.shelf.target.name(), file.mtime.unwrap_or_else(unix_seconds));
        offers.change(|table| table.offer_partial(id, name, geometry.size(), mtime));
    }

    /// A file is not here any more, not even in part.
    pub(super) fn withdraw(&self, file: &File) {
        let id: ContentId = file.shelf.content_id;
        if self.by_content.contains_key(&id) {
            return; // another download of the same content goes on
        }
        lock(&self.board.partial).remove(&id);
        if let Some(offers) = &self.setup.offers
            && offers.lock().offered(&id).is_none()
        {
            offers.change(|table| table.withdraw_offer(&id));
        }
    }
}

/// What is still as it was when it was finished. Blocks.
fn untouched(state: &State) -> Vec<FinishedRecord> {
    let records = state.finished().unwrap_or_else(|error| {
        tracing::warn!(%error, "finished downloads of earlier runs are not offered");
        Vec::new()
    });
    records.into_iter().filter(FinishedRecord::is_untouched).collect()
}

fn offer(offers: &Shares, records: &[FinishedRecord]) {
    for batch in records.chunks(BATCH) {
        offers.change(|table| batch.iter().for_each(|record| table.offer_finished(record)));
    }
}
