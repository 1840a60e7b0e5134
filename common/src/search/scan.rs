//! [`Scan`]: an index that looks at every entry. Right by inspection, and so what [`Engine`](super::engine::Engine) is compared with.

use std::collections::{BTreeMap, HashMap};

use super::collect::{Cursor, content_key};
use super::fold::fold;
use super::rank::{FOLDER, Word, extension, find, popularity};
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
    Content(ContentId, u64),
    Unhashed(PeerNo, SharePath),
    Folder(SharePath),
}

/// A query, ready.
struct Asked<'a> {
    words: Vec<Word>,
    query: &'a Query,
    /// The earliest time of change that fits.
    earliest: i64,
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
        let file = File {
            folded: fold(entry.path.as_str()).into(),
            size: entry.size,
            mtime: entry.mtime.clamp(0, i64::from(u32::MAX)),
            content_id: entry.content_id,
        };
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

    /// The online peers that have a content, in the order of their numbers; of the size that most of them say.
    #[must_use]
    pub fn sources(&self, id: &ContentId, most: usize) -> Option<SourcesOf> {
        let holders = self.contents.get(id)?;
        let mut sizes: BTreeMap<u64, (SharePath, Vec<PeerNo>)> = BTreeMap::new();
        for peer in holders.keys().filter(|peer| self.is_online(**peer)) {
            let files = self.peers.get(peer).into_iter().flat_map(|files| &files.files);
            for (path, file) in files.filter(|(_, file)| file.content_id == Some(*id)) {
                let (_, peers) = sizes.entry(file.size).or_insert_with(|| (path.clone(), Vec::new()));
                if peers.last() != Some(peer) {
                    peers.push(*peer);
                }
            }
        }
        let (size, (path, mut peers)) = sizes.into_iter().max_by_key(|(size, (_, peers))| (peers.len(), *size))?;
        peers.truncate(most);
        Some(SourcesOf { size, path, peers })
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

    /// What a query finds among the online peers (or among `only` those), best first, after a cursor: see
    /// [`Engine::search`](super::engine::Engine::search). Corrects nothing.
    #[must_use]
    pub fn search(&self, query: &Query, only: Option<&[PeerNo]>, after: Option<&str>, limit: usize, now: i64) -> Found {
        let asked = Asked {
            words: query.words.iter().map(|word| Word::new([word.as_str()])).collect(),
            query,
            earliest: query.newer.map_or(0, |newer| newer.earliest(now)),
        };
        let mut groups: HashMap<Group, (u32, FoundHit)> = HashMap::new();
        let allowed = |peer: &PeerNo| only.is_none_or(|only| only.contains(peer));
        for (peer, files) in self.peers.iter().filter(|(peer, files)| files.online && allowed(peer)) {
            for (path, file) in &files.files {
                self.take_file(&asked, *peer, path, file, &mut groups);
                self.take_folder(&asked, *peer, path, file, &mut groups);
            }
        }
        let total = groups.len() as u64;
        let mut ranked: Vec<(Cursor, FoundHit)> = groups
            .into_iter()
            .map(|(group, (score, hit))| {
                let key = match group {
                    Group::Content(id, size) => content_key(&id, size),
                    Group::Unhashed(peer, _) => u128::from(peer.0),
                    Group::Folder(_) => u128::MAX,
                };
                (Cursor { score, path: hit.path.to_string(), key }, hit)
            })
            .collect();
        ranked.sort_by(|(a, _), (b, _)| a.order(b));
        let after = after.and_then(Cursor::parse);
        ranked.retain(|(place, _)| after.as_ref().is_none_or(|after| after.is_before(place)));
        let next = limit.checked_sub(1).and_then(|last| ranked.get(last)).filter(|_| ranked.len() > limit).map(|(place, _)| place.text());
        let hits = ranked.into_iter().take(limit).map(|(_, hit)| self.fill(hit, &allowed)).collect();
        Found { hits, total, more: false, corrected: None, next }
    }

    fn take_file(&self, asked: &Asked<'_>, peer: PeerNo, path: &SharePath, file: &File, groups: &mut HashMap<Group, (u32, FoundHit)>) {
        if !asked.fits(file) {
            return;
        }
        let Some(points) = find(&asked.words, file.folded.as_bytes()).map(|found| found.points) else { return };
        let (group, copies) = match file.content_id {
            Some(id) => (Group::Content(id, file.size), self.copies(&id, file.size)),
            None => (Group::Unhashed(peer, path.clone()), 1),
        };
        let hit = FoundHit {
            content_id: file.content_id,
            path: path.clone(),
            kind: Kind::File,
            size: file.size,
            mtime: file.mtime,
            sources: 1,
            holders: vec![(peer, path.clone())],
        };
        let found = (points + popularity(copies), hit);
        match groups.entry(group) {
            std::collections::hash_map::Entry::Vacant(vacant) => {
                vacant.insert(found);
            }
            std::collections::hash_map::Entry::Occupied(mut known) => {
                let (score, hit) = known.get_mut();
                if found.0 > *score || (found.0 == *score && found.1.path < hit.path) {
                    (*score, *hit) = found;
                } else if found.0 == *score && found.1.path == hit.path {
                    hit.mtime = hit.mtime.max(file.mtime);
                }
            }
        }
    }

    fn take_folder(&self, asked: &Asked<'_>, peer: PeerNo, path: &SharePath, file: &File, groups: &mut HashMap<Group, (u32, FoundHit)>) {
        let found = find(&asked.words, file.folded.as_bytes()).filter(|_| asked.query.wants_folders());
        let Some((end, points)) = found.and_then(|found| Some((found.folder_end?, found.points))) else { return };
        let folder = &file.folded[..end];
        if asked.query.without.iter().any(|word| folder.contains(word.as_str())) {
            return;
        }
        let depth = folder.matches('/').count();
        let text: Vec<&str> = path.as_str().split('/').take(depth + 1).collect();
        let Ok(path) = SharePath::parse(&text.join("/")) else { return };
        let (score, hit) = groups.entry(Group::Folder(path.clone())).or_insert_with(|| {
            let hit = FoundHit { content_id: None, path, kind: Kind::Folder, size: 0, mtime: 0, sources: 0, holders: Vec::new() };
            (points + FOLDER, hit)
        });
        *score = (*score).max(points + FOLDER);
        if !hit.holders.iter().any(|(known, _)| *known == peer) {
            hit.holders.push((peer, hit.path.clone()));
        }
    }

    /// How many entries of online peers are of a content.
    fn copies(&self, id: &ContentId, size: u64) -> usize {
        let online = self.contents.get(id).into_iter().flatten().filter(|(peer, _)| self.is_online(**peer));
        online.filter_map(|(peer, _)| self.peers.get(peer)).map(|files| files.of(id, size).count()).sum()
    }

    /// Says who has a hit.
    fn fill(&self, mut hit: FoundHit, allowed: &dyn Fn(&PeerNo) -> bool) -> FoundHit {
        if let Some(id) = hit.content_id {
            let online = self.contents.get(&id).into_iter().flatten().filter(|(peer, _)| self.is_online(**peer) && allowed(peer));
            let first = |(peer, _): (&PeerNo, &u32)| Some((*peer, self.peers.get(peer)?.of(&id, hit.size).next()?.clone()));
            hit.holders = online.filter_map(first).collect();
        }
        hit.holders.sort();
        if hit.kind == Kind::Folder {
            let files = hit.holders.first().and_then(|(peer, _)| self.peers.get(peer)).into_iter().flat_map(|files| &files.files);
            hit.size = files.filter(|(path, _)| **path != hit.path && path.is_within(&hit.path)).map(|(_, file)| file.size).sum();
        }
        hit.sources = hit.holders.len() as u32;
        hit.holders.truncate(MAX_HOLDERS);
        hit
    }
}

impl PeerFiles {
    /// The paths of a content, in order.
    fn of<'a>(&'a self, id: &'a ContentId, size: u64) -> impl Iterator<Item = &'a SharePath> {
        self.files.iter().filter(move |(_, file)| file.content_id == Some(*id) && file.size == size).map(|(path, _)| path)
    }
}

impl Asked<'_> {
    fn fits(&self, file: &File) -> bool {
        let query = self.query;
        let extension = extension(file.folded.as_bytes());
        !query.folders_only
            && !query.without.iter().any(|word| file.folded.contains(word.as_str()))
            && query.min_size.is_none_or(|least| file.size >= least)
            && query.max_size.is_none_or(|most| file.size <= most)
            && file.mtime >= self.earliest
            && (query.extensions.is_empty() || query.extensions.iter().any(|wanted| Some(wanted.as_bytes()) == extension))
    }
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
        let found = index().search(&Query::parse("joga"), None, None, 10, 0);
        assert_eq!((found.total, found.hits[0].sources), (1, 2));
        assert_eq!(found.hits[0].holders.len(), 2);
    }

    #[test]
    fn nothing_is_told_of_a_peer_that_is_offline_and_all_again_when_it_is_back() {
        let mut index = index();
        index.set_online(PeerNo(2), false);
        assert_eq!(index.search(&Query::parse("notes"), None, None, 10, 0).total, 0);
        assert_eq!(index.sources(&ContentId::of(b"joga"), 9).unwrap().peers, [PeerNo(1)]);
        index.set_online(PeerNo(2), true);
        assert_eq!(index.search(&Query::parse("notes"), None, None, 10, 0).total, 1);
        index.forget_peer(PeerNo(2));
        assert_eq!(index.search(&Query::parse("notes"), None, None, 10, 0).total, 0);
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
