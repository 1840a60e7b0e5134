//! [`Collector`]: from matching documents to a page of hits.
//!
//! Documents come in as they are found, in any order. Those of one content are one hit, which has the best of their scores;
//! nearly all contents have one document, which is marked, so that only the others go through a table. Paths are not looked at
//! but where scores tie. The order of hits is total: the better score first, then the lesser path, then the lesser key, and no two
//! hits are alike in all three. A cursor names a place in it, not a count of hits: what is published or withdrawn between two pages
//! neither repeats hits nor leaves any out.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::hash::{BuildHasher, RandomState};

use super::engine::Engine;
use super::filter::Filter;
use super::rank::{FOLDER, popularity};
use super::relation::{ContentNo, DocNo, Holder};
use super::{Found, FoundHit, PeerNo};
use crate::content_id::ContentId;
use crate::share_path::SharePath;
use crate::wire::index::{Kind, MAX_HOLDERS};

/// Most holders that are counted for a file: half a millisecond for one that everybody has.
const MAX_COUNTED: usize = 4096;
/// Most peers that are counted for a folder.
pub(super) const MAX_FOLDER_PEERS: usize = 64;
/// Files that are added up for the size of one folder. It is told to be at least so big.
pub(super) const MAX_FOLDER_FILES: usize = 1024;

/// Holders of files that are looked at in the time that it takes to tell of a folder.
const FOLDER_COST: usize = 200;
/// Holders of all hits of a page from which on they are told of in two halves: about a third of a millisecond.
const MUCH_TO_TELL: usize = 2000;

/// Hits of one search.
pub(super) struct Collector<'a> {
    engine: &'a Engine,
    filter: &'a Filter,
    after: Option<Cursor>,
    found: Vec<Candidate>,
    /// Which candidate stands for a content that may have more documents, and what its sources are worth: counted once.
    contents: HashMap<ContentNo, (u32, u32)>,
    /// Which candidate stands for a folder, by the hash of its path.
    folders: HashMap<u64, u32>,
    folder_peers: Vec<Vec<u32>>,
    hasher: RandomState,
    /// The folder of the document before: most often it is the same.
    last_folder: Option<(Vec<u8>, u32)>,
    /// How many candidates have each score.
    histogram: Vec<u32>,
}

/// One hit, before anything is looked up for it.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    score: u32,
    doc: DocNo,
    kind: CandidateKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CandidateKind {
    File,
    /// A folder on the path of the document: how many bytes of the path it is, and which list of peers is its.
    Folder {
        len: u16,
        peers: u32,
    },
}

/// A place in the order of hits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) score: u32,
    pub(super) path: String,
    /// Tells apart hits of one path: see [`content_key`]. Of a file that is not hashed yet its peer's number, of a folder the greatest.
    pub(super) key: u128,
}

impl Cursor {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (score, rest) = text.split_once(':')?;
        let (key, path) = rest.split_once(':')?;
        Some(Self { score: score.parse().ok()?, key: u128::from_str_radix(key, 16).ok()?, path: path.to_owned() })
    }

    pub(super) fn text(&self) -> String {
        format!("{}:{:x}:{}", self.score, self.key, self.path)
    }

    /// Whether a hit comes after this place.
    pub(super) fn is_before(&self, other: &Self) -> bool {
        self.order(other).is_lt()
    }

    /// Better first.
    pub(super) fn order(&self, other: &Self) -> std::cmp::Ordering {
        other.score.cmp(&self.score).then_with(|| self.path.cmp(&other.path)).then_with(|| self.key.cmp(&other.key))
    }
}

impl<'a> Collector<'a> {
    pub(super) fn new(engine: &'a Engine, filter: &'a Filter, after: Option<Cursor>) -> Self {
        Self {
            engine,
            filter,
            after,
            found: Vec::new(),
            contents: HashMap::new(),
            folders: HashMap::new(),
            folder_peers: Vec::new(),
            hasher: RandomState::new(),
            last_folder: None,
            histogram: Vec::new(),
        }
    }

    /// Another for the other half of the same search.
    pub(super) fn half(&self) -> Self {
        Self { hasher: self.hasher.clone(), ..Self::new(self.engine, self.filter, self.after.clone()) }
    }

    /// Takes over what the other half found. A content or a folder that both found is one hit.
    pub(super) fn join(&mut self, mut other: Self) {
        // Where each of its hits is here, of those that both found.
        let mut places: Vec<Option<u32>> = vec![None; other.found.len()];
        for (content, (there, _)) in &other.contents {
            places[*there as usize] = self.contents.get(content).map(|(here, _)| *here);
        }
        for (folder, there) in &other.folders {
            places[*there as usize] = self.folders.get(folder).copied();
        }
        for (mut candidate, place) in other.found.into_iter().zip(&mut places) {
            let slots = match candidate.kind {
                CandidateKind::Folder { peers, .. } => other.folder_peers.get_mut(peers as usize).map(std::mem::take),
                CandidateKind::File => None,
            };
            match (*place, slots) {
                (Some(here), Some(slots)) => self.improve_folder(here, candidate.score, slots.into_iter()),
                (Some(here), None) => self.improve(here, candidate),
                (None, slots) => {
                    if let (CandidateKind::Folder { peers, .. }, Some(slots)) = (&mut candidate.kind, slots) {
                        *peers = self.folder_peers.len() as u32;
                        self.folder_peers.push(slots);
                    }
                    *place = Some(self.found.len() as u32);
                    self.push(candidate);
                }
            }
        }
        let place = |there: u32| places.get(there as usize).copied().flatten();
        for (content, (there, popularity)) in other.contents {
            self.contents.extend(place(there).map(|here| (content, (here, popularity))));
        }
        self.folders.extend(other.folders.into_iter().filter_map(|(folder, there)| Some((folder, place(there)?))));
    }

    /// How many hits there are.
    pub(super) fn total(&self) -> usize {
        self.found.len()
    }

    /// The score of the hit at a place among the best that come after the cursor; 0 when there are not so many.
    pub(super) fn score_at(&self, place: usize) -> u32 {
        let mut seen = 0;
        for (score, count) in self.histogram.iter().enumerate().rev() {
            seen += *count as usize;
            if seen > place {
                return score as u32;
            }
        }
        0
    }

    /// Takes a document whose file fits, with its score but for sources.
    pub(super) fn file(&mut self, doc: DocNo, score: u32) {
        let Some((content, hashed)) = self.engine.relation.content(doc) else { return };
        if !hashed || !self.engine.relation.is_shared(doc) {
            let copies = match self.engine.relation.holders(doc) {
                [_] => 1,
                _ => self.engine.copies(content),
            };
            self.push(Candidate { score: score + popularity(copies), doc, kind: CandidateKind::File });
            return;
        }
        let (at, popularity) = match self.contents.entry(content) {
            Slot::Vacant(vacant) => {
                let popularity = popularity(self.engine.copies(content));
                vacant.insert((self.found.len() as u32, popularity));
                self.push(Candidate { score: score + popularity, doc, kind: CandidateKind::File });
                return;
            }
            Slot::Occupied(known) => *known.get(),
        };
        let known = self.found[at as usize];
        self.improve(at, Candidate { score: score + popularity, doc, ..known });
    }

    /// Takes a document of a content that has another: the better one stands for it, or the one of the lesser path.
    fn improve(&mut self, at: u32, with: Candidate) {
        let known = self.found[at as usize];
        if with.score > known.score || (with.score == known.score && self.engine.path(with.doc) < self.engine.path(known.doc)) {
            self.count(known.score, -1);
            self.count(with.score, 1);
            self.found[at as usize] = with;
        }
    }

    /// Takes a folder on the path of a document that some peers hold, with the score of the document but for sources: a folder is
    /// worth a little more than the best of what it holds.
    pub(super) fn folder(&mut self, doc: DocNo, path: &[u8], score: u32, holders: impl Iterator<Item = Holder>) {
        let score = score + FOLDER;
        let at = match &self.last_folder {
            Some((last, at)) if last == path => *at,
            _ => {
                let fresh = self.found.len() as u32;
                let at = *self.folders.entry(self.hasher.hash_one(path)).or_insert(fresh);
                if at == fresh {
                    let kind = CandidateKind::Folder { len: path.len() as u16, peers: self.folder_peers.len() as u32 };
                    self.folder_peers.push(Vec::new());
                    self.push(Candidate { score, doc, kind });
                }
                self.last_folder = Some((path.to_vec(), at));
                at
            }
        };
        self.improve_folder(at, score, holders.map(|holder| holder.slot));
    }

    /// Takes more of what is known of a folder.
    fn improve_folder(&mut self, at: u32, score: u32, slots: impl Iterator<Item = u32>) {
        let Some(candidate) = self.found.get_mut(at as usize) else { return };
        let before = candidate.score;
        candidate.score = before.max(score);
        let CandidateKind::Folder { peers, .. } = candidate.kind else { return };
        if score > before {
            self.count(before, -1);
            self.count(score, 1);
        }
        let Some(known) = self.folder_peers.get_mut(peers as usize) else { return };
        for slot in slots {
            if known.last() != Some(&slot) && known.len() < MAX_FOLDER_PEERS && !known.contains(&slot) {
                known.push(slot);
            }
        }
    }

    fn push(&mut self, candidate: Candidate) {
        self.count(candidate.score, 1);
        self.found.push(candidate);
    }

    fn count(&mut self, score: u32, by: i32) {
        if self.after.as_ref().is_some_and(|after| score > after.score) {
            return;
        }
        let score = score as usize;
        if self.histogram.len() <= score {
            self.histogram.resize(score + 64, 0);
        }
        self.histogram[score] = self.histogram[score].saturating_add_signed(by);
    }

    /// The page after the cursor.
    pub(super) fn page(mut self, limit: usize) -> Found {
        let total = self.found.len() as u64;
        let mut found = std::mem::take(&mut self.found);
        let mut needed = limit + 1;
        if let Some(after) = &self.after {
            found.retain(|candidate| candidate.score <= after.score);
            // Any of those that tie may come before the cursor.
            needed += found.iter().filter(|candidate| candidate.score == after.score).count();
        }
        if needed < found.len() {
            let (_, last, _) = found.select_nth_unstable_by_key(needed - 1, |candidate| std::cmp::Reverse(candidate.score));
            let least = last.score;
            found.retain(|candidate| candidate.score >= least);
        }
        let mut placed: Vec<(String, Candidate)> = found.into_iter().map(|candidate| (self.path(&candidate), candidate)).collect();
        if let Some(after) = self.after.take() {
            placed.retain(|(path, candidate)| after.is_before(&self.place(path.clone(), candidate)));
        }
        let order = |(a_path, a): &(String, Candidate), (b_path, b): &(String, Candidate)| {
            let keys = || self.key(a).cmp(&self.key(b));
            b.score.cmp(&a.score).then_with(|| a_path.cmp(b_path)).then_with(keys)
        };
        let more = placed.len() > limit;
        if more {
            // Thousands may tie for the last place.
            placed.select_nth_unstable_by(limit, order);
            placed.truncate(limit);
        }
        placed.sort_unstable_by(order);
        let next = placed.last().filter(|_| more).map(|(path, candidate)| self.place(path.clone(), candidate).text());
        Found { hits: self.hits(placed), total, more: false, corrected: None, next }
    }

    /// Tells of the hits what a page says. Where that is much, in two halves.
    fn hits(&self, mut placed: Vec<(String, Candidate)>) -> Vec<FoundHit> {
        let cost = |candidate: &Candidate| match candidate.kind {
            CandidateKind::File => self.engine.relation.holders(candidate.doc).len() + 1,
            CandidateKind::Folder { .. } => FOLDER_COST,
        };
        let costs: Vec<usize> = placed.iter().map(|(_, candidate)| cost(candidate)).collect();
        let all: usize = costs.iter().sum();
        let told =
            |placed: Vec<(String, Candidate)>| placed.into_iter().filter_map(|(path, candidate)| self.hit(path, &candidate)).collect();
        if all < MUCH_TO_TELL {
            return told(placed);
        }
        let mut sum = 0;
        let middle = costs.iter().position(|cost| {
            sum += cost;
            2 * sum >= all
        });
        let last = placed.split_off(middle.map_or(0, |middle| middle + 1));
        let (mut hits, mut rest): (Vec<FoundHit>, Vec<FoundHit>) = Default::default();
        self.engine.both(|| hits = told(placed), || rest = told(last));
        hits.append(&mut rest);
        hits
    }

    /// The path of a candidate.
    fn path(&self, candidate: &Candidate) -> String {
        let mut path = self.engine.path(candidate.doc);
        if let CandidateKind::Folder { len, .. } = candidate.kind {
            path.truncate(len.into());
        }
        path
    }

    /// Where a candidate stands in the order of hits.
    fn place(&self, path: String, candidate: &Candidate) -> Cursor {
        Cursor { score: candidate.score, path, key: self.key(candidate) }
    }

    /// Tells apart what has the same path.
    fn key(&self, candidate: &Candidate) -> u128 {
        let relation = &self.engine.relation;
        match (candidate.kind, relation.content(candidate.doc)) {
            (CandidateKind::Folder { .. }, _) => u128::MAX,
            (_, Some((content, true))) => content_key(&relation.id(content), relation.size(content)),
            _ => relation.holders(candidate.doc).first().map_or(0, |holder| u128::from(self.engine.peers.number(holder.slot).0)),
        }
    }

    fn hit(&self, path: String, candidate: &Candidate) -> Option<FoundHit> {
        let path = SharePath::parse(&path).ok()?;
        match candidate.kind {
            CandidateKind::File => self.file_hit(path, candidate.doc),
            CandidateKind::Folder { peers, .. } => Some(self.folder_hit(path, peers)),
        }
    }

    fn file_hit(&self, path: SharePath, doc: DocNo) -> Option<FoundHit> {
        let relation = &self.engine.relation;
        let (content, hashed) = relation.content(doc)?;
        let (sources, held) = self.sources(content);
        let peers = held.chunk_by(|a, b| a.0 == b.0).take(MAX_HOLDERS);
        let holders = peers.filter_map(|same| {
            let path = match same {
                // Who has the same document has it at the same path.
                [(_, held)] if *held == doc => path.clone(),
                _ => SharePath::parse(&same.iter().map(|(_, doc)| self.engine.path(*doc)).min()?).ok()?,
            };
            Some((same.first()?.0, path))
        });
        let holders = holders.collect();
        let fitting = relation.holders(doc).iter().filter(|holder| self.filter.fits_holder(self.engine, **holder));
        Some(FoundHit {
            content_id: hashed.then(|| relation.id(content)),
            path,
            kind: Kind::File,
            size: relation.size(content),
            mtime: fitting.map(|holder| i64::from(holder.mtime)).max().unwrap_or(0),
            sources,
            holders,
        })
    }

    /// How many peers have a content, and those of them with the least numbers, in order, with the documents that they hold: as many
    /// as a hit tells of, or more.
    fn sources(&self, content: ContentNo) -> (u32, Vec<(PeerNo, DocNo)>) {
        let (relation, peers) = (&self.engine.relation, &self.engine.peers);
        let docs = relation.docs_of(content);
        let all = docs.iter().flat_map(|doc| relation.holders(*doc).iter().map(|holder| (*doc, holder.slot)));
        let allowed = all.filter(|(_, slot)| self.filter.allows(self.engine, *slot)).take(MAX_COUNTED);
        // Number and document in one word: it is compared at once.
        let mut held: Vec<u64> = allowed.map(|(doc, slot)| u64::from(peers.number(slot).0) << 32 | u64::from(doc)).collect();
        let sources = if docs.len() == 1 {
            // A peer has a document once: there is nothing to tell apart.
            let sources = held.len();
            if sources > MAX_HOLDERS {
                held.select_nth_unstable(MAX_HOLDERS);
                held.truncate(MAX_HOLDERS);
            }
            held.sort_unstable();
            sources
        } else {
            held.sort_unstable();
            held.chunk_by(|a, b| a >> 32 == b >> 32).count()
        };
        (sources as u32, held.into_iter().map(|word| (PeerNo((word >> 32) as u32), word as DocNo)).collect())
    }

    fn folder_hit(&self, path: SharePath, peers: u32) -> FoundHit {
        let slots = self.folder_peers.get(peers as usize).map(Vec::as_slice).unwrap_or_default();
        let mut numbers: Vec<(PeerNo, u32)> = slots.iter().map(|slot| (self.engine.peers.number(*slot), *slot)).collect();
        numbers.sort_unstable();
        FoundHit {
            content_id: None,
            kind: Kind::Folder,
            size: numbers.first().map_or(0, |(_, slot)| self.folder_size(*slot, &path)),
            mtime: 0,
            sources: numbers.len() as u32,
            holders: numbers.iter().take(MAX_HOLDERS).map(|(peer, _)| (*peer, path.clone())).collect(),
            path,
        }
    }

    /// The bytes in a peer's files below a folder.
    fn folder_size(&self, slot: u32, folder: &SharePath) -> u64 {
        let relation = &self.engine.relation;
        let docs = self.engine.files_below(slot, folder.as_str()).take(MAX_FOLDER_FILES);
        docs.filter_map(|doc| relation.content(doc)).fold(0, |sum: u64, (content, _)| sum.saturating_add(relation.size(content)))
    }
}

/// Tells apart contents that have the same path: those of one id too, of which peers say different sizes.
///
/// A hash, since ids and sizes are what peers say: whoever chose them alike in the bytes that a cursor has room for could
/// push a hit off the edge of a page.
pub(super) fn content_key(id: &ContentId, size: u64) -> u128 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(id.as_bytes()).update(&size.to_be_bytes());
    hasher.finalize().as_bytes().first_chunk().map_or(0, |first| u128::from_be_bytes(*first))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::share_path::MAX_PATH_BYTES;
    use crate::wire::MAX_CURSOR_BYTES;

    #[test]
    fn the_longest_cursor_fits_in_a_message_and_reads_back() {
        let cursor = Cursor { score: u32::MAX, path: ":".repeat(MAX_PATH_BYTES), key: u128::MAX };
        assert!(cursor.text().len() <= MAX_CURSOR_BYTES);
        assert_eq!(Cursor::parse(&cursor.text()), Some(cursor));
    }
}
