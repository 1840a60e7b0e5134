//! [`Filter`]: what a query asks of a file beside its words.

use super::PeerNo;
use super::engine::Engine;
use super::query::Query;
use super::rank::{Word, extension};
use super::relation::{DocNo, Holder};

/// The filters of a query, ready to be applied to documents.
#[derive(Debug)]
pub(super) struct Filter {
    without: Vec<Word>,
    extensions: Vec<String>,
    min_size: u64,
    max_size: u64,
    /// The earliest time of change that fits, in seconds since 1970-01-01 UTC.
    earliest: u32,
    pub(super) files: bool,
    pub(super) folders: bool,
    /// By slot, when only some peers are searched.
    only: Option<Vec<bool>>,
}

impl Filter {
    pub(super) fn new(engine: &Engine, query: &Query, only: Option<&[PeerNo]>, now: i64) -> Self {
        let only = only.map(|only| {
            let mut slots = vec![false; engine.peers.len()];
            only.iter().filter_map(|peer| engine.peers.slot(*peer)).for_each(|slot| slots[slot as usize] = true);
            slots
        });
        let earliest = query.newer.map_or(0, |newer| newer.earliest(now));
        Self {
            without: query.without.iter().map(|word| Word::new([word.as_str()])).collect(),
            extensions: query.extensions.clone(),
            min_size: query.min_size.unwrap_or(0),
            max_size: query.max_size.unwrap_or(u64::MAX),
            earliest: u32::try_from(earliest.max(0)).unwrap_or(u32::MAX),
            files: !query.folders_only,
            folders: query.wants_folders(),
            only,
        }
    }

    /// Whether a folded path holds what it must not.
    pub(super) fn excludes(&self, folded: &[u8]) -> bool {
        self.without.iter().any(|word| word.is_in(folded))
    }

    /// Whether a file fits that has this folded path.
    pub(super) fn fits_name(&self, folded: &[u8]) -> bool {
        self.extensions.is_empty()
            || extension(folded).is_some_and(|extension| self.extensions.iter().any(|wanted| wanted.as_bytes() == extension))
    }

    pub(super) fn fits_size(&self, engine: &Engine, doc: DocNo) -> bool {
        if self.min_size == 0 && self.max_size == u64::MAX {
            return true;
        }
        let size = engine.relation.content(doc).map(|(content, _)| engine.relation.size(content));
        size.is_some_and(|size| (self.min_size..=self.max_size).contains(&size))
    }

    /// Whether a slot is online and searched.
    pub(super) fn allows(&self, engine: &Engine, slot: u32) -> bool {
        engine.peers.is_online(slot) && self.only.as_ref().is_none_or(|only| only.get(slot as usize).is_some_and(|allowed| *allowed))
    }

    /// Whether a file fits that this peer changed then.
    pub(super) fn fits_holder(&self, engine: &Engine, holder: Holder) -> bool {
        holder.mtime >= self.earliest && self.allows(engine, holder.slot)
    }
}
