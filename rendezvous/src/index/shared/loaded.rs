//! [`Loaded`]: rows of the database as a small index, which answers as a large one does.

use std::collections::HashMap;

use potluck_common::content_id::ContentId;
use potluck_common::peer::PeerKey;
use potluck_common::search::answer::{Card, Directory, is_named};
use potluck_common::search::{Index, PeerNo};
use potluck_common::share_path::SharePath;
use potluck_common::wire::index::{Address, Entry, Nickname};
use potluck_common::wire::{Bounded, MAX_ADDRESSES};
use tokio_postgres::Row;

/// A file and the number of the registration that it belongs to.
pub(super) struct FileRow {
    pub(super) number: i64,
    pub(super) entry: Entry,
}

/// What is told of a registration beside its files.
pub(super) struct CardRow {
    pub(super) number: i64,
    pub(super) peer: PeerKey,
    pub(super) nickname: Nickname,
    pub(super) addresses: Bounded<Address, MAX_ADDRESSES>,
}

/// Some rows, found and ranked by the engine of the index.
#[derive(Default)]
pub(super) struct Loaded {
    pub(super) index: Index,
    /// By their numbers within the index, in the order of those of their registrations.
    cards: Vec<CardRow>,
    unix_now: i64,
}

impl FileRow {
    /// Reads `content, hashed, size, mtime, path, number`. `None` for a path that an older program let pass.
    pub(super) fn of(row: &Row) -> Result<Option<Self>, tokio_postgres::Error> {
        let id = if row.try_get("hashed")? { row.try_get::<_, &[u8]>("content")?.try_into().ok().map(ContentId::from_bytes) } else { None };
        let entry = SharePath::parse(row.try_get("path")?).ok().map(|path| {
            let (size, mtime) = (row.try_get::<_, i64>("size")?.cast_unsigned(), row.try_get("mtime")?);
            Ok::<_, tokio_postgres::Error>(Self { number: row.try_get("number")?, entry: Entry { path, size, mtime, content_id: id } })
        });
        entry.transpose()
    }
}

impl CardRow {
    /// Reads `number, peer, nickname, addresses`.
    pub(super) fn of(row: &Row) -> Result<Option<Self>, tokio_postgres::Error> {
        let Ok(peer) = PeerKey::from_bytes(row.try_get("peer")?) else { return Ok(None) };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let addresses: Vec<&[u8]> = row.try_get("addresses")?;
        Ok(Some(Self {
            number: row.try_get("number")?,
            peer,
            nickname: Nickname::truncated(&text(row.try_get("nickname")?)),
            addresses: Bounded::truncated(addresses.into_iter().map(|address| Address::truncated(&text(address)))),
        }))
    }
}

impl Loaded {
    /// An index of these files, all of whose peers are online. Files of registrations that there is no card of are left out.
    pub(super) fn new(mut cards: Vec<CardRow>, files: &[FileRow], unix_now: i64) -> Self {
        cards.sort_unstable_by_key(|card| card.number);
        let numbers: HashMap<i64, PeerNo> = (0..).map(PeerNo).zip(&cards).map(|(no, card)| (card.number, no)).collect();
        let mut index = Index::new();
        for no in numbers.values() {
            index.set_online(*no, true);
        }
        for file in files {
            if let Some(no) = numbers.get(&file.number) {
                index.put(*no, &file.entry);
            }
        }
        Self { index, cards, unix_now }
    }
}

impl Directory for Loaded {
    fn peer_no(&self, peer: &PeerKey) -> Option<PeerNo> {
        (0..).map(PeerNo).zip(&self.cards).find(|(_, card)| card.peer == *peer).map(|(no, _)| no)
    }

    fn card(&self, peer: PeerNo) -> Option<Card<'_>> {
        let card = self.cards.get(usize::try_from(peer.0).ok()?)?;
        Some(Card { peer: card.peer, nickname: &card.nickname, addresses: &card.addresses })
    }

    fn peers_named(&self, name: &str) -> Vec<PeerNo> {
        (0..).map(PeerNo).zip(&self.cards).filter(|(_, card)| is_named(name, &card.peer, &card.nickname)).map(|(no, _)| no).collect()
    }

    fn unix_now(&self) -> Option<i64> {
        Some(self.unix_now)
    }
}
