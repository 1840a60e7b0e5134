//! What the node offers beside its shares: its downloads, as they grow and when they are in their places.
//!
//! They are told like files of a share called `downloads`, so that who searches, browses or looks for sources finds them.
//! Their local folders are never told, and nothing else of these folders is offered. What lies in a share as well is told
//! there and not here.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::Arc;

use potluck_common::content_id::ContentId;
use potluck_common::share_path::SharePath;
use potluck_common::wire::index::Entry;

use super::{ME, Place, Table};
use crate::store::{FinishedRecord, ShareDir, Stamp, look_at};

/// The share that downloads seem to be in.
const SHARE: &str = "downloads";
/// Downloads of one name that are told, each in a share of its own: `downloads`, `downloads 2`, …
const MAX_SAME_NAMES: u32 = 100;

/// Downloads that are offered.
#[derive(Default)]
pub(super) struct Offers {
    by_content: BTreeMap<ContentId, Offer>,
    /// Which of them was looked at last, to see whether it is still there.
    looked_at: Option<ContentId>,
}

struct Offer {
    /// Under which path it is told.
    path: SharePath,
    /// Where it is, once it is whole.
    file: Option<Offered>,
}

/// A download that is in its place.
#[derive(Clone, Debug)]
pub(crate) struct Offered {
    path: PathBuf,
    pub(crate) stamp: Stamp,
}

impl Offered {
    /// Whether it is still there and looks as it did. Blocks.
    pub(crate) fn is_untouched(&self) -> bool {
        look_at(&self.path) == Some(self.stamp)
    }

    /// Opens its folder, to read it. Blocks.
    pub(crate) fn place(&self) -> Option<Place> {
        let name = self.path.file_name()?.to_str()?;
        let dir = ShareDir::open(SHARE, self.path.parent()?).ok()?;
        Some(Place { dir: Arc::new(dir), path: SharePath::parse(SHARE).ok()?.join(name).ok()?, stamp: self.stamp })
    }
}

impl Table {
    /// Tells that some of a content is here, which has this name and so many bytes.
    pub(crate) fn offer_partial(&mut self, id: ContentId, name: &str, size: u64, mtime: i64) {
        if !self.has_file_of(&id) && !self.offers.by_content.contains_key(&id) {
            self.tell(id, name, size, mtime, None);
        }
    }

    /// Tells that a content is here, whole. One whose name no path can hold, or that was deleted at once, is offered no longer.
    pub(crate) fn offer_finished(&mut self, record: &FinishedRecord) {
        let (Some(stamp), Some(name)) = (record.stamp, record.path.file_name().and_then(|name| name.to_str())) else {
            return self.withdraw_offer(&record.content_id);
        };
        if self.has_file_of(&record.content_id) {
            return;
        }
        let file = Offered { path: record.path.clone(), stamp };
        match self.offers.by_content.get_mut(&record.content_id) {
            Some(offer) => offer.file = Some(file),
            None => self.tell(record.content_id, name, record.size, stamp.mtime_ns / 1_000_000_000, Some(file)),
        }
    }

    fn tell(&mut self, id: ContentId, name: &str, size: u64, mtime: i64, file: Option<Offered>) {
        let Some(path) = self.free_path(name) else { return };
        self.index.put(ME, &Entry { path: path.clone(), size, mtime, content_id: None });
        self.journal.put(&path, Stamp::of_no_file(size, mtime), Some(id));
        self.offers.by_content.insert(id, Offer { path, file });
    }

    /// Offers a download no longer.
    pub(crate) fn withdraw_offer(&mut self, id: &ContentId) {
        if let Some(offer) = self.offers.by_content.remove(id) {
            self.index.remove(ME, &offer.path);
            self.journal.remove(&offer.path);
        }
    }

    /// Where a download is that is offered whole.
    pub(crate) fn offered(&self, id: &ContentId) -> Option<Offered> {
        self.offers.by_content.get(id)?.file.clone()
    }

    /// The next downloads in their places that are to be looked at, so many, all of them in turn.
    pub(crate) fn next_offered(&mut self, count: usize) -> Vec<(ContentId, Offered)> {
        let Offers { by_content, looked_at } = &mut self.offers;
        let after = looked_at.map_or(Bound::Unbounded, Bound::Excluded);
        let next: Vec<_> = by_content.range((after, Bound::Unbounded)).take(count).collect();
        *looked_at = next.last().filter(|_| next.len() == count).map(|(id, _)| **id);
        next.into_iter().filter_map(|(id, offer)| Some((*id, offer.file.clone()?))).collect()
    }

    /// Offers these no longer, but for those that have come anew.
    pub(crate) fn withdraw_offered(&mut self, gone: &[(ContentId, Offered)]) {
        for (id, was) in gone {
            if self.offered(id).is_some_and(|is| is.stamp == was.stamp && is.path == was.path) {
                self.withdraw_offer(id);
            }
        }
    }

    fn free_path(&self, name: &str) -> Option<SharePath> {
        let shares = (1..=MAX_SAME_NAMES).map(|number| if number == 1 { SHARE.to_owned() } else { format!("{SHARE} {number}") });
        let mut paths = shares.filter_map(|share| SharePath::parse(&share).ok()?.join(name).ok());
        paths.find(|path| !self.shares.contains_key(path.share()) && self.journal.get(path).is_none())
    }
}

#[cfg(test)]
mod tests {
    use potluck_common::namespace::Namespace;

    use super::*;
    use crate::core::audience::Audience;
    use crate::shares::{FoundFile, Shares};

    const STAMP: Stamp = Stamp { dev: 1, ino: 2, size: 3, mtime_ns: 4_000_000_000 };

    fn record(content: &[u8], path: &str) -> FinishedRecord {
        FinishedRecord { path: path.into(), content_id: ContentId::of(content), size: 3, stamp: Some(STAMP) }
    }

    fn told(shares: &Shares) -> Vec<String> {
        let mut told: Vec<String> = shares.lock().journal.entries().map(|entry| entry.path.to_string()).collect();
        told.sort();
        told
    }

    #[test]
    fn a_download_is_told_while_it_grows_and_keeps_its_name_when_it_is_whole() {
        let shares = Shares::new(1, Namespace::default());
        let id = ContentId::of(b"one");
        shares.lock().offer_partial(id, "live.flac", 3, 4);
        assert!(shares.lock().offered(&id).is_none(), "it is not whole");
        shares.lock().offer_finished(&record(b"one", "/music/live (1).flac"));
        assert_eq!(told(&shares), ["downloads/live.flac"]);
        assert!(shares.lock().offered(&id).is_some());
        shares.lock().offer_finished(&record(b"two", "/films/live.flac"));
        assert_eq!(told(&shares), ["downloads/live.flac", "downloads 2/live.flac"].into_iter().rev().collect::<Vec<_>>());
        shares.lock().withdraw_offer(&id);
        assert_eq!(told(&shares), ["downloads 2/live.flac"]);
    }

    #[test]
    fn a_download_that_was_deleted_before_it_was_offered_whole_is_told_no_more() {
        let shares = Shares::new(1, Namespace::default());
        shares.lock().offer_partial(ContentId::of(b"one"), "live.flac", 3, 4);
        shares.lock().offer_finished(&FinishedRecord { stamp: None, ..record(b"one", "/music/live.flac") });
        assert!(told(&shares).is_empty());
    }

    #[test]
    fn all_downloads_are_looked_at_in_turn_and_what_came_anew_is_kept() {
        let shares = Shares::new(1, Namespace::default());
        let contents = [&b"one"[..], b"two", b"three"];
        contents.iter().zip(["/1", "/2", "/3"]).for_each(|(content, path)| shares.lock().offer_finished(&record(content, path)));
        shares.lock().offer_partial(ContentId::of(b"four"), "4", 3, 4);
        let mut seen: Vec<ContentId> = Vec::new();
        while seen.len() < 3 {
            seen.extend(shares.lock().next_offered(2).iter().map(|(id, _)| *id));
        }
        seen.sort_unstable();
        let mut all: Vec<ContentId> = contents.iter().map(|content| ContentId::of(content)).collect();
        all.sort_unstable();
        assert_eq!(seen, all);

        let mut table = shares.lock();
        let gone = [table.next_offered(4), table.next_offered(4)].concat(); // what is left of a round, and a whole one
        assert!(gone.iter().all(|(_, offered)| !offered.is_untouched()), "none of them was ever there");
        table.offer_finished(&FinishedRecord { stamp: Some(Stamp { ino: 9, ..STAMP }), ..record(b"one", "/1") });
        table.withdraw_offered(&gone);
        let left: Vec<ContentId> = contents.iter().map(|content| ContentId::of(content)).filter(|id| table.offered(id).is_some()).collect();
        assert_eq!(left, [ContentId::of(b"one")]);
    }

    #[test]
    fn what_lies_in_a_share_is_told_there_only() {
        let shares = Shares::new(1, Namespace::default());
        shares.lock().add_share("music", "/music".into(), None, Audience::default());
        let id = ContentId::of(b"one");
        let path = SharePath::parse("music/live.flac").unwrap();
        let file = FoundFile { path: path.clone(), stamp: STAMP, content_id: Some(id) };
        shares.lock().offer_finished(&record(b"one", "/music/live.flac"));
        shares.lock().put(&file);
        assert_eq!(told(&shares), ["music/live.flac"]);
        shares.lock().offer_finished(&record(b"one", "/music/live.flac"));
        assert_eq!(told(&shares), ["music/live.flac"]);
    }
}
