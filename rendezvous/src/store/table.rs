//! [`Table`]: the database. Blocks on the disk.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use potluck_common::content_id::ContentId;
use potluck_common::namespace::Namespace;
use potluck_common::peer::PeerKey;
use potluck_common::share_path::SharePath;
use potluck_common::wire::index::{Change, Entry};
use redb::backends::FileBackend;
use redb::{Builder, Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, StorageBackend, Table as Rows, TableDefinition};

use super::{Save, StoreError};
use crate::catalog::{Saved, ShelfNo};

/// Format of the tables. A newer one is refused, not guessed at.
const FORMAT: u64 = 1;
/// One row: the format, so that a later version can tell.
const FORMATS: TableDefinition<'_, (), u64> = TableDefinition::new("format");
/// From the shelf to namespace, peer, epoch and revision.
const REGISTRATIONS: TableDefinition<'_, u64, (&str, &[u8], u64, u64)> = TableDefinition::new("registrations");
/// Size, time and content id of a file.
type FileRow<'a> = (u64, i64, Option<&'a [u8; 32]>);
/// From shelf and path to the file there.
const FILES: TableDefinition<'_, (u64, &str), FileRow<'_>> = TableDefinition::new("files");

/// Memory for pages of the database (32 MiB): the upper levels of the tree of ten million files, and one transaction.
const CACHE_BYTES: usize = 32 << 20;
/// Files that one transaction sweeps: some 20 ms that a peer that publishes waits longer.
const SWEEP: usize = 8192;

/// Bytes from which on a database is looked at whether it could be smaller (64 MiB): less is not worth a start.
const COMPACT_FROM: u64 = 64 << 20;
/// Bytes for each file from which on most of a database is free: several times what a file takes.
const LAVISH: u64 = 1024;

/// A row of [`FILES`].
type FileRows<'a> = Rows<'a, (u64, &'static str), FileRow<'static>>;
/// A row of [`REGISTRATIONS`].
type RegistrationRows<'a> = Rows<'a, u64, (&'static str, &'static [u8], u64, u64)>;

/// What is to be written.
#[derive(Debug)]
pub(super) enum Step<'a> {
    /// Changes of a shelf.
    Save(&'a Save),
    /// A shelf is given up.
    Drop(ShelfNo),
}

/// An open database.
#[derive(Debug)]
pub(super) struct Table {
    database: Database,
    /// Shelves that are given up, but not empty yet.
    to_sweep: VecDeque<u64>,
}

impl Table {
    /// Opens a database, or makes an empty one. One that is damaged is moved aside: its peers publish anew.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let open = || Self::with_backend(FileBackend::new(open_file(path)?).map_err(sort)?);
        let opened = match open() {
            Err(StoreError::Damaged(reason)) => {
                let aside = PathBuf::from(format!("{}.broken", path.display()));
                tracing::error!("{} is damaged ({reason}): moved to {}; all peers publish anew", path.display(), aside.display());
                std::fs::rename(path, aside).map_err(disk_error)?;
                open()
            }
            other => other,
        };
        let mut table = opened?;
        table.give_back_room(std::fs::metadata(path).map_err(disk_error)?.len(), COMPACT_FROM)?;
        Ok(table)
    }

    /// Makes a database small again that was large once: it grows by itself only. Takes the longer the more is in it, so it is
    /// done where that is little.
    fn give_back_room(&mut self, bytes: u64, from: u64) -> Result<(), StoreError> {
        let files = self.files()?;
        if bytes < from || bytes / LAVISH < files {
            return Ok(());
        }
        match self.database.compact() {
            Ok(_) => tracing::info!(bytes, files, "the index was mostly room: it is smaller now"),
            Err(error) => tracing::warn!(%error, "the index stays larger than it need be"),
        }
        Ok(())
    }

    /// Opens what is in a storage.
    pub(super) fn with_backend(backend: impl StorageBackend) -> Result<Self, StoreError> {
        let mut builder = Builder::new();
        builder.set_cache_size(CACHE_BYTES);
        builder.set_repair_callback(|session| {
            tracing::info!(done = session.progress(), "the index was not closed: checking it");
        });
        let database = builder.create_with_backend(backend).map_err(sort)?;
        let mut table = Self { database, to_sweep: VecDeque::new() };
        table.make_tables()?;
        table.find_leftovers()?;
        Ok(table)
    }

    fn make_tables(&self) -> Result<(), StoreError> {
        let transaction = self.database.begin_write().map_err(sort)?;
        let known = {
            let mut formats = transaction.open_table(FORMATS).map_err(sort)?;
            let known = formats.get(()).map_err(sort)?.map(|row| row.value());
            if known.is_none() {
                formats.insert((), FORMAT).map_err(sort)?;
            }
            transaction.open_table(REGISTRATIONS).map_err(sort)?;
            transaction.open_table(FILES).map_err(sort)?;
            known
        };
        match known {
            Some(format) if format > FORMAT => Err(StoreError::Newer(format)),
            Some(_) => transaction.abort().map_err(sort),
            None => transaction.commit().map_err(sort),
        }
    }

    /// Finds shelves that hold files and belong to nobody: they were given up before the last end.
    fn find_leftovers(&mut self) -> Result<(), StoreError> {
        let transaction = self.database.begin_read().map_err(sort)?;
        let registrations = transaction.open_table(REGISTRATIONS).map_err(sort)?;
        let files = transaction.open_table(FILES).map_err(sort)?;
        let mut from = 0;
        while let Some(row) = files.range((from, "")..).map_err(sort)?.next() {
            let (shelf, _) = row.map_err(sort)?.0.value();
            if registrations.get(shelf).map_err(sort)?.is_none() {
                self.to_sweep.push_back(shelf);
            }
            from = shelf + 1;
        }
        Ok(())
    }

    /// Writes all steps as one, waits until the disk has them, and tells for each whether it was taken: changes are not
    /// that do not follow on what is there.
    pub(super) fn commit<'a>(&mut self, steps: impl IntoIterator<Item = Step<'a>>) -> Result<Vec<bool>, StoreError> {
        let mut transaction = self.database.begin_write().map_err(sort)?;
        // With one phase, a power cut in the midst of the next transaction took this one along, acknowledged as it was: seen in
        // a few of a hundred and fifty cuts, and in none of as many with two. It costs one more write of the disk a group.
        transaction.set_two_phase_commit(true);
        let mut taken = Vec::new();
        let mut dropped = Vec::new();
        let swept = {
            let mut registrations = transaction.open_table(REGISTRATIONS).map_err(sort)?;
            let mut files = transaction.open_table(FILES).map_err(sort)?;
            for step in steps {
                taken.push(match step {
                    Step::Save(save) => apply(save, &mut registrations, &mut files)?,
                    Step::Drop(shelf) => {
                        dropped.push(shelf.0);
                        registrations.remove(shelf.0).map_err(sort)?.is_some()
                    }
                });
            }
            self.to_sweep.front().map(|shelf| sweep(*shelf, &mut files)).transpose()?
        };
        transaction.commit().map_err(sort)?;
        if swept.is_some_and(|swept| swept < SWEEP) {
            self.to_sweep.pop_front();
        }
        self.to_sweep.extend(dropped);
        Ok(taken)
    }

    /// Whether shelves are to be swept: [`commit`](Self::commit) does some of it every time.
    pub(super) fn has_to_sweep(&self) -> bool {
        !self.to_sweep.is_empty()
    }

    /// How many files there are, those on shelves that were given up included.
    pub(super) fn files(&self) -> Result<u64, StoreError> {
        let transaction = self.database.begin_read().map_err(sort)?;
        transaction.open_table(FILES).map_err(sort)?.len().map_err(sort)
    }

    /// The registrations in the order of their shelves.
    pub(super) fn registrations(&self) -> Result<Vec<Saved>, StoreError> {
        let transaction = self.database.begin_read().map_err(sort)?;
        let rows = transaction.open_table(REGISTRATIONS).map_err(sort)?;
        let mut all = Vec::new();
        for row in rows.iter().map_err(sort)? {
            let (shelf, row) = row.map_err(sort)?;
            let (namespace, peer, epoch, revision) = row.value();
            let named = Namespace::new(namespace).ok().zip(PeerKey::from_bytes(peer).ok());
            let (namespace, peer) = named.ok_or_else(|| StoreError::Damaged("a registration makes no sense".to_owned()))?;
            all.push(Saved { shelf: ShelfNo(shelf.value()), namespace, peer, epoch, revision });
        }
        Ok(all)
    }

    /// Reads the files of a shelf, in the order of their paths, `page` at a time.
    pub(super) fn read(&self, shelf: ShelfNo, page: usize, mut take: impl FnMut(Vec<Entry>)) -> Result<(), StoreError> {
        let transaction = self.database.begin_read().map_err(sort)?;
        let rows = transaction.open_table(FILES).map_err(sort)?;
        let mut entries = Vec::new();
        for row in rows.range((shelf.0, "")..(shelf.0 + 1, "")).map_err(sort)? {
            let (key, row) = row.map_err(sort)?;
            let (size, mtime, content_id) = row.value();
            let Ok(path) = SharePath::parse(key.value().1) else { continue }; // an older version allowed it
            entries.push(Entry { path, size, mtime, content_id: content_id.map(|bytes| ContentId::from_bytes(*bytes)) });
            if entries.len() == page {
                take(std::mem::take(&mut entries));
            }
        }
        take(entries);
        Ok(())
    }
}

/// Writes the changes of a shelf. False when they do not follow on what is there.
fn apply(save: &Save, registrations: &mut RegistrationRows<'_>, files: &mut FileRows<'_>) -> Result<bool, StoreError> {
    let (shelf, publish) = (save.shelf.0, &save.publish);
    if publish.base != 0 && registrations.get(shelf).map_err(sort)?.is_none_or(|row| row.value().3 != publish.base) {
        return Ok(false);
    }
    let row = (publish.namespace.as_str(), save.peer.as_bytes(), publish.epoch, publish.revision);
    registrations.insert(shelf, row).map_err(sort)?;
    for change in publish.changes.iter() {
        match change {
            Change::Put(entry) => {
                let content_id = entry.content_id.as_ref().map(ContentId::as_bytes);
                files.insert((shelf, entry.path.as_str()), (entry.size, entry.mtime, content_id)).map_err(sort)?;
            }
            Change::Remove(path) => {
                files.remove((shelf, path.as_str())).map_err(sort)?;
            }
        }
    }
    Ok(true)
}

/// Removes files of a shelf, [`SWEEP`] at most. Returns how many: fewer, when it is empty now.
fn sweep(shelf: u64, files: &mut FileRows<'_>) -> Result<usize, StoreError> {
    let all = files.extract_from_if((shelf, "")..(shelf + 1, ""), |_, _| true).map_err(sort)?;
    let mut swept = 0;
    for row in all.take(SWEEP) {
        row.map_err(sort)?;
        swept += 1;
    }
    Ok(swept)
}

fn open_file(path: &Path) -> Result<File, StoreError> {
    File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(path).map_err(disk_error)
}

fn disk_error(error: io::Error) -> StoreError {
    sort(redb::Error::Io(error))
}

/// What an error of the database means for whoever runs the tracker.
fn sort(error: impl Into<redb::Error>) -> StoreError {
    match error.into() {
        redb::Error::Io(error) => match error.kind() {
            // A quota on the size of a file is a full disk to us.
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => StoreError::NoSpace,
            io::ErrorKind::InvalidData => StoreError::Damaged(error.to_string()),
            _ => StoreError::Disk(error.to_string()),
        },
        error @ (redb::Error::Corrupted(_)
        | redb::Error::UpgradeRequired(_)
        | redb::Error::RepairAborted
        | redb::Error::TableTypeMismatch { .. }
        | redb::Error::TypeDefinitionChanged { .. }
        | redb::Error::TableDoesNotExist(_)
        | redb::Error::TableIsMultimap(_)
        | redb::Error::TableIsNotMultimap(_)) => StoreError::Damaged(error.to_string()),
        error => StoreError::Disk(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Error, Result as IoResult};
    use std::sync::{Arc, Mutex};

    use potluck_common::wire::Bounded;
    use potluck_common::wire::index::{Nickname, Publish};
    use proptest::prelude::*;

    use super::*;

    /// Bytes that a disk writes whole, or not at all.
    const SECTOR: usize = 512;

    /// A disk that loses its power after so many writes. What was not flushed by then is written in part, in any order.
    #[derive(Clone, Debug, Default)]
    struct Disk(Arc<Mutex<Platter>>);

    #[derive(Debug, Default)]
    struct Platter {
        flushed: Vec<u8>,
        now: Vec<u8>,
        pending: Vec<(usize, Vec<u8>)>,
        writes_left: Option<u32>,
    }

    impl Disk {
        fn with_power_for(image: Vec<u8>, writes: Option<u32>) -> Self {
            Self(Arc::new(Mutex::new(Platter { flushed: image.clone(), now: image, pending: Vec::new(), writes_left: writes })))
        }

        /// What is on it when the power is back: `luck` says which sectors had been written.
        fn after_the_cut(&self, mut luck: u64) -> Vec<u8> {
            let platter = self.0.lock().unwrap();
            let mut image = platter.flushed.clone();
            for (offset, bytes) in &platter.pending {
                for (number, sector) in bytes.chunks(SECTOR).enumerate() {
                    luck = luck.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let at = offset + number * SECTOR;
                    if luck >> 63 == 1 {
                        image.resize(image.len().max(at + sector.len()), 0);
                        image[at..at + sector.len()].copy_from_slice(sector);
                    }
                }
            }
            image
        }
    }

    impl Platter {
        fn has_power(&self) -> IoResult<()> {
            if self.writes_left == Some(0) { Err(Error::other("no power")) } else { Ok(()) }
        }

        fn spend(&mut self) -> IoResult<()> {
            self.has_power()?;
            self.writes_left = self.writes_left.map(|left| left - 1);
            Ok(())
        }
    }

    impl StorageBackend for Disk {
        fn len(&self) -> IoResult<u64> {
            Ok(self.0.lock().unwrap().now.len() as u64)
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> IoResult<()> {
            let platter = self.0.lock().unwrap();
            let from = offset as usize;
            out.copy_from_slice(platter.now.get(from..from + out.len()).ok_or_else(|| Error::other("beyond the end"))?);
            Ok(())
        }

        fn set_len(&self, len: u64) -> IoResult<()> {
            let mut platter = self.0.lock().unwrap();
            platter.spend()?;
            platter.now.resize(len as usize, 0);
            platter.flushed.resize(len as usize, 0); // the length is told by the file system's journal
            platter.pending.retain(|(offset, bytes)| offset + bytes.len() <= len as usize);
            Ok(())
        }

        fn sync_data(&self) -> IoResult<()> {
            let mut platter = self.0.lock().unwrap();
            platter.spend()?;
            platter.flushed = platter.now.clone();
            platter.pending.clear();
            Ok(())
        }

        fn write(&self, offset: u64, data: &[u8]) -> IoResult<()> {
            let mut platter = self.0.lock().unwrap();
            platter.spend()?;
            let from = offset as usize;
            platter.now[from..from + data.len()].copy_from_slice(data);
            platter.pending.push((from, data.to_vec()));
            Ok(())
        }
    }

    fn peer() -> PeerKey {
        PeerKey::from_bytes(&[&[0x12, 32], [7; 32].as_slice()].concat()).unwrap()
    }

    /// Revision `base` to `revision`, each of which puts a file and removes the one of twenty before.
    fn save(shelf: u64, base: u64, revision: u64) -> Save {
        let path = |file: u64| SharePath::parse(&format!("share/folder {}/file {file}", file % 3)).unwrap();
        let put = |file: u64| Change::Put(Entry { path: path(file), size: file, mtime: -5, content_id: Some(ContentId::of(b"x")) });
        let remove = |file: u64| file.checked_sub(20).map(|file| Change::Remove(path(file)));
        let changes = (base + 1..=revision).flat_map(|file| [Some(put(file)), remove(file)]).flatten();
        let publish = Publish {
            namespace: Namespace::default(),
            nickname: Nickname::default(),
            addresses: Bounded::default(),
            epoch: 9,
            base,
            revision,
            changes: Bounded::truncated(changes),
        };
        Save { shelf: ShelfNo(shelf), peer: peer(), publish }
    }

    fn sizes(table: &Table, shelf: u64) -> Vec<u64> {
        let mut sizes = Vec::new();
        table.read(ShelfNo(shelf), 7, |entries| sizes.extend(entries.iter().map(|entry| entry.size))).unwrap();
        sizes.sort_unstable();
        sizes
    }

    #[test]
    fn what_is_saved_is_read_again_and_what_does_not_follow_is_not_taken() {
        let disk = Disk::default();
        let mut table = Table::with_backend(disk.clone()).unwrap();
        let (first, second, gap) = (save(4, 0, 3), save(4, 3, 30), save(4, 31, 32));
        assert_eq!(table.commit([Step::Save(&first), Step::Save(&second)]).unwrap(), [true, true]);
        assert_eq!(table.commit([Step::Save(&gap), Step::Save(&save(5, 1, 2))]).unwrap(), [false, false]);
        drop(table);
        let image = disk.0.lock().unwrap().now.clone();
        let table = Table::with_backend(Disk::with_power_for(image, None)).unwrap();
        let saved = Saved { shelf: ShelfNo(4), namespace: Namespace::default(), peer: peer(), epoch: 9, revision: 30 };
        assert_eq!(table.registrations().unwrap(), [saved]);
        assert_eq!(sizes(&table, 4), (11..=30).collect::<Vec<_>>());
        let mut entries = Vec::new();
        table.read(ShelfNo(4), 100, |more| entries.extend(more)).unwrap();
        assert_eq!((entries[0].mtime, entries[0].content_id), (-5, Some(ContentId::of(b"x"))));
    }

    #[test]
    fn a_shelf_that_was_given_up_is_swept_also_after_a_restart() {
        let disk = Disk::default();
        let mut table = Table::with_backend(disk.clone()).unwrap();
        let all = [save(1, 0, 15), save(2, 0, 15), save(3, 0, 15)];
        let _taken = table.commit(all.iter().map(Step::Save)).unwrap();
        assert_eq!(table.commit([Step::Drop(ShelfNo(1)), Step::Drop(ShelfNo(3))]).unwrap(), [true, true]);
        assert!(table.has_to_sweep());
        drop(table);
        let image = disk.0.lock().unwrap().now.clone();
        let mut table = Table::with_backend(Disk::with_power_for(image, None)).unwrap();
        while table.has_to_sweep() {
            let _nothing = table.commit([]).unwrap();
        }
        assert_eq!((table.files().unwrap(), sizes(&table, 2).len()), (15, 15));
    }

    #[test]
    fn a_database_that_is_mostly_room_gets_smaller_and_keeps_what_is_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index.redb");
        let size = || std::fs::metadata(&path).unwrap().len();
        let mut table = Table::open(&path).unwrap();
        let saves: Vec<Save> = (1..=500).map(|shelf| save(shelf, 0, 19)).collect();
        let _taken = table.commit(saves.iter().map(Step::Save)).unwrap();
        let _taken = table.commit((2..=500).map(|shelf| Step::Drop(ShelfNo(shelf)))).unwrap();
        while table.has_to_sweep() {
            let _nothing = table.commit([]).unwrap();
        }
        let before = size();
        table.give_back_room(before, before + 1).unwrap();
        assert_eq!(size(), before, "a small one is left alone");
        table.give_back_room(before, 0).unwrap();
        assert!(size() < before / 2, "{} bytes are {} bytes now", before, size());
        assert_eq!(sizes(&table, 1), (1..=19).collect::<Vec<_>>());
    }

    #[test]
    fn a_file_that_is_no_database_is_moved_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index.redb");
        std::fs::write(&path, [7; 10_000]).unwrap();
        let table = Table::open(&path).unwrap();
        assert_eq!(table.files().unwrap(), 0);
        assert_eq!(std::fs::read(dir.path().join("index.redb.broken")).unwrap(), [7; 10_000]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        #[test]
        fn a_power_cut_at_any_write_loses_nothing_that_was_acknowledged(writes in 1u32..150, luck: u64, page in 1u64..30) {
            let empty = Disk::default();
            drop(Table::with_backend(empty.clone()).unwrap());
            let image = empty.0.lock().unwrap().now.clone();
            let disk = Disk::with_power_for(image, Some(writes));
            let mut acknowledged = 0;
            let mut sent = 0;
            if let Ok(mut table) = Table::with_backend(disk.clone()) {
                loop {
                    sent = acknowledged + page;
                    let Ok(taken) = table.commit([Step::Save(&save(1, acknowledged, sent))]) else { break };
                    prop_assert_eq!(taken, [true]);
                    acknowledged = sent;
                }
            }
            let table = Table::with_backend(Disk::with_power_for(disk.after_the_cut(luck), None)).unwrap();
            let held = table.registrations().unwrap().first().map_or(0, |saved| saved.revision);
            prop_assert!(held == acknowledged || held == sent, "{} held, {} acknowledged", held, acknowledged);
            let first = held.saturating_sub(19).max(1);
            prop_assert_eq!(sizes(&table, 1), (first..=held).collect::<Vec<_>>());
        }
    }
}
