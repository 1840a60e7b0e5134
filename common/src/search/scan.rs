//! An index that looks at every entry: right by inspection, and fast enough for a node's own shares.

use std::collections::{BTreeMap, HashMap};

use super::query::fold;
use super::{Found, FoundHit, PeerNo, Query, SourcesOf, Totals};
use crate::content_id::ContentId;
use crate::share_path::SharePath;
use crate::wire::index::{Entry, Kind, MAX_HOLDERS};

/// The files of all peers, scanned for every search.
#[derive(Debug, Default)]
pub struct Scan {
    peers: HashMap<PeerNo, PeerFiles>,
    contents: HashMap<ContentId, BTreeMap<PeerNo, u32>>,
}

#[derive(Debug, Default)]
struct PeerFiles {
    online: bool,
    totals: Totals,
    files: BTreeMap<SharePath, File>,
}

#[derive(Debug)]
struct File {
    folded: Box<str>,
    size: u64,
    mtime: i64,
    content_id: Option<ContentId>,
}

/// What makes two entries one hit.
#[derive(PartialEq, Eq, Hash, PartialOrd, Ord, Clone)]
enum Group {
    Content(ContentId),
    Unhashed(PeerNo, SharePath),
}

impl Scan {
    /// An index of nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file of a peer, or replaces the one at the same path. A peer that is new is offline.
    pub fn put(&mut self, peer: PeerNo, entry: &Entry) {
        self.remove(peer, &entry.path);
        let file = File { folded: fold(entry.path.as_str()).into(), size: entry.size, mtime: entry.mtime, content_id: entry.content_id };
        let files = self.peers.entry(peer).or_default();
        files.totals.files += 1;
        files.totals.bytes = files.totals.bytes.saturating_add(entry.size);
        files.files.insert(entry.path.clone(), file);
        if let Some(id) = entry.content_id {
            *self.contents.entry(id).or_default().entry(peer).or_default() += 1;
        }
    }

    /// Drops the file of a peer at a path, if there is one.
    pub fn remove(&mut self, peer: PeerNo, path: &SharePath) {
        let Some(files) = self.peers.get_mut(&peer) else { return };
        let Some(file) = files.files.remove(path) else { return };
        files.totals.files -= 1;
        files.totals.bytes = files.totals.bytes.saturating_sub(file.size);
        if let Some(id) = file.content_id {
            self.drop_content(id, peer);
        }
    }

    fn drop_content(&mut self, id: ContentId, peer: PeerNo) {
        let Some(holders) = self.contents.get_mut(&id) else { return };
        if let Some(count) = holders.get_mut(&peer) {
            *count -= 1;
            if *count == 0 {
                holders.remove(&peer);
            }
        }
        if holders.is_empty() {
            self.contents.remove(&id);
        }
    }

    /// Drops a peer and all its files. Its number may be given out again.
    pub fn forget_peer(&mut self, peer: PeerNo) {
        let Some(files) = self.peers.remove(&peer) else { return };
        for file in files.files.into_values() {
            if let Some(id) = file.content_id {
                self.drop_content(id, peer);
            }
        }
    }

    /// Switches all files of a peer on or off.
    pub fn set_online(&mut self, peer: PeerNo, online: bool) {
        self.peers.entry(peer).or_default().online = online;
    }

    /// What a peer offers, whether it is online or not.
    #[must_use]
    pub fn totals(&self, peer: PeerNo) -> Totals {
        self.peers.get(&peer).map(|files| files.totals).unwrap_or_default()
    }

    /// The online peers that have a content.
    #[must_use]
    pub fn sources(&self, id: &ContentId, most: usize) -> Option<SourcesOf> {
        let holders = self.contents.get(id)?;
        let peers: Vec<_> = holders.keys().filter(|peer| self.is_online(**peer)).take(most).copied().collect();
        let has_it = |(_, file): &(&SharePath, &File)| file.content_id == Some(*id);
        let (path, file) = peers.iter().find_map(|peer| self.peers.get(peer)?.files.iter().find(has_it))?;
        Some(SourcesOf { size: file.size, path: path.clone(), peers })
    }

    fn is_online(&self, peer: PeerNo) -> bool {
        self.peers.get(&peer).is_some_and(|files| files.online)
    }

    /// The files of a peer at or below a path, after a cursor, in the order of their paths; with the next cursor.
    #[must_use]
    pub fn list(&self, peer: PeerNo, under: Option<&SharePath>, after: Option<&str>, limit: usize) -> (Vec<Entry>, Option<String>) {
        let Some(files) = self.peers.get(&peer) else { return (Vec::new(), None) };
        let after = after.and_then(|after| SharePath::parse(after).ok());
        let start = [after.as_ref(), under].into_iter().flatten().max();
        let start = start.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Included);
        let mut entries: Vec<Entry> = files
            .files
            .range::<SharePath, _>((start, std::ops::Bound::Unbounded))
            .take_while(|(path, _)| under.is_none_or(|folder| path.as_str().starts_with(folder.as_str())))
            .filter(|(path, _)| under.is_none_or(|folder| path.is_within(folder)) && Some(*path) != after.as_ref())
            .take(limit + 1)
            .map(|(path, file)| Entry { path: path.clone(), size: file.size, mtime: file.mtime, content_id: file.content_id })
            .collect();
        let more = entries.len() > limit;
        entries.truncate(limit);
        let next = entries.last().filter(|_| more).map(|entry| entry.path.to_string());
        (entries, next)
    }

    /// The contents that a query finds among the online peers (or among `only` those), best first, after a cursor.
    #[must_use]
    pub fn search(&self, query: &Query, only: Option<&[PeerNo]>, after: Option<&str>, limit: usize) -> Found {
        let mut groups: HashMap<Group, (i64, FoundHit)> = HashMap::new();
        for (peer, files) in self.peers.iter().filter(|(peer, files)| files.online && only.is_none_or(|only| only.contains(peer))) {
            for (path, file) in files.files.iter().filter(|(path, file)| matches(query, path, file)) {
                let group = file.content_id.map_or_else(|| Group::Unhashed(*peer, path.clone()), Group::Content);
                let score = score(query, file);
                let hit = FoundHit {
                    content_id: file.content_id,
                    path: path.clone(),
                    kind: Kind::File,
                    size: file.size,
                    mtime: file.mtime,
                    sources: 0,
                    holders: Vec::new(),
                };
                let (best, known) = groups.entry(group).or_insert_with(|| (i64::MIN, hit.clone()));
                if (score, &known.path) > (*best, path) {
                    *best = score;
                    *known = FoundHit { sources: known.sources, holders: std::mem::take(&mut known.holders), ..hit };
                }
                if !known.holders.iter().any(|(holder, _)| holder == peer) {
                    known.sources += 1;
                    if known.holders.len() < MAX_HOLDERS {
                        known.holders.push((*peer, path.clone()));
                    }
                }
            }
        }
        let total = groups.len() as u64;
        let mut ranked: Vec<(i64, FoundHit)> = groups.into_values().map(|(score, hit)| (score + i64::from(hit.sources), hit)).collect();
        ranked.sort_by(|(a, x), (b, y)| b.cmp(a).then_with(|| x.path.cmp(&y.path)).then_with(|| x.content_id.cmp(&y.content_id)));
        let skip = after.and_then(|after| after.parse::<usize>().ok()).unwrap_or(0).min(ranked.len());
        let mut hits: Vec<FoundHit> = ranked.into_iter().skip(skip).map(|(_, hit)| hit).take(limit).collect();
        hits.iter_mut().for_each(|hit| hit.holders.sort());
        let next = ((skip + hits.len()) as u64) < total;
        let next = (next && !hits.is_empty()).then(|| (skip + hits.len()).to_string());
        Found { hits, total, more: false, corrected: None, next }
    }
}

fn matches(query: &Query, path: &SharePath, file: &File) -> bool {
    let extension = || path.name().rsplit_once('.').map(|(_, extension)| fold(extension));
    query.words.iter().all(|word| file.folded.contains(word.as_str()))
        && !query.without.iter().any(|word| file.folded.contains(word.as_str()))
        && query.min_size.is_none_or(|least| file.size >= least)
        && query.max_size.is_none_or(|most| file.size <= most)
        && (query.extensions.is_empty() || extension().is_some_and(|extension| query.extensions.contains(&extension)))
}

/// Better: words at the start of words, in the base name, in a short path.
fn score(query: &Query, file: &File) -> i64 {
    let base = file.folded.rfind('/').map_or(0, |slash| slash + 1);
    let mut score = -(file.folded.chars().count() as i64) / 4;
    for word in &query.words {
        let starts = |at: usize| file.folded.get(..at).and_then(|before| before.chars().next_back()).is_none_or(|c| !c.is_alphanumeric());
        let mut places = file.folded.match_indices(word.as_str()).map(|(at, _)| at);
        let best = places.by_ref().map(|at| i64::from(at >= base) * 40 + i64::from(starts(at)) * 60).max();
        score += best.unwrap_or(0);
    }
    score
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, content: &str) -> Entry {
        Entry {
            path: SharePath::parse(path).unwrap(),
            size: content.len() as u64,
            mtime: 1,
            content_id: Some(ContentId::of(content.as_bytes())),
        }
    }

    fn index() -> Scan {
        let mut index = Scan::new();
        index.put(PeerNo(1), &entry("music/Björk/Jóga.flac", "joga"));
        index.put(PeerNo(2), &entry("songs/joga (live).flac", "joga"));
        index.put(PeerNo(2), &entry("songs/notes.txt", "notes"));
        index.set_online(PeerNo(1), true);
        index.set_online(PeerNo(2), true);
        index
    }

    #[test]
    fn one_content_under_two_names_is_one_hit_with_two_sources() {
        let found = index().search(&Query::parse("joga"), None, None, 10);
        assert_eq!((found.total, found.hits[0].sources), (1, 2));
        assert_eq!(found.hits[0].holders.len(), 2);
    }

    #[test]
    fn nothing_is_told_of_a_peer_that_is_offline_and_all_again_when_it_is_back() {
        let mut index = index();
        index.set_online(PeerNo(2), false);
        assert_eq!(index.search(&Query::parse("notes"), None, None, 10).total, 0);
        assert_eq!(index.sources(&ContentId::of(b"joga"), 9).unwrap().peers, [PeerNo(1)]);
        index.set_online(PeerNo(2), true);
        assert_eq!(index.search(&Query::parse("notes"), None, None, 10).total, 1);
        index.forget_peer(PeerNo(2));
        assert_eq!(index.search(&Query::parse("notes"), None, None, 10).total, 0);
        assert_eq!(index.totals(PeerNo(2)), Totals::default());
    }

    #[test]
    fn pages_of_a_listing_join_to_the_whole() {
        let mut index = Scan::new();
        let paths = ["a/1", "a/2", "a/b/1", "a/b/2", "ab/1"];
        paths.iter().for_each(|path| index.put(PeerNo(0), &entry(path, path)));
        let mut seen = Vec::new();
        let mut after = None;
        loop {
            let (page, next) = index.list(PeerNo(0), Some(&SharePath::parse("a").unwrap()), after.as_deref(), 3);
            seen.extend(page.into_iter().map(|entry| entry.path.to_string()));
            after = next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(seen, paths[..4]);
    }
}
