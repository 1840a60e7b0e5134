//! [`Matcher`]: whether a single file fits a query.

use super::query::Query;
use super::rank::{Word, extension};
use crate::wire::index::Entry;

/// A query that is held against one file after another, as they are published. Whose file it is, it does not know:
/// `peer:` is for its owner to look at.
#[derive(Debug)]
pub struct Matcher {
    query: Query,
    words: Vec<Word>,
    without: Vec<Word>,
}

impl Matcher {
    /// A matcher of what a query asks.
    #[must_use]
    pub fn new(query: Query) -> Self {
        let words = |texts: &[String]| texts.iter().map(|text| Word::new([text.as_str()])).collect();
        Self { words: words(&query.words), without: words(&query.without), query }
    }

    /// What it asks.
    #[must_use]
    pub fn query(&self) -> &Query {
        &self.query
    }

    /// Three bytes that the folded path of every file holds that fits; `None` when no word is so long.
    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        // The end of the longest word: many words begin alike.
        let longest = self.query.words.iter().max_by_key(|word| word.len())?;
        longest.as_bytes().last_chunk::<3>().map(<[u8; 3]>::as_slice)
    }

    /// Whether a file fits whose path is `folded`; `now` is the time in seconds since 1970-01-01 UTC, for `newer:7d`.
    #[must_use]
    pub fn fits(&self, folded: &str, entry: &Entry, now: i64) -> bool {
        let folded = folded.as_bytes();
        let wanted = &self.query.extensions;
        let fits_extension = || extension(folded).is_some_and(|found| wanted.iter().any(|wanted| wanted.as_bytes() == found));
        !self.query.folders_only
            && self.query.min_size.is_none_or(|least| entry.size >= least)
            && self.query.max_size.is_none_or(|most| entry.size <= most)
            && self.query.newer.is_none_or(|newer| entry.mtime >= newer.earliest(now))
            && (wanted.is_empty() || fits_extension())
            && self.words.iter().all(|word| word.is_in(folded))
            && !self.without.iter().any(|word| word.is_in(folded))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{PeerNo, Scan, fold};
    use super::*;
    use crate::share_path::SharePath;

    #[test]
    fn a_file_fits_when_a_search_would_find_it() {
        let files = [("music/Été live.FLAC", 20 << 20, 900), ("docs/a.txt", 5, 100), ("music/live at home.mp3", 3, 999)];
        let queries =
            ["ete", "live", "live -home", "\"live at\"", "ext:flac", "live size:>1MiB", "newer:200s", "x", "type:audio live", "a"];
        for text in queries {
            let matcher = Matcher::new(Query::parse(text));
            for (path, size, mtime) in files {
                let entry = Entry { path: SharePath::parse(path).unwrap(), size, mtime, content_id: None };
                let mut scan = Scan::default();
                scan.put(PeerNo(0), &entry);
                scan.set_online(PeerNo(0), true);
                let found = scan.search(&Query::parse(text), None, None, 10, 1000).hits;
                let found = found.iter().any(|hit| hit.kind == crate::wire::index::Kind::File);
                assert_eq!(matcher.fits(&fold(path), &entry, 1000), found, "{text}: {path}");
                let key = matcher.key();
                assert!(!found || key.is_none_or(|key| fold(path).as_bytes().windows(3).any(|three| three == key)));
            }
        }
    }
}
