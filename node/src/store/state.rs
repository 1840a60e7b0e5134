//! [`State`]: what the node remembers, in one embedded database (redb) in its data folder.
//!
//! | table | key | value |
//! |---|---|---|
//! | `meta` | name | CBOR; `schema` holds the version of this table list |
//! | `hashes` | a file's [`Stamp`], 32 bytes big endian | content id |
//! | `pieces` | content id, number of the chunk (big endian) | up to 32,768 piece hashes; files of one piece need none |
//! | `shares` | share name | CBOR of [`ShareRecord`] |
//! | `downloads` | number of the download | CBOR of [`DownloadRecord`] |
//! | `bitmaps` | number of the download | bitmap of verified pieces |
//! | `finished` | path | CBOR of [`FinishedRecord`](super::FinishedRecord): `finished.rs` |
//!
//! A commit is on the disk when the method returns. The identity key is a file of its own, which nothing here touches.
//! A damaged database is never replaced by an empty one in silence: opening it fails, and [`State::rebuild`] moves it aside.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use potluck_common::content_id::{ContentId, PieceHash};
use potluck_common::geometry::Geometry;
use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, StorageError, TableDefinition};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::database::{Fallible, SCHEMA, StateError, disk_error, lock_folder, move_aside, open_database};
use super::download_record::{Choice, DownloadRecord, MAX_SOURCE_HINTS};
use super::finished::FINISHED;
use super::hasher::Hashed;
use super::share_dir::RootId;
use crate::core::audience::Audience;
use crate::core::journal::Numbering;
use crate::core::stamp::Stamp;

/// Name of the database in the data folder.
const DATABASE: &str = "state.redb";
/// Piece hashes in one value (1 MiB): what one answer to a peer holds.
const PIECES_PER_CHUNK: usize = potluck_common::wire::piece::MAX_HASHES as usize;

const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
const HASHES: TableDefinition<[u8; 32], [u8; 32]> = TableDefinition::new("hashes");
const PIECES: TableDefinition<([u8; 32], u32), &[u8]> = TableDefinition::new("pieces");
const SHARES: TableDefinition<&str, &[u8]> = TableDefinition::new("shares");
const DOWNLOADS: TableDefinition<u64, &[u8]> = TableDefinition::new("downloads");
const BITMAPS: TableDefinition<u64, &[u8]> = TableDefinition::new("bitmaps");
const SCHEMA_KEY: &str = "schema";
const NUMBERING_KEY: &str = "numbering";

/// The node's database. One process at a time; callable from several threads.
#[derive(Debug)]
pub struct State {
    database: Database,
    path: PathBuf,
    /// Held, not used: the lock ends with the process, however it ends.
    _lock: OwnedFd,
}

/// A share as it is remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareRecord {
    /// The share's name.
    pub name: String,
    /// The folder on this disk.
    pub dir: PathBuf,
    /// Which folder it was when it was last there.
    pub root: Option<RootId>,
    /// Who it is for.
    #[serde(default, skip_serializing_if = "Audience::is_everybody")]
    pub audience: Audience,
}

impl State {
    /// Opens the database of a data folder, and makes both (0700 and 0600) when they are not there.
    ///
    /// Checks every page, so that damage is found here and not later: half a second for a million files.
    ///
    /// # Errors
    /// [`StateError::InUse`], [`StateError::Corrupt`], [`StateError::Newer`] and what a disk may do.
    pub fn open(dir: &Path) -> Result<Self, StateError> {
        let lock = lock_folder(dir)?;
        Self::open_locked(dir, lock)
    }

    /// Moves a damaged database aside and opens an empty one. Returns where the old one is now, if there was one.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn rebuild(dir: &Path) -> Result<(Self, Option<PathBuf>), StateError> {
        let lock = lock_folder(dir)?;
        let path = dir.join(DATABASE);
        let aside = move_aside(&path).map_err(|error| disk_error(&path, error))?;
        Ok((Self::open_locked(dir, lock)?, aside))
    }

    fn open_locked(dir: &Path, lock: OwnedFd) -> Result<Self, StateError> {
        let path = dir.join(DATABASE);
        if !path.exists() {
            // Made under another name first: an empty `state.redb` is then always damage, never a start that was cut short.
            let fresh = dir.join("state.redb.new");
            let _ = std::fs::remove_file(&fresh); // of a start that was cut short
            let state = Fallible { path: &path };
            let database = state.run(open_database(&fresh, true))?;
            state.run(set_up(&database))?;
            drop(database);
            std::fs::rename(&fresh, &path).and_then(|()| File::open(dir)?.sync_all()).map_err(|error| disk_error(&path, error))?;
        }
        if path.metadata().is_ok_and(|metadata| metadata.len() == 0) {
            return Err(StateError::Corrupt { path, reason: "it is empty".to_owned() });
        }
        let database = Fallible { path: &path }.run(open_database(&path, false))?;
        let state = Self { database, path, _lock: lock };
        state.check_schema()?;
        // one of before there were finished downloads in it
        state.write(|transaction| {
            transaction.open_table(FINISHED)?;
            Ok(())
        })?;
        Ok(state)
    }

    pub(super) fn database(&self) -> &Database {
        &self.database
    }

    fn check_schema(&self) -> Result<(), StateError> {
        match self.meta::<u32>(SCHEMA_KEY)? {
            Some(SCHEMA) => Ok(()),
            Some(found) if found > SCHEMA => Err(StateError::Newer { path: self.path.clone(), found }),
            _ => Err(self.corrupt("it does not say its version")),
        }
    }

    /// A value by its name: the epoch, known trackers, known peers.
    ///
    /// # Errors
    /// When it cannot be read, or has another type.
    pub fn meta<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, StateError> {
        let bytes = self.run(|| {
            let table = self.database.begin_read()?.open_table(META)?;
            Ok(table.get(name)?.map(|value| value.value().to_vec()))
        })?;
        bytes.map(|bytes| self.decode(&bytes)).transpose()
    }

    /// Remembers a value under a name.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put_meta<T: Serialize>(&self, name: &str, value: &T) -> Result<(), StateError> {
        let bytes = self.encode(value)?;
        self.write(|transaction| {
            transaction.open_table(META)?.insert(name, bytes.as_slice())?;
            Ok(())
        })
    }

    /// The numbering of this run's revisions; each run that asks gets another, however the one before ended.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn next_numbering(&self) -> Result<Numbering, StateError> {
        let numbering = self.meta(NUMBERING_KEY)?.unwrap_or_else(|| Numbering { epoch: rand::random(), run: 0 });
        self.put_meta(NUMBERING_KEY, &Numbering { run: numbering.run + 1, ..numbering })?;
        Ok(numbering)
    }

    /// The content ids of files that were hashed before, in the order of `stamps`. Fastest with all files at once.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn content_ids(&self, stamps: &[Stamp]) -> Result<Vec<Option<ContentId>>, StateError> {
        // In the order of the keys, each page of the tree is read once.
        let mut order: Vec<(usize, &Stamp)> = stamps.iter().enumerate().collect();
        order.sort_unstable_by_key(|(_, stamp)| **stamp);
        self.run(|| {
            let table = self.database.begin_read()?.open_table(HASHES)?;
            let mut found = vec![None; stamps.len()];
            for (at, stamp) in order {
                if let (Some(value), Some(slot)) = (table.get(stamp_key(stamp))?, found.get_mut(at)) {
                    *slot = Some(ContentId::from_bytes(value.value()));
                }
            }
            Ok(found)
        })
    }

    /// Remembers hashes of files, all in one commit: collect some hundred. A file that is not
    /// [settled](Stamp::is_settled) is the caller's to leave out.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn put_hashes(&self, files: &[Hashed]) -> Result<(), StateError> {
        self.write(|transaction| {
            let mut hashes = transaction.open_table(HASHES)?;
            let mut pieces = transaction.open_table(PIECES)?;
            for file in files {
                hashes.insert(stamp_key(&file.stamp), file.content_id.as_bytes())?;
                insert_pieces(&mut pieces, file.content_id, &file.pieces)?;
            }
            Ok(())
        })
    }

    /// Remembers the piece hashes of a download. They have been proven to combine to the content id.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn put_pieces(&self, content_id: ContentId, hashes: &[PieceHash]) -> Result<(), StateError> {
        self.write(|transaction| insert_pieces(&mut transaction.open_table(PIECES)?, content_id, hashes))
    }

    /// Piece hashes of a file from piece `from` on, as many as one chunk of the database holds beyond it (at most 32,768);
    /// empty when they are not known.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn pieces_from(&self, content_id: ContentId, geometry: Geometry, from: u32) -> Result<Vec<PieceHash>, StateError> {
        if geometry.piece_count() == 1 {
            let only = (from == 0).then(|| PieceHash::from_bytes(*content_id.as_bytes()));
            return Ok(only.into_iter().collect());
        }
        let chunk = from / PIECES_PER_CHUNK as u32;
        let skip = from as usize % PIECES_PER_CHUNK;
        self.run(|| {
            let table = self.database.begin_read()?.open_table(PIECES)?;
            let value = table.get((*content_id.as_bytes(), chunk))?;
            let bytes = value.as_ref().map(|value| value.value()).unwrap_or_default();
            let (hashes, _) = bytes.as_chunks::<32>();
            Ok(hashes.iter().skip(skip).map(|hash| PieceHash::from_bytes(*hash)).collect())
        })
    }

    /// All piece hashes of a file, if they are known: 32 MiB for the largest.
    ///
    /// # Errors
    /// [`StateError::Corrupt`] when they don't combine to the content id; or when the database cannot be read.
    pub fn pieces(&self, content_id: ContentId, geometry: Geometry) -> Result<Option<Vec<PieceHash>>, StateError> {
        let mut all = Vec::new();
        loop {
            let mut some = self.pieces_from(content_id, geometry, all.len() as u32)?;
            all.append(&mut some);
            if all.is_empty() {
                return Ok(None);
            }
            let complete = all.len() as u64 >= geometry.piece_count();
            if complete && ContentId::combine(geometry, &all) == Some(content_id) {
                return Ok(Some(all));
            }
            if complete || all.len() % PIECES_PER_CHUNK != 0 {
                return Err(self.corrupt("piece hashes do not combine to their content id"));
            }
        }
    }

    /// Forgets the hashes of files that are nowhere any more: those whose stamp `keep` denies. Piece hashes that neither a
    /// remaining file nor a download needs go with them. Returns how many files were forgotten.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub fn forget_hashes(&self, keep: &mut dyn FnMut(&Stamp) -> bool) -> Result<u64, StateError> {
        let mut needed: std::collections::HashSet<[u8; 32]> = self.downloads()?.iter().map(|d| *d.content_id.as_bytes()).collect();
        needed.extend(self.finished()?.iter().map(|file| *file.content_id.as_bytes()));
        self.write(|transaction| {
            let mut hashes = transaction.open_table(HASHES)?;
            let before = hashes.len()?;
            hashes.retain(|key, content_id| {
                let kept = keep(&stamp_of_key(key));
                if kept {
                    needed.insert(content_id);
                }
                kept
            })?;
            transaction.open_table(PIECES)?.retain(|(content_id, _), _| needed.contains(&content_id))?;
            Ok(before - hashes.len()?)
        })
    }

    /// The remembered shares, by name.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn shares(&self) -> Result<Vec<ShareRecord>, StateError> {
        let values = self.run(|| {
            let table = self.database.begin_read()?.open_table(SHARES)?;
            table.iter()?.map(|entry| Ok(entry?.1.value().to_vec())).collect::<Result<Vec<_>, redb::Error>>()
        })?;
        values.iter().map(|bytes| self.decode(bytes)).collect()
    }

    /// Remembers a share, in place of one of the same name.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put_share(&self, share: &ShareRecord) -> Result<(), StateError> {
        let bytes = self.encode(share)?;
        self.write(|transaction| {
            transaction.open_table(SHARES)?.insert(share.name.as_str(), bytes.as_slice())?;
            Ok(())
        })
    }

    /// Forgets a share. Returns whether there was one of that name.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn remove_share(&self, name: &str) -> Result<bool, StateError> {
        self.write(|transaction| Ok(transaction.open_table(SHARES)?.remove(name)?.is_some()))
    }

    /// The remembered downloads with their bitmaps, by number.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn downloads(&self) -> Result<Vec<DownloadRecord>, StateError> {
        let values = self.run(|| {
            let transaction = self.database.begin_read()?;
            let (downloads, bitmaps) = (transaction.open_table(DOWNLOADS)?, transaction.open_table(BITMAPS)?);
            let mut values = Vec::new();
            for entry in downloads.iter()? {
                let (id, value) = entry?;
                let bitmap = bitmaps.get(id.value())?.map(|bits| bits.value().to_vec()).unwrap_or_default();
                values.push((value.value().to_vec(), bitmap));
            }
            Ok(values)
        })?;
        let decoded = values.into_iter().map(|(bytes, verified)| Ok(DownloadRecord { verified, ..self.decode(&bytes)? }));
        decoded.collect()
    }

    /// Remembers a download, in place of one of the same number. Its bitmap stays.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put_download(&self, download: &DownloadRecord) -> Result<(), StateError> {
        self.put_downloads(std::slice::from_ref(download))
    }

    /// Remembers downloads, all or none. Their bitmaps are not touched.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn put_downloads(&self, downloads: &[DownloadRecord]) -> Result<(), StateError> {
        if downloads.is_empty() {
            return Ok(());
        }
        let encoded = downloads.iter().map(|download| {
            let mut record = download.clone();
            record.sources.truncate(MAX_SOURCE_HINTS);
            Ok((download.id, self.encode(&record)?))
        });
        let encoded: Vec<(u64, Vec<u8>)> = encoded.collect::<Result<_, StateError>>()?;
        self.write(|transaction| {
            let mut table = transaction.open_table(DOWNLOADS)?;
            encoded.iter().try_for_each(|(id, bytes)| table.insert(id, bytes.as_slice()).map(drop))?;
            Ok(())
        })
    }

    /// Remembers the size of a download, once it is proven. Nothing happens when there is no download of that number.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn set_download_size(&self, id: u64, size: u64) -> Result<(), StateError> {
        self.change_downloads(&[(id, size)], |record, size| record.size = Some(size))
    }

    /// Remembers what the user chose for some downloads, for all or for none. A number that no download has is passed over.
    ///
    /// # Errors
    /// When they cannot be read or written.
    pub fn set_download_choices(&self, choices: &[(u64, Choice)]) -> Result<(), StateError> {
        self.change_downloads(choices, |record, choice| (record.phase, record.priority) = (choice.phase(), choice.priority))
    }

    fn change_downloads<T: Copy>(&self, changes: &[(u64, T)], change: impl Fn(&mut DownloadRecord, T)) -> Result<(), StateError> {
        let damaged = |error: serde_cbor::Error| redb::Error::Corrupted(error.to_string());
        self.write(|transaction| {
            let mut table = transaction.open_table(DOWNLOADS)?;
            for (id, what) in changes {
                let Some(bytes) = table.get(id)?.map(|value| value.value().to_vec()) else { continue };
                let mut record: DownloadRecord = serde_cbor::from_slice(&bytes).map_err(damaged)?;
                change(&mut record, *what);
                table.insert(id, serde_cbor::to_vec(&record).map_err(damaged)?.as_slice())?;
            }
            Ok(())
        })
    }

    /// Remembers which pieces of a download are verified. Call it after [`PartFile::sync`](super::PartFile::sync): the bitmap
    /// must not know of a piece that a power cut can take away.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn checkpoint(&self, id: u64, bitmap: &[u8]) -> Result<(), StateError> {
        self.write(|transaction| {
            transaction.open_table(BITMAPS)?.insert(id, bitmap)?;
            Ok(())
        })
    }

    /// Forgets a download and its bitmap. Returns whether there was one of that number.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn remove_download(&self, id: u64) -> Result<bool, StateError> {
        Ok(self.remove_downloads(&[id])? > 0)
    }

    /// Forgets downloads and their bitmaps, all or none. Returns how many of them there were.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn remove_downloads(&self, ids: &[u64]) -> Result<usize, StateError> {
        self.write(|transaction| {
            let (mut downloads, mut bitmaps) = (transaction.open_table(DOWNLOADS)?, transaction.open_table(BITMAPS)?);
            let mut count = 0;
            for id in ids {
                bitmaps.remove(id)?;
                count += usize::from(downloads.remove(id)?.is_some());
            }
            Ok(count)
        })
    }

    /// Runs one write transaction; it is on the disk when this returns, or not there at all.
    pub(super) fn write<T>(&self, work: impl FnOnce(&redb::WriteTransaction) -> Result<T, redb::Error>) -> Result<T, StateError> {
        self.run(|| {
            let mut transaction = self.database.begin_write()?;
            transaction.set_durability(redb::Durability::Immediate)?;
            let result = work(&transaction)?;
            transaction.commit()?;
            Ok(result)
        })
    }

    pub(super) fn run<T>(&self, work: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, StateError> {
        Fallible { path: &self.path }.run(work())
    }

    pub(super) fn encode<T: Serialize>(&self, value: &T) -> Result<Vec<u8>, StateError> {
        serde_cbor::to_vec(value).map_err(|error| StateError::Disk { path: self.path.clone(), reason: error.to_string() })
    }

    pub(super) fn decode<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, StateError> {
        serde_cbor::from_slice(bytes).map_err(|error| self.corrupt(&error.to_string()))
    }

    fn corrupt(&self, reason: &str) -> StateError {
        StateError::Corrupt { path: self.path.clone(), reason: reason.to_owned() }
    }
}

/// Makes all tables, so that reading never meets one that is not there.
fn set_up(database: &Database) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let schema = serde_cbor::to_vec(&SCHEMA).map_err(|error| StorageError::Io(io::Error::other(error)))?;
        transaction.open_table(META)?.insert(SCHEMA_KEY, schema.as_slice())?;
        transaction.open_table(HASHES)?;
        transaction.open_table(PIECES)?;
        transaction.open_table(SHARES)?;
        transaction.open_table(DOWNLOADS)?;
        transaction.open_table(BITMAPS)?;
        transaction.open_table(FINISHED)?;
    }
    Ok(transaction.commit()?)
}

fn insert_pieces(
    table: &mut redb::Table<'_, ([u8; 32], u32), &'static [u8]>,
    content_id: ContentId,
    hashes: &[PieceHash],
) -> Result<(), redb::Error> {
    if hashes.len() < 2 {
        return Ok(()); // the content id itself
    }
    for (number, chunk) in (0..).zip(hashes.chunks(PIECES_PER_CHUNK)) {
        let bytes: Vec<u8> = chunk.iter().flat_map(|hash| *hash.as_bytes()).collect();
        table.insert((*content_id.as_bytes(), number), bytes.as_slice())?;
    }
    Ok(())
}

/// Ordered as stamps are.
fn stamp_key(stamp: &Stamp) -> [u8; 32] {
    let mut key = [0; 32];
    let ordered_mtime = (stamp.mtime_ns as u64) ^ (1 << 63);
    let parts = [stamp.dev, stamp.ino, stamp.size, ordered_mtime];
    key.as_chunks_mut::<8>().0.iter_mut().zip(parts).for_each(|(to, part)| *to = part.to_be_bytes());
    key
}

fn stamp_of_key(key: [u8; 32]) -> Stamp {
    let mut parts = key.as_chunks::<8>().0.iter().map(|part| u64::from_be_bytes(*part));
    let mut part = || parts.next().unwrap_or_default();
    Stamp { dev: part(), ino: part(), size: part(), mtime_ns: (part() ^ (1 << 63)) as i64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::scheduler::Priority;
    use crate::store::database::LOCK;
    use crate::store::test_tree::TestTree;
    use crate::store::{Phase, SourceHint};
    use potluck_common::geometry::PIECE_BYTES;
    use potluck_common::peer::PeerKey;
    use proptest::prelude::*;
    use std::os::unix::fs::PermissionsExt;

    fn stamp(number: u64) -> Stamp {
        Stamp { dev: 1, ino: number, size: number * 3, mtime_ns: -(number as i64) }
    }

    fn hashed(number: u64, pieces: usize) -> Hashed {
        let hash = |n: usize| PieceHash::from_bytes(*blake3::hash(format!("{number}/{n}").as_bytes()).as_bytes());
        let pieces: Vec<_> = (0..pieces).map(hash).collect();
        let content_id = ContentId::combine(geometry(pieces.len()), &pieces).unwrap();
        Hashed { content_id, pieces, stamp: stamp(number) }
    }

    fn geometry(pieces: usize) -> Geometry {
        Geometry::new(pieces as u64 * u64::from(PIECE_BYTES)).unwrap()
    }

    fn download(id: u64) -> DownloadRecord {
        let peer = PeerKey::from_bytes(&[&[0x00, 0x24], [7; 36].as_slice()].concat()).unwrap();
        DownloadRecord {
            id,
            content_id: ContentId::of(&id.to_be_bytes()),
            name: "a \"song\".flac".into(),
            folder: None,
            target: "music/a.flac".parse().unwrap(),
            size: Some(5),
            phase: Phase::Failed { reason: "no room is left".into() },
            priority: Priority::Normal,
            created: 1_700_000_000,
            mtime: -1,
            replaces: false,
            sources: vec![SourceHint { peer, address: Some("/ip4/127.0.0.1/tcp/1".into()) }],
            verified: vec![],
        }
    }

    #[test]
    fn what_the_user_chose_for_downloads_is_there_again_after_a_restart() {
        let tree = TestTree::new();
        let dir = tree.path("data");
        let rested = Choice { is_paused: true, priority: Priority::High };
        let last = Choice { is_paused: false, priority: Priority::Low };
        {
            let state = State::open(&dir).unwrap();
            state.put_downloads(&[download(1), download(2), download(3)]).unwrap();
            state.set_download_choices(&[(1, rested), (9, rested), (2, last)]).unwrap();
        }
        let read = State::open(&dir).unwrap().downloads().unwrap();
        let first = DownloadRecord { phase: Phase::Paused, priority: Priority::High, ..download(1) };
        assert_eq!(read, [first, DownloadRecord { phase: Phase::Wanted, priority: Priority::Low, ..download(2) }, download(3)]);
    }

    #[test]
    fn everything_is_there_again_after_a_restart() {
        let tree = TestTree::new();
        let dir = tree.path("data");
        let share = ShareRecord {
            name: "music".into(),
            dir: "/music".into(),
            root: Some(RootId { dev: 1, ino: 2 }),
            audience: Audience::new(["family".parse().unwrap()]),
        };
        let files = [hashed(1, 1), hashed(2, 3)];
        {
            let state = State::open(&dir).unwrap();
            assert_eq!(state.meta::<u64>("epoch").unwrap(), None);
            state.put_meta("epoch", &7u64).unwrap();
            state.put_share(&share).unwrap();
            state.put_hashes(&files).unwrap();
            state.put_download(&download(3)).unwrap();
            state.put_download(&download(4)).unwrap();
            state.checkpoint(3, &[0b101]).unwrap();
            state.put_download(&DownloadRecord { phase: Phase::Paused, ..download(3) }).unwrap();
            assert!(state.remove_download(4).unwrap() && !state.remove_download(4).unwrap());
        }
        let state = State::open(&dir).unwrap();
        assert_eq!(state.meta::<u64>("epoch").unwrap(), Some(7));
        assert_eq!(state.shares().unwrap(), [share]);
        assert_eq!(state.downloads().unwrap(), [DownloadRecord { phase: Phase::Paused, verified: vec![0b101], ..download(3) }]);
        let ids = state.content_ids(&[stamp(2), stamp(9), stamp(1)]).unwrap();
        assert_eq!(ids, [Some(files[1].content_id), None, Some(files[0].content_id)]);
        for file in &files {
            assert_eq!(state.pieces(file.content_id, geometry(file.pieces.len())).unwrap().as_ref(), Some(&file.pieces));
        }
        assert!(state.remove_share("music").unwrap() && state.shares().unwrap().is_empty());
        let mode = |name: &str| dir.join(name).metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("."), mode(DATABASE), mode(LOCK)), (0o700, 0o600, 0o600));
    }

    #[test]
    fn a_list_of_piece_hashes_longer_than_a_chunk_comes_back_whole_and_in_parts() {
        let tree = TestTree::new();
        let state = State::open(tree.root()).unwrap();
        for count in [PIECES_PER_CHUNK, PIECES_PER_CHUNK + 1, 2 * PIECES_PER_CHUNK + 5] {
            let file = hashed(1, count);
            assert_eq!(state.pieces(file.content_id, geometry(count)).unwrap(), None);
            state.put_pieces(file.content_id, &file.pieces).unwrap();
            assert_eq!(state.pieces(file.content_id, geometry(count)).unwrap().unwrap(), file.pieces);
            let from = PIECES_PER_CHUNK - 2;
            let some = state.pieces_from(file.content_id, geometry(count), from as u32).unwrap();
            assert_eq!(some, file.pieces[from..PIECES_PER_CHUNK]);
            assert!(state.pieces_from(file.content_id, geometry(count), u32::MAX).unwrap().is_empty());
        }
    }

    #[test]
    fn hashes_of_vanished_files_are_forgotten_and_those_of_downloads_kept() {
        let tree = TestTree::new();
        let state = State::open(tree.root()).unwrap();
        let files = [hashed(1, 2), hashed(2, 2), hashed(3, 2)];
        state.put_hashes(&files).unwrap();
        state.put_download(&DownloadRecord { content_id: files[2].content_id, ..download(1) }).unwrap();
        assert_eq!(state.forget_hashes(&mut |stamp| stamp.ino == 1).unwrap(), 2);
        let ids = state.content_ids(&[stamp(1), stamp(2), stamp(3)]).unwrap();
        assert_eq!(ids, [Some(files[0].content_id), None, None]);
        let known = files.each_ref().map(|file| state.pieces(file.content_id, geometry(2)).unwrap().is_some());
        assert_eq!(known, [true, false, true]);
    }

    #[test]
    fn no_two_runs_number_their_revisions_alike() {
        let tree = TestTree::new();
        let runs = [(); 3].map(|()| State::open(tree.root()).unwrap().next_numbering().unwrap());
        assert_eq!(runs.map(|numbering| numbering.run), [0, 1, 2]);
        assert!(runs.iter().all(|numbering| numbering.epoch == runs[0].epoch));
    }

    #[test]
    fn a_second_node_on_the_same_folder_is_refused() {
        let tree = TestTree::new();
        let state = State::open(tree.root()).unwrap();
        assert!(matches!(State::open(tree.root()), Err(StateError::InUse { .. })));
        assert!(matches!(State::rebuild(tree.root()), Err(StateError::InUse { .. })));
        drop(state);
        assert!(State::open(tree.root()).is_ok());
    }

    #[test]
    fn a_damaged_database_is_told_and_moved_aside_only_when_asked() {
        for damage in [&b""[..], b"not a database", &[0; 5_000]] {
            let tree = TestTree::new();
            tree.write(DATABASE, damage);
            tree.write("state.redb.broken-1", b"an older one");
            tree.write("identity", b"key");
            for _ in 0..2 {
                assert!(matches!(State::open(tree.root()), Err(StateError::Corrupt { .. })));
                assert_eq!(std::fs::read(tree.path(DATABASE)).unwrap(), damage, "left as it was");
            }
            let (state, aside) = State::rebuild(tree.root()).unwrap();
            assert!(state.downloads().unwrap().is_empty());
            assert_eq!(aside, Some(tree.path("state.redb.broken-2")));
            assert_eq!(std::fs::read(tree.path("state.redb.broken-2")).unwrap(), damage);
            assert_eq!(std::fs::read(tree.path("identity")).unwrap(), b"key");
        }
    }

    #[test]
    fn a_database_cut_short_or_with_a_flipped_bit_is_told_or_whole() {
        let tree = TestTree::new();
        {
            let state = State::open(&tree.path("good")).unwrap();
            state.put_hashes(&(0..500).map(|number| hashed(number, 2)).collect::<Vec<_>>()).unwrap();
            state.put_download(&download(1)).unwrap();
        }
        let good = std::fs::read(tree.path("good").join(DATABASE)).unwrap();
        let expected = [download(1)];
        let mut refused = 0;
        for step in 0..60 {
            let mut bad = good.clone();
            let at = step * good.len() / 60 + step * 7;
            if step % 4 == 0 {
                bad.truncate(at);
            } else {
                bad[at] ^= 1 << (step % 8);
            }
            let dir = tree.folder(&format!("bad-{step}"));
            std::fs::write(dir.join(DATABASE), bad).unwrap();
            match State::open(&dir) {
                Ok(state) => assert_eq!(state.downloads().unwrap(), expected, "byte {at} of {}", good.len()),
                Err(StateError::Corrupt { .. }) => refused += 1,
                Err(error) => panic!("byte {at}: {error}"),
            }
        }
        assert!(refused > 10, "{refused}");
    }

    #[test]
    fn a_database_of_a_newer_version_is_refused() {
        let tree = TestTree::new();
        State::open(tree.root()).unwrap().put_meta(SCHEMA_KEY, &(SCHEMA + 1)).unwrap();
        assert!(matches!(State::open(tree.root()), Err(StateError::Newer { found, .. }) if found == SCHEMA + 1));
    }

    #[test]
    fn a_first_start_that_was_cut_short_is_no_damage() {
        let tree = TestTree::new();
        tree.write("state.redb.new", b"half");
        assert!(State::open(tree.root()).is_ok());
        assert_eq!(tree.names(""), [LOCK, DATABASE]);
    }

    proptest! {
        #[test]
        fn keys_are_ordered_as_stamps_and_lead_back(a: (u64, u64, u64, i64), b: (u64, u64, u64, i64)) {
            let make = |(dev, ino, size, mtime_ns)| Stamp { dev, ino, size, mtime_ns };
            let (a, b) = (make(a), make(b));
            prop_assert_eq!(stamp_key(&a).cmp(&stamp_key(&b)), a.cmp(&b));
            prop_assert_eq!(stamp_of_key(stamp_key(&a)), a);
        }
    }
}
