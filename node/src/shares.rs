//! What the node offers: its shares, the files in them, and the contents that it can serve.
//!
//! One table under one lock, never held across an await or a read from disk. `indexer.rs` fills it; trackers.rs
//! publishes its journal; uploads.rs asks it where a content lies; browse.rs answers searches from its index.
//!
//! A share may have a million files. Their paths are in the journal and, for searching, in the index; nothing else here may
//! grow with them.
//!
//! A share that is not for everybody keeps its entries on a shelf of its own: they are in no journal that is published, and
//! `told.rs` shows them to those only whom the share is for.

mod known;
mod offers;
mod tending;
mod told;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use potluck_common::content_id::ContentId;
use potluck_common::namespace::Namespace;
use potluck_common::search::{Index, PeerNo};
use potluck_common::share_path::SharePath;
use potluck_common::wire::index::Entry;
use tokio::sync::watch;

use self::offers::Offers;
use crate::core::audience::{Audience, Reader, Readers};
use crate::core::journal::{FileNo, Journal, Seen};
use crate::store::{ShareDir, Stamp};
use crate::types::ShareLine;

/// The node's own number in its own index.
pub(crate) const ME: PeerNo = PeerNo(0);
/// Reasons why something is not shared that are kept to be shown; the rest is only counted.
const MAX_SKIPPED_SHOWN: usize = 20;

/// What the node offers. Shared by all tasks.
pub(crate) struct Shares {
    table: Mutex<Table>,
    /// The journal's revision: who publishes waits for it to move.
    revision: watch::Sender<u64>,
    /// Held by the thread that tends the index.
    tending: Mutex<()>,
    /// What [`Table::changes`] was when the table was last written down.
    written: Mutex<u64>,
}

/// Everything that is known of the shares.
pub(crate) struct Table {
    /// The namespace that the node is in: what is for others is not for everybody here.
    namespace: Namespace,
    shares: BTreeMap<String, Share>,
    /// What is offered beside them.
    offers: Offers,
    /// The files of those for everybody: where they are, what is told of them, and since when.
    pub(crate) journal: Journal,
    /// What of them is found by everybody: their names, sizes and times. What they hold is in the journal alone, so that a hundred thousand
    /// files take 4 MB less and a file that was hashed changes no index.
    index: Index,
    /// Whether the indexes do not have yet all that was taken over from the last run.
    is_filling: bool,
}

/// One share.
struct Share {
    audience: Audience,
    readers: Readers,
    /// Its entries, if it is not for everybody.
    shelf: Option<Box<Shelf>>,
    path: PathBuf,
    /// `None` while its folder is away.
    dir: Option<Arc<ShareDir>>,
    state: ShareState,
    files: u64,
    bytes: u64,
    hashed_bytes: u64,
    skipped: Vec<String>,
    skipped_count: u64,
}

/// The entries of a share that is not for everybody.
struct Shelf {
    /// Never published.
    journal: Journal,
    index: Index,
}

/// How far a share is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShareState {
    /// Its files are being found.
    Listing,
    /// Its files are known from the last run, and are being compared with the disk.
    Checking,
    /// All names are known, not all contents.
    Hashing,
    /// All is known.
    Ready,
    /// Its folder is away; its files are not told to anybody until it is back.
    Offline,
}

/// Where a content can be read.
pub(crate) struct Place {
    pub(crate) dir: Arc<ShareDir>,
    pub(crate) path: SharePath,
    /// What the file looked like when it was hashed.
    pub(crate) stamp: Stamp,
}

/// A file that a scan found.
pub(crate) struct FoundFile {
    pub(crate) path: SharePath,
    pub(crate) stamp: Stamp,
    /// What the hash cache knows of it.
    pub(crate) content_id: Option<ContentId>,
}

impl Shares {
    pub(crate) fn new(epoch: u64, namespace: Namespace) -> Self {
        let table = Table {
            namespace,
            shares: BTreeMap::new(),
            offers: Offers::default(),
            journal: Journal::new(epoch),
            index: own_index(),
            is_filling: false,
        };
        Self { table: Mutex::new(table), revision: watch::Sender::new(0), tending: Mutex::new(()), written: Mutex::new(0) }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the table, and wakes who publishes if something that is told has changed.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Table) -> T) -> T {
        let mut table = self.lock();
        let result = change(&mut table);
        let revision = table.journal.revision();
        drop(table);
        self.revision.send_if_modified(|known| std::mem::replace(known, revision) != revision);
        result
    }

    /// Moves whenever what is told changes.
    pub(crate) fn revisions(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    /// The shares as they are shown.
    pub(crate) fn lines(&self) -> Vec<ShareLine> {
        self.lock().shares.iter().map(|(name, share)| share.line(name)).collect()
    }

    /// Whether anything is known to be shared.
    pub(crate) fn has_files(&self) -> bool {
        self.lock().shares.values().any(|share| share.files > 0)
    }

    /// Files and bytes that are offered to a reader, and bytes that are hashed.
    pub(crate) fn totals(&self, reader: &Reader) -> (u64, u64, u64) {
        let table = self.lock();
        table
            .shares
            .values()
            .filter(|share| share.readers.include(reader))
            .fold((0, 0, 0), |(files, bytes, hashed), share| (files + share.files, bytes + share.bytes, hashed + share.hashed_bytes))
    }
}

impl Table {
    /// Adds a share. `dir` is `None` while its folder is away.
    pub(crate) fn add_share(&mut self, name: &str, path: PathBuf, dir: Option<Arc<ShareDir>>, audience: Audience) {
        let readers = audience.readers(&self.namespace);
        let shelf = (readers != Readers::Everybody).then(Shelf::new);
        let share = Share {
            audience,
            readers,
            shelf,
            path,
            dir: None,
            state: ShareState::Offline,
            files: 0,
            bytes: 0,
            hashed_bytes: 0,
            skipped: Vec::new(),
            skipped_count: 0,
        };
        self.shares.insert(name.to_owned(), share);
        self.open_share(name, dir);
    }

    /// Puts the folder of a share in its place, or takes it away. A share that is no more stays so.
    pub(crate) fn open_share(&mut self, name: &str, dir: Option<Arc<ShareDir>>) {
        if let Some(share) = self.shares.get_mut(name) {
            share.state = if dir.is_some() { ShareState::Listing } else { ShareState::Offline };
            share.dir = dir;
        }
    }

    pub(crate) fn has_share(&self, name: &str) -> bool {
        self.shares.contains_key(name)
    }

    /// Whether a share has files.
    pub(crate) fn has_files(&self, name: &str) -> bool {
        self.shares.get(name).is_some_and(|share| share.files > 0)
    }

    /// What is told of a file on this machine, and under what path.
    pub(crate) fn shared_file(&self, path: &Path) -> Option<(SharePath, Entry)> {
        self.shares.iter().find_map(|(name, share)| {
            let within = path.strip_prefix(&share.path).ok()?.to_str()?;
            let shared = SharePath::parse(&format!("{name}/{within}")).ok()?;
            let entry = self.entry(&shared)?;
            Some((shared, entry))
        })
    }

    /// The share of that name or of that folder.
    pub(crate) fn share_named(&self, name: &str) -> Option<String> {
        let by_dir = || self.shares.iter().find(|(_, share)| share.path.as_os_str() == name).map(|(name, _)| name.clone());
        self.shares.contains_key(name).then(|| name.to_owned()).or_else(by_dir)
    }

    pub(crate) fn share_dir(&self, name: &str) -> Option<Arc<ShareDir>> {
        self.shares.get(name)?.dir.clone()
    }

    /// The folders of all shares, by name.
    pub(crate) fn share_paths(&self) -> Vec<(String, PathBuf)> {
        self.shares.iter().map(|(name, share)| (name.clone(), share.path.clone())).collect()
    }

    pub(crate) fn set_state(&mut self, name: &str, state: ShareState) {
        if let Some(share) = self.shares.get_mut(name) {
            share.state = state;
        }
    }

    pub(crate) fn set_skipped(&mut self, name: &str, mut shown: Vec<String>, count: u64) {
        shown.truncate(MAX_SKIPPED_SHOWN);
        if let Some(share) = self.shares.get_mut(name) {
            share.skipped = shown;
            share.skipped_count = count;
        }
    }

    /// Whether every share is listed, and whether every one is hashed too.
    pub(crate) fn progress(&self) -> (bool, bool) {
        let listed = self.shares.values().all(|share| share.state.has_names());
        let hashed = self.shares.values().all(|share| matches!(share.state, ShareState::Ready | ShareState::Offline));
        (listed, hashed)
    }

    /// Every share that waited for hashes has them; tells whether that was the last thing to do.
    pub(crate) fn finish_hashing(&mut self) -> bool {
        if self.shares.values().any(|share| matches!(share.state, ShareState::Listing | ShareState::Checking)) {
            return false;
        }
        let waiting = self.shares.values_mut().filter(|share| share.state == ShareState::Hashing);
        waiting.map(|share| share.state = ShareState::Ready).count() > 0
    }

    /// What is known of a file.
    pub(crate) fn entry(&self, path: &SharePath) -> Option<Entry> {
        self.journal_of(path.share()).get(path)
    }

    /// Where the files of a share are kept.
    fn journal_of(&self, share: &str) -> &Journal {
        let shelf = self.shares.get(share).and_then(|share| share.shelf.as_ref());
        shelf.map_or(&self.journal, |shelf| &shelf.journal)
    }

    /// Where the entries of a share are kept.
    fn kept_in(&mut self, share: &str) -> (&mut Journal, &mut Index) {
        match self.shares.get_mut(share).and_then(|share| share.shelf.as_mut()) {
            Some(shelf) => (&mut shelf.journal, &mut shelf.index),
            None => (&mut self.journal, &mut self.index),
        }
    }

    /// What a file looked like and what it holds, as far as is known.
    fn known(&self, path: &SharePath) -> Option<(Stamp, Option<ContentId>)> {
        let journal = self.journal_of(path.share());
        let stamp = journal.stamp(path).filter(Stamp::is_of_file)?;
        Some((stamp, journal.content(path).flatten()))
    }

    /// A share is about to be listed.
    pub(crate) fn begin_listing(&mut self, share: &str) {
        self.kept_in(share).0.begin_listing();
    }

    /// A listing has come across a file: what is known of it.
    pub(crate) fn see(&mut self, path: &SharePath, stamp: &Stamp) -> Seen {
        self.kept_in(path.share()).0.see(path, stamp)
    }

    /// Takes a file that is there. Nothing happens when it is known as it is, or its share is no more.
    pub(crate) fn put(&mut self, file: &FoundFile) {
        if !self.shares.contains_key(file.path.share()) {
            return; // it was being listed when it was removed: who it was for is not known any more
        }
        let known = self.known(&file.path);
        let is_as_known = |(stamp, id)| stamp == file.stamp && (id == file.content_id || file.content_id.is_none());
        if known.is_some_and(is_as_known) {
            return;
        }
        if let Some(id) = file.content_id {
            self.withdraw_offer(&id);
        }
        if let Some(share) = self.shares.get_mut(file.path.share()) {
            if let Some((stamp, id)) = known {
                share.count_out(stamp.size, id.is_some());
            }
            share.count_in(file.stamp.size, file.content_id.is_some());
        }
        let (journal, index) = self.kept_in(file.path.share());
        if known.is_none_or(|(stamp, _)| stamp != file.stamp) {
            let (size, mtime) = (file.stamp.size, file.stamp.mtime());
            index.put(ME, &Entry { path: file.path.clone(), size, mtime, content_id: None });
        }
        journal.put(&file.path, file.stamp, file.content_id);
    }

    /// Takes the content of a file, if the file is still what was hashed.
    pub(crate) fn put_content(&mut self, path: &SharePath, stamp: Stamp, content_id: ContentId) {
        if self.known(path).is_some_and(|(known, _)| known == stamp) {
            self.put(&FoundFile { path: path.clone(), stamp, content_id: Some(content_id) });
        }
    }

    /// Forgets a file.
    pub(crate) fn remove(&mut self, path: &SharePath) {
        let Some((stamp, content_id)) = self.known(path) else { return };
        if let Some(share) = self.shares.get_mut(path.share()) {
            share.count_out(stamp.size, content_id.is_some());
        }
        let (journal, index) = self.kept_in(path.share());
        index.remove(ME, path);
        journal.remove(path);
    }

    /// A share was listed: forgets its files that the listing did not see, but for those for which `keep` holds.
    pub(crate) fn forget_unseen(&mut self, share: &str, keep: impl Fn(&SharePath) -> bool) {
        for file in self.journal_of(share).unseen(share) {
            if let Some(path) = self.journal_of(share).path_of(file).filter(|path| !keep(path)) {
                self.remove(&path);
            }
        }
    }

    /// Forgets all files of a share.
    pub(crate) fn forget_files(&mut self, share: &str) {
        let all: Vec<FileNo> = self.journal_of(share).of_share(share).collect();
        for file in all {
            if let Some(path) = self.journal_of(share).path_of(file) {
                self.remove(&path);
            }
        }
    }

    /// Forgets a share and its files.
    pub(crate) fn close_share(&mut self, name: &str) {
        self.forget_files(name);
        self.shares.remove(name);
    }

    /// Takes the youngest files of each journal that are to be hashed, at most so many of each: see [`Journal::take_unhashed`].
    pub(crate) fn take_unhashed(&mut self, most: usize) -> Vec<(i64, SharePath)> {
        let shelves = self.shares.values_mut().filter_map(|share| share.shelf.as_mut());
        let journals = shelves.map(|shelf| &mut shelf.journal).chain([&mut self.journal]);
        journals.flat_map(|journal| journal.take_unhashed(most)).collect()
    }

    /// The files of a content.
    fn files_of(&self, id: &ContentId) -> impl Iterator<Item = (SharePath, Stamp)> {
        let shelves = self.shares.values().filter_map(|share| share.shelf.as_ref());
        let journals = [&self.journal].into_iter().chain(shelves.map(|shelf| &shelf.journal));
        journals.flat_map(|journal| journal.places(id)).filter(|(_, stamp)| stamp.is_of_file())
    }

    /// Whether a content is in a share.
    fn has_file_of(&self, id: &ContentId) -> bool {
        self.files_of(id).next().is_some()
    }

    /// Whether a content is here, but only in shares that are not for this reader.
    pub(crate) fn is_kept_from(&self, id: &ContentId, reader: &Reader) -> bool {
        let is_for = |path: &SharePath| self.shares.get(path.share()).is_some_and(|share| share.readers.include(reader));
        self.has_file_of(id) && !self.files_of(id).any(|(path, _)| is_for(&path))
    }

    /// Where a content can be read, as far as is known; the first place is as good as any.
    pub(crate) fn place(&self, id: &ContentId) -> Option<Place> {
        self.files_of(id).find_map(|(path, stamp)| {
            let dir = self.shares.get(path.share())?.dir.clone()?;
            Some(Place { dir, path, stamp })
        })
    }
}

impl Shelf {
    fn new() -> Box<Self> {
        Box::new(Self { journal: Journal::new(0), index: own_index() })
    }
}

impl ShareState {
    /// Whether the files of the share are known; of one that is away, that there are none.
    fn has_names(self) -> bool {
        self != Self::Listing
    }
}

/// An index of what the node itself has.
fn own_index() -> Index {
    let mut index = Index::new();
    index.set_online(ME, true);
    index
}

impl Share {
    fn count_in(&mut self, size: u64, is_hashed: bool) {
        self.files += 1;
        self.bytes = self.bytes.saturating_add(size);
        self.hashed_bytes = self.hashed_bytes.saturating_add(if is_hashed { size } else { 0 });
    }

    fn count_out(&mut self, size: u64, is_hashed: bool) {
        self.files = self.files.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(size);
        self.hashed_bytes = self.hashed_bytes.saturating_sub(if is_hashed { size } else { 0 });
    }

    fn line(&self, name: &str) -> ShareLine {
        let state = match self.state {
            ShareState::Listing => "listing",
            ShareState::Checking | ShareState::Hashing => "hashing",
            ShareState::Ready => "ready",
            ShareState::Offline => "offline",
        };
        ShareLine {
            name: name.to_owned(),
            dir: self.path.display().to_string(),
            guests: self.audience.names(),
            state: state.to_owned(),
            files: self.files,
            bytes: self.bytes,
            hashed_bytes: self.hashed_bytes,
            skipped: self.skipped.clone(),
            skipped_count: self.skipped_count,
        }
    }
}
