//! [`Engine`]: the index, put together of who has what ([`Relation`], [`Peers`]) and what it is called ([`Texts`]).
//!
//! A put finds the file among its peer's files (they are in the order of their paths), finds or makes the content and the
//! document, and adds a holder. Only a document that is new is written to the texts. One that nobody holds any more keeps its
//! place, so that it costs nothing when it comes back; when most of a segment is like that, the rest moves out of it and its
//! numbers are given out again ([`Engine::maintain`]).
//!
//! Nothing here waits for anything that grows with the index: tables grow in pieces, forgotten peers are swept a few thousand
//! files at a time, joining segments is a [`Job`] that runs beside.

use std::cmp::Ordering;
use std::hash::{BuildHasher, RandomState};

use super::files::Place;
use super::fold::fold;
use super::peers::Peers;
use super::rank::{popularity, shortness};
use super::relation::{ContentNo, DocNo, Holder, Relation};
use super::table::Table;
use super::texts::{Done, Job, Texts};
use super::{PeerNo, SourcesOf, Totals};
use crate::content_id::ContentId;
use crate::share_path::SharePath;
use crate::wire::index::Entry;

/// Files of forgotten peers that one call sweeps: about a millisecond.
const SWEEP: usize = 8192;
/// Work of one call that moves documents out of a segment, about a millisecond: to drop a dead one is 1, to write another anew [`ANEW`].
const MOVE: usize = 2048;
/// What it costs to write a document anew, in documents that are dropped.
const ANEW: usize = 16;
/// From so many documents on, those of a content are found by a table, not one by one.
const CROWD: usize = 16;
/// Documents of a content that are looked at to count its sources for the ranking.
const MOST_COUNTED: usize = 64;
/// Copies from which on more of them count no more for the ranking.
const MOST_COPIES: usize = 1024;
/// Holders that are looked at to list the sources of one content: some milliseconds for the file that everybody has.
const MOST_HOLDERS: usize = 65_536;

/// An index of millions of files that is searched in milliseconds.
#[derive(Debug, Default)]
pub struct Engine {
    pub(super) relation: Relation,
    pub(super) peers: Peers,
    pub(super) texts: Texts,
    /// The documents of contents that have more than [`CROWD`], by content and path.
    crowds: Table,
    hasher: RandomState,
    moving: Option<Moving>,
}

/// A segment whose documents move out.
#[derive(Debug)]
struct Moving {
    segment: u32,
    docs: Vec<DocNo>,
}

impl Engine {
    /// An index of nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file of a peer, or replaces the one at the same path. A peer that is new is offline.
    ///
    /// A file that there is no number left for (after 67 million names) is left out.
    pub fn put(&mut self, peer: PeerNo, entry: &Entry) {
        let slot = self.peers.slot_or_new(peer);
        let holder = Holder { slot, mtime: u32::try_from(entry.mtime.max(0)).unwrap_or(u32::MAX) };
        match self.find_file(slot, entry.path.as_str()) {
            Ok(place) => self.replace(place, holder, entry),
            Err(place) => {
                let Some(doc) = self.find_or_add_doc(entry) else { return };
                self.hold(doc, holder, entry.path.as_str());
                let peer = self.peers.get_mut(slot);
                peer.files.insert(place, doc);
                peer.totals.files += 1;
                peer.totals.bytes = peer.totals.bytes.saturating_add(entry.size);
            }
        }
    }

    /// Replaces the file that a peer has at the same path.
    fn replace(&mut self, place: Place, holder: Holder, entry: &Entry) {
        let Some(old) = self.peers.get(holder.slot).files.get(place) else { return };
        let Some((content, hashed)) = self.relation.content(old) else { return };
        let old_size = self.relation.size(content);
        let same_id = if hashed { entry.content_id == Some(self.relation.id(content)) } else { entry.content_id.is_none() };
        if same_id && old_size == entry.size {
            self.relation.touch(old, holder);
            return;
        }
        let known = entry.content_id.and_then(|id| self.relation.find_content(&id, entry.size));
        let known_doc = known.and_then(|content| self.find_doc(content, entry.path.as_str()));
        let new = if known_doc.is_none() && self.relation.holders(old).len() == 1 {
            // Nobody else has it: the name stays where it is and gets another content.
            let content = known.or_else(|| self.relation.add_content(entry.content_id.as_ref(), entry.size));
            let Some(content) = content else { return };
            self.unlink(old);
            self.link(old, content, entry.content_id.is_some());
            self.relation.touch(old, holder);
            self.keep_promise(old, entry.path.as_str());
            old
        } else {
            let Some(new) = known_doc.or_else(|| self.find_or_add_doc(entry)) else { return };
            self.release(old, holder.slot);
            self.hold(new, holder, entry.path.as_str());
            new
        };
        let peer = self.peers.get_mut(holder.slot);
        peer.files.replace(place, new);
        peer.totals.bytes = peer.totals.bytes.saturating_sub(old_size).saturating_add(entry.size);
    }

    /// Drops the file of a peer at a path, if there is one.
    pub fn remove(&mut self, peer: PeerNo, path: &SharePath) {
        let Some(slot) = self.peers.slot(peer) else { return };
        let Ok(place) = self.find_file(slot, path.as_str()) else { return };
        let Some(doc) = self.peers.get_mut(slot).files.remove(place) else { return };
        let size = self.relation.content(doc).map_or(0, |(content, _)| self.relation.size(content));
        let totals = &mut self.peers.get_mut(slot).totals;
        totals.files = totals.files.saturating_sub(1);
        totals.bytes = totals.bytes.saturating_sub(size);
        self.release(doc, slot);
    }

    /// Drops a peer and all its files. Its number may be given out again.
    pub fn forget_peer(&mut self, peer: PeerNo) {
        self.peers.forget(peer);
        self.sweep();
    }

    /// Switches all files of a peer on or off.
    pub fn set_online(&mut self, peer: PeerNo, online: bool) {
        let slot = self.peers.slot_or_new(peer);
        self.peers.set_online(slot, online);
    }

    /// What a peer offers, whether it is online or not.
    #[must_use]
    pub fn totals(&self, peer: PeerNo) -> Totals {
        self.peers.slot(peer).map(|slot| self.peers.get(slot).totals).unwrap_or_default()
    }

    /// The online peers that have a content, in the order of their numbers. Where sources disagree about its size, those of
    /// the size that most of them say.
    #[must_use]
    pub fn sources(&self, id: &ContentId, most: usize) -> Option<SourcesOf> {
        let all = self.relation.contents_of(id).into_iter().map(|content| (self.sources_of(content), self.relation.size(content)));
        let (held, size) = all.max_by_key(|(held, size)| (held.chunk_by(|a, b| a.0 == b.0).count(), *size))?;
        let first = held.first()?.0;
        let paths = held.iter().take_while(|(peer, _)| *peer == first).map(|(_, doc)| self.path(*doc));
        let path = SharePath::parse(&paths.min()?).ok()?;
        let mut peers: Vec<PeerNo> = held.into_iter().map(|(peer, _)| peer).collect();
        peers.dedup();
        peers.truncate(most);
        Some(SourcesOf { size, path, peers })
    }

    /// The online peers that have a content, in the order of their numbers, and as which documents.
    fn sources_of(&self, content: ContentNo) -> Vec<(PeerNo, DocNo)> {
        let docs = self.relation.docs_of(content).iter();
        let holders = docs.flat_map(|doc| self.relation.holders(*doc).iter().map(|holder| (*doc, *holder)));
        let online = holders.filter(|(_, holder)| self.peers.is_online(holder.slot)).take(MOST_HOLDERS);
        let mut held: Vec<(PeerNo, DocNo)> = online.map(|(doc, holder)| (self.peers.number(holder.slot), doc)).collect();
        held.sort_unstable();
        held
    }

    /// The files of a peer at or below a path, after a cursor, in the order of their paths; with the next cursor.
    #[must_use]
    pub fn list(&self, peer: PeerNo, under: Option<&SharePath>, after: Option<&str>, limit: usize) -> (Vec<Entry>, Option<String>) {
        let Some(slot) = self.peers.slot(peer) else { return (Vec::new(), None) };
        let mut entries = Vec::new();
        let mut take = |from: &str, fits: &dyn Fn(&str) -> bool| {
            for doc in self.files_from(slot, from) {
                let path = self.path(doc);
                if entries.len() > limit || !fits(&path) {
                    break;
                }
                if after.is_none_or(|after| path.as_str() > after) {
                    entries.extend(self.entry(slot, doc, &path));
                }
            }
        };
        let after_or = |start: &str| after.filter(|after| *after > start).unwrap_or(start).to_owned();
        match under {
            None => take(&after_or(""), &|_| true),
            Some(folder) => {
                // The file of that name, and what lies below: between them are namesakes such as `folder-2`.
                take(folder.as_str(), &|path| path == folder.as_str());
                let below = format!("{folder}/");
                take(&after_or(&below), &|path| path.starts_with(&below));
            }
        }
        let more = entries.len() > limit;
        entries.truncate(limit);
        let next = entries.last().filter(|_| more).map(|entry| entry.path.to_string());
        (entries, next)
    }

    fn entry(&self, slot: u32, doc: DocNo, path: &str) -> Option<Entry> {
        let (content, hashed) = self.relation.content(doc)?;
        let holder = self.relation.holders(doc).iter().find(|holder| holder.slot == slot)?;
        Some(Entry {
            path: SharePath::parse(path).ok()?,
            size: self.relation.size(content),
            mtime: i64::from(holder.mtime),
            content_id: hashed.then(|| self.relation.id(content)),
        })
    }

    /// A step of what need not be done at once: call it until it says false, whenever there is time. Takes some
    /// milliseconds, and up to 100 where segments are joined: an owner that others wait for does that part with
    /// [`next_job`](Self::next_job) and [`finish_job`](Self::finish_job) instead, and calls [`tidy`](Self::tidy).
    pub fn maintain(&mut self) -> bool {
        match self.next_job() {
            Some(job) => {
                self.finish_job(job.run());
                true
            }
            None => self.tidy(),
        }
    }

    /// Work to be done off the lock: [`Job::run`] it without the index, and give the result to
    /// [`finish_job`](Self::finish_job). A job that is dropped leaves its segments as they are, for good.
    pub fn next_job(&mut self) -> Option<Job> {
        self.texts.next_job()
    }

    /// One job more for who expects no changes for a while, when [`next_job`](Self::next_job) has none: joins the segments that wait
    /// for others of their size. A hundred thousand names take a megabyte less then, and a search asks one segment instead of
    /// twelve; names that come again and again would be copied each time.
    pub fn settling_job(&mut self) -> Option<Job> {
        self.texts.settling_job()
    }

    /// Gives back the room that tables keep for more, when no changes are expected for a while. Copies a megabyte at most.
    pub fn trim(&mut self) {
        self.relation.trim();
    }

    /// Takes the result of a job over. Quick.
    pub fn finish_job(&mut self, done: Done) {
        self.texts.finish(done);
    }

    /// A step of sweeping and moving, a millisecond or two. False when there is nothing left to do.
    pub fn tidy(&mut self) -> bool {
        let swept = self.sweep();
        self.move_some() || swept
    }

    /// Bytes that the index holds on the heap, as far as it can tell: without what the allocator adds.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.heap_parts().iter().map(|(_, bytes)| bytes).sum()
    }

    /// The same by what the bytes are for.
    #[must_use]
    pub fn heap_parts(&self) -> Vec<(&'static str, usize)> {
        let mut parts = self.texts.heap_parts();
        parts.extend(self.relation.heap_parts());
        parts.extend([("files of peers", self.peers.heap_bytes()), ("documents of crowds", self.crowds.heap_bytes())]);
        parts
    }

    /// Takes files of forgotten peers from their documents. True when it took as many as it may.
    fn sweep(&mut self) -> bool {
        for _ in 0..SWEEP {
            let Some((slot, doc)) = self.peers.next_forgotten() else { return false };
            self.release(doc, slot);
        }
        true
    }

    /// Moves documents out of a segment of which most are dead.
    fn move_some(&mut self) -> bool {
        if self.moving.is_none() {
            let Some(number) = self.texts.mostly_dead() else { return false };
            let Some(segment) = self.texts.segment(number) else { return false };
            let leaf = super::segment::LEAF as u32;
            let docs = segment.leaves.iter().flat_map(|number| number * leaf..(number + 1) * leaf).collect();
            self.texts.reserve(number);
            self.moving = Some(Moving { segment: number, docs });
        }
        let Some(mut moving) = self.moving.take() else { return false };
        let mut work = 0;
        while work < MOVE {
            let Some(doc) = moving.docs.pop() else {
                self.texts.drop_segment(moving.segment);
                return true;
            };
            work += if self.relation.holders(doc).is_empty() { 1 } else { ANEW };
            if !self.move_out(doc) {
                break;
            }
        }
        self.moving = Some(moving);
        true
    }

    /// Writes a document anew, or drops it if nobody holds it. False when there is no number for it.
    fn move_out(&mut self, old: DocNo) -> bool {
        if self.relation.holders(old).is_empty() {
            self.unlink(old);
            return true;
        }
        let path = self.path(old);
        let Some((new, _)) = self.texts.write(&path) else { return false };
        self.relation.add_doc(new);
        let holders: Vec<u32> = self.relation.holders(old).iter().map(|holder| holder.slot).collect();
        for slot in holders {
            // Forgotten peers are not in order any more than others: their files are found likewise.
            if let Ok(place) = self.find_file(slot, &path) {
                self.peers.get_mut(slot).files.replace(place, new);
            }
        }
        self.uncrowd(old);
        self.relation.move_doc(old, new);
        self.crowd(new);
        self.texts.count_live(old, false);
        self.texts.count_live(new, true);
        self.keep_promise(new, &path);
        true
    }

    /// The document of an entry's content and path.
    fn find_or_add_doc(&mut self, entry: &Entry) -> Option<DocNo> {
        let known = entry.content_id.and_then(|id| self.relation.find_content(&id, entry.size));
        if let Some(doc) = known.and_then(|content| self.find_doc(content, entry.path.as_str())) {
            return Some(doc);
        }
        let (doc, _) = self.texts.write(entry.path.as_str())?;
        self.relation.add_doc(doc);
        let content = known.or_else(|| self.relation.add_content(entry.content_id.as_ref(), entry.size))?;
        self.link(doc, content, entry.content_id.is_some());
        Some(doc)
    }

    fn find_doc(&self, content: ContentNo, path: &str) -> Option<DocNo> {
        let docs = self.relation.docs_of(content);
        let mut known = Vec::new();
        let mut is_it = |doc: DocNo| {
            self.texts.read(doc, &mut known);
            known == path.as_bytes()
        };
        if docs.len() <= CROWD {
            return docs.iter().copied().find(|doc| is_it(*doc));
        }
        let hash = self.hasher.hash_one((content, path.as_bytes()));
        self.crowds.find(hash, |doc| self.relation.content(doc).is_some_and(|(known, _)| known == content) && is_it(doc))
    }

    fn link(&mut self, doc: DocNo, content: ContentNo, hashed: bool) {
        self.relation.link(doc, content, hashed);
        self.crowd(doc);
    }

    fn unlink(&mut self, doc: DocNo) {
        self.uncrowd(doc);
        self.relation.unlink(doc);
    }

    /// The documents that enter or leave the table of crowds with one: none while they are few, all when it is the one that makes a crowd.
    fn crowd_of(&self, doc: DocNo) -> Vec<DocNo> {
        let Some((content, _)) = self.relation.content(doc) else { return Vec::new() };
        match self.relation.docs_of(content) {
            few if few.len() <= CROWD => Vec::new(),
            crowd if crowd.len() == CROWD + 1 => crowd.to_vec(),
            _ => vec![doc],
        }
    }

    /// Enters a document that was linked into the table of crowds, and its whole crowd when it has just become one.
    fn crowd(&mut self, doc: DocNo) {
        let docs = self.crowd_of(doc);
        let Self { relation, texts, crowds, hasher, .. } = self;
        let hash_of = |doc: u32| crowd_hash(relation, texts, hasher, doc);
        docs.into_iter().for_each(|doc| crowds.insert(hash_of(doc), doc, hash_of));
    }

    /// Takes a document that is to be unlinked out of the table of crowds, and its whole crowd when it ends to be one.
    fn uncrowd(&mut self, doc: DocNo) {
        let docs = self.crowd_of(doc);
        let Self { relation, texts, crowds, hasher, .. } = self;
        let hash_of = |doc: u32| crowd_hash(relation, texts, hasher, doc);
        docs.into_iter().for_each(|doc| crowds.remove(hash_of(doc), doc, hash_of));
    }

    fn hold(&mut self, doc: DocNo, holder: Holder, path: &str) {
        if self.relation.holders(doc).is_empty() {
            self.texts.count_live(doc, true);
        }
        self.relation.hold(doc, holder);
        self.keep_promise(doc, path);
    }

    fn release(&mut self, doc: DocNo, slot: u32) {
        if self.relation.release(doc, slot) {
            self.texts.count_live(doc, false);
            // Nobody can meet an unhashed content again; a hashed one waits for its return.
            if self.relation.content(doc).is_some_and(|(_, hashed)| !hashed) {
                self.relation.unlink(doc);
            }
        }
    }

    /// Promises what a document, and the others of its content, are worth now that its content has one more source or name.
    fn keep_promise(&mut self, doc: DocNo, path: &str) {
        let Some((content, _)) = self.relation.content(doc) else { return };
        let docs = self.relation.docs_of(content);
        let copies: usize = docs.iter().take(MOST_COUNTED).map(|doc| self.relation.holders(*doc).len()).sum();
        // As it will be when the number has doubled: only then it is looked at again.
        let points = if docs.len() > MOST_COUNTED { popularity(usize::MAX) } else { popularity(2 * copies) };
        let others = copies.is_power_of_two() && docs.len() > 1 && docs.len() <= MOST_COUNTED;
        let others = if others { docs.to_vec() } else { Vec::new() };
        self.texts.promise(doc, points, shortness(folded_len(path)));
        for other in others.into_iter().filter(|other| *other != doc) {
            let path = self.path(other);
            self.texts.promise(other, points, shortness(folded_len(&path)));
        }
    }

    /// What the sources of a document are worth at most.
    pub(super) fn most_popularity(&self, doc: DocNo) -> u32 {
        popularity(if self.relation.is_shared(doc) { usize::MAX } else { self.relation.holders(doc).len() })
    }

    /// How many entries of online peers are of this content, for the ranking.
    pub(super) fn copies(&self, content: ContentNo) -> usize {
        let docs = self.relation.docs_of(content).iter().take(MOST_COUNTED);
        let holders = docs.flat_map(|doc| self.relation.holders(*doc));
        holders.filter(|holder| self.peers.is_online(holder.slot)).take(MOST_COPIES).count()
    }

    /// The path of a document.
    pub(super) fn path(&self, doc: DocNo) -> String {
        let mut path = Vec::new();
        self.texts.read(doc, &mut path);
        String::from_utf8(path).unwrap_or_default()
    }

    /// The documents of a slot whose paths are not below a text.
    pub(super) fn files_from(&self, slot: u32, start: &str) -> impl Iterator<Item = DocNo> {
        let (Ok(place) | Err(place)) = self.find_file(slot, start);
        self.peers.get(slot).files.from(place)
    }

    /// The documents of a slot below a folder. No path is read but to find the first and the last.
    pub(super) fn files_below(&self, slot: u32, folder: &str) -> impl Iterator<Item = DocNo> {
        let place = |text: &str| match self.find_file(slot, text) {
            Ok(place) | Err(place) => place,
        };
        // What comes after all that begin with the folder and a slash: `0` follows `/` in ASCII.
        let (from, to) = (place(&format!("{folder}/")), place(&format!("{folder}0")));
        self.peers.get(slot).files.between(from, to)
    }

    fn find_file(&self, slot: u32, path: &str) -> Result<Place, Place> {
        let mut known = Vec::new();
        self.peers.get(slot).files.find(|doc| -> Ordering {
            self.texts.read(doc, &mut known);
            known.as_slice().cmp(path.as_bytes())
        })
    }
}

fn crowd_hash(relation: &Relation, texts: &Texts, hasher: &RandomState, doc: DocNo) -> u64 {
    let mut path = Vec::new();
    texts.read(doc, &mut path);
    hasher.hash_one((relation.content(doc).map_or(u32::MAX, |(content, _)| content), path.as_slice()))
}

fn folded_len(path: &str) -> usize {
    if path.is_ascii() { path.len() } else { fold(path).len() }
}
