//! [`Files`]: every file of some shares, in about 130 bytes each: the one place that knows their paths.
//!
//! A path is the number of its folder and a name: each folder is written once, and names lie one behind the other in large
//! pieces of memory. A file has a number as long as it is known, also after it was removed, until that may be forgotten.
//! Tables from paths and from contents to files hold these numbers only.

use std::hash::{BuildHasher, RandomState};

use potluck_common::content_id::ContentId;
use potluck_common::search::{Chunks, MAX_ROWS, RowTable};
use potluck_common::share_path::SharePath;

use crate::core::stamp::Stamp;

/// Bytes in a piece of memory for names: 250 of the longest.
const PIECE_BYTES: usize = 64 << 10;
/// Bytes of names that nobody has any more from which on the names are written anew: less is not worth the walk.
const MANY_DEAD_BYTES: usize = 1 << 20;
/// No folder: the row is free.
const NONE: u32 = u32::MAX;

const REMOVED: u8 = 1;
const HASHED: u8 = 2;
const QUEUED: u8 = 4;

/// The number of a file: how others refer to it for a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileNo(pub(super) u32);

impl FileNo {
    /// The first that there is.
    pub const FIRST: Self = Self(0);
}

/// Files by number, path and content.
#[derive(Debug, Default)]
pub(super) struct Files {
    rows: Chunks<Row>,
    free_rows: Vec<u32>,
    folders: Vec<Folder>,
    free_folders: Vec<u32>,
    names: Names,
    /// Device numbers; there are few.
    devices: Vec<u64>,
    by_path: RowTable,
    by_content: RowTable,
    folders_by_path: RowTable,
    /// The folder that was looked for last: files come a folder at a time.
    last_folder: u32,
    hasher: RandomState,
}

/// A file: 80 bytes, without padding.
#[derive(Clone, Debug)]
struct Row {
    ino: u64,
    size: u64,
    mtime_ns: i64,
    /// When it changed last, in revisions of the journal.
    revision: u64,
    /// Zeros while it is not hashed.
    content: [u8; 32],
    folder: u32,
    /// Where its name begins.
    name: u32,
    /// The last listing that saw it.
    listing: u32,
    device: u16,
    name_bytes: u8,
    flags: u8,
}

/// A folder that holds files.
#[derive(Debug)]
struct Folder {
    path: Box<str>,
    rows: u32,
}

/// Names, one behind the other.
#[derive(Debug, Default)]
struct Names {
    pieces: Vec<Vec<u8>>,
    live_bytes: usize,
    dead_bytes: usize,
}

impl Files {
    /// Makes room for so many files, so that they are taken faster.
    pub(super) fn reserve(&mut self, files: usize) {
        let Self { by_path, by_content, rows, names, hasher, .. } = self;
        by_path.reserve(files, |row| path_hash(hasher, rows[row].folder, names.read(&rows[row])));
        by_content.reserve(files, |row| hasher.hash_one(rows[row].content));
    }

    /// Gives back the room for more files, when none are expected for a while.
    pub(super) fn trim(&mut self) {
        self.rows.trim();
        self.names.pieces.last_mut().into_iter().for_each(Vec::shrink_to_fit);
    }

    /// The file of a path, be it removed.
    pub(super) fn find(&self, path: &str) -> Option<FileNo> {
        let (folder, name) = split(path);
        let folder = self.find_folder(folder)?;
        self.by_path
            .find(self.hash_of(folder, name), |row| self.rows[row].folder == folder && self.names.read(&self.rows[row]) == name.as_bytes())
            .map(FileNo)
    }

    /// Adds a file, which must not be there: without stamp and content, and removed. `None` when all numbers are given out.
    pub(super) fn add(&mut self, path: &SharePath) -> Option<FileNo> {
        if self.free_rows.is_empty() && self.rows.len() >= MAX_ROWS as usize {
            return None;
        }
        let (folder, name) = split(path.as_str());
        let at = self.names.write(name.as_bytes())?;
        let folder = self.folder(folder);
        let name_bytes = u8::try_from(name.len()).ok()?;
        let row = Row {
            ino: 0,
            size: 0,
            mtime_ns: 0,
            revision: 0,
            content: [0; 32],
            folder,
            name: at,
            listing: 0,
            device: 0,
            name_bytes,
            flags: REMOVED,
        };
        let number = match self.free_rows.pop() {
            Some(number) => {
                self.rows[number] = row;
                number
            }
            None => {
                self.rows.push(row);
                self.rows.len() as u32 - 1
            }
        };
        let hash = self.hash_of(folder, name);
        let Self { by_path, rows, names, hasher, .. } = self;
        by_path.insert(hash, number, |row| path_hash(hasher, rows[row].folder, names.read(&rows[row])));
        Some(FileNo(number))
    }

    /// Forgets a file altogether. Its number is given out again.
    pub(super) fn forget(&mut self, FileNo(number): FileNo) {
        self.set_content(FileNo(number), None);
        let Row { folder, name_bytes, .. } = self.rows[number];
        let hash = self.hash_of(folder, self.name(number));
        let Self { by_path, rows, names, hasher, .. } = self;
        by_path.remove(hash, number, |row| path_hash(hasher, rows[row].folder, names.read(&rows[row])));
        self.leave_folder(folder);
        let row = &mut self.rows[number];
        (row.folder, row.flags, row.name_bytes) = (NONE, REMOVED, 0);
        self.free_rows.push(number);
        self.names.live_bytes -= usize::from(name_bytes);
        self.names.dead_bytes += usize::from(name_bytes);
        if self.names.dead_bytes > MANY_DEAD_BYTES.max(self.names.live_bytes) {
            self.rewrite_names();
        }
    }

    /// All numbers of files that are known.
    pub(super) fn numbers(&self) -> impl Iterator<Item = FileNo> + use<'_> {
        self.rows.iter().enumerate().filter(|(_, row)| row.folder != NONE).map(|(number, _)| FileNo(number as u32))
    }

    /// How many numbers there are, of known files and free ones.
    pub(super) fn len(&self) -> u32 {
        self.rows.len() as u32
    }

    /// Whether a number is one of a file that is known.
    pub(super) fn is_used(&self, FileNo(number): FileNo) -> bool {
        (number as usize) < self.rows.len() && self.rows[number].folder != NONE
    }

    /// The files of a content.
    pub(super) fn of_content(&self, id: &ContentId) -> Vec<FileNo> {
        let mut all = Vec::new();
        self.by_content.find(self.hasher.hash_one(id.as_bytes()), |row| {
            if self.rows[row].content == *id.as_bytes() {
                all.push(FileNo(row));
            }
            false
        });
        all
    }

    /// The path of a file.
    pub(super) fn path(&self, FileNo(number): FileNo) -> Option<SharePath> {
        let folder = self.folder_of(FileNo(number));
        let name = self.name(number);
        SharePath::parse(&if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }).ok()
    }

    /// Bytes of a path.
    pub(super) fn path_bytes(&self, FileNo(number): FileNo) -> usize {
        self.folder_of(FileNo(number)).len() + 1 + usize::from(self.rows[number].name_bytes)
    }

    /// The path of the folder that holds a file.
    pub(super) fn folder_of(&self, FileNo(number): FileNo) -> &str {
        self.folders.get(self.rows[number].folder as usize).map(|folder| folder.path.as_ref()).unwrap_or_default()
    }

    /// The share that a file is in.
    pub(super) fn share_of(&self, file: FileNo) -> &str {
        self.folder_of(file).split('/').next().unwrap_or_default()
    }

    pub(super) fn is_removed(&self, FileNo(number): FileNo) -> bool {
        self.rows[number].flags & REMOVED != 0
    }

    pub(super) fn set_removed(&mut self, FileNo(number): FileNo, is_removed: bool) {
        self.set_flag(number, REMOVED, is_removed);
    }

    pub(super) fn revision(&self, FileNo(number): FileNo) -> u64 {
        self.rows[number].revision
    }

    pub(super) fn set_revision(&mut self, FileNo(number): FileNo, revision: u64) {
        self.rows[number].revision = revision;
    }

    pub(super) fn stamp(&self, FileNo(number): FileNo) -> Stamp {
        let row = &self.rows[number];
        let dev = self.devices.get(usize::from(row.device)).copied().unwrap_or(u64::MAX);
        Stamp { dev, ino: row.ino, size: row.size, mtime_ns: row.mtime_ns }
    }

    pub(super) fn set_stamp(&mut self, FileNo(number): FileNo, stamp: Stamp) {
        let device = self.device(stamp.dev);
        let row = &mut self.rows[number];
        (row.ino, row.size, row.mtime_ns, row.device) = (stamp.ino, stamp.size, stamp.mtime_ns, device);
    }

    /// The place of a device's number. Beyond 65,535 devices one that tells no number: such a file is hashed in each listing anew.
    fn device(&mut self, dev: u64) -> u16 {
        let known = self.devices.iter().position(|known| *known == dev);
        let place = known.unwrap_or_else(|| {
            if self.devices.len() < usize::from(u16::MAX) {
                self.devices.push(dev);
            }
            self.devices.len() - usize::from(self.devices.last() == Some(&dev))
        });
        u16::try_from(place).unwrap_or(u16::MAX)
    }

    pub(super) fn content(&self, FileNo(number): FileNo) -> Option<ContentId> {
        let row = &self.rows[number];
        (row.flags & HASHED != 0).then(|| ContentId::from_bytes(row.content))
    }

    pub(super) fn set_content(&mut self, file: FileNo, id: Option<ContentId>) {
        let FileNo(number) = file;
        if self.content(file) == id {
            return;
        }
        let Self { rows, by_content, hasher, .. } = self;
        if rows[number].flags & HASHED != 0 {
            by_content.remove(hasher.hash_one(rows[number].content), number, |row| hasher.hash_one(rows[row].content));
        }
        rows[number].content = id.map_or([0; 32], |id| *id.as_bytes());
        if id.is_some() {
            by_content.insert(hasher.hash_one(rows[number].content), number, |row| hasher.hash_one(rows[row].content));
        }
        self.set_flag(number, HASHED, id.is_some());
    }

    /// Whether somebody has taken the file to hash it.
    pub(super) fn is_queued(&self, FileNo(number): FileNo) -> bool {
        self.rows[number].flags & QUEUED != 0
    }

    pub(super) fn set_queued(&mut self, FileNo(number): FileNo, is_queued: bool) {
        self.set_flag(number, QUEUED, is_queued);
    }

    /// The last listing that saw the file.
    pub(super) fn listing(&self, FileNo(number): FileNo) -> u32 {
        self.rows[number].listing
    }

    pub(super) fn set_listing(&mut self, FileNo(number): FileNo, listing: u32) {
        self.rows[number].listing = listing;
    }

    fn set_flag(&mut self, number: u32, flag: u8, is_set: bool) {
        let flags = &mut self.rows[number].flags;
        *flags = if is_set { *flags | flag } else { *flags & !flag };
    }

    fn name(&self, number: u32) -> &str {
        std::str::from_utf8(self.names.read(&self.rows[number])).unwrap_or_default()
    }

    fn hash_of(&self, folder: u32, name: &str) -> u64 {
        path_hash(&self.hasher, folder, name.as_bytes())
    }

    fn find_folder(&self, path: &str) -> Option<u32> {
        let last = self.folders.get(self.last_folder as usize);
        if last.is_some_and(|last| last.path.as_ref() == path && last.rows > 0) {
            return Some(self.last_folder);
        }
        self.folders_by_path.find(self.hasher.hash_one(path), |number| self.folders[number as usize].path.as_ref() == path)
    }

    /// The number of a folder, which gets one more row.
    fn folder(&mut self, path: &str) -> u32 {
        let number = self.find_folder(path).unwrap_or_else(|| {
            let folder = Folder { path: path.into(), rows: 0 };
            let number = match self.free_folders.pop() {
                Some(number) => {
                    self.folders[number as usize] = folder;
                    number
                }
                None => {
                    self.folders.push(folder);
                    self.folders.len() as u32 - 1
                }
            };
            let Self { folders_by_path, folders, hasher, .. } = self;
            folders_by_path.insert(hasher.hash_one(path), number, |row| hasher.hash_one(folders[row as usize].path.as_ref()));
            number
        });
        self.folders[number as usize].rows += 1;
        self.last_folder = number;
        number
    }

    /// One row less is in a folder; one without rows is forgotten.
    fn leave_folder(&mut self, number: u32) {
        let folder = &mut self.folders[number as usize];
        folder.rows -= 1;
        if folder.rows > 0 {
            return;
        }
        let Self { folders_by_path, folders, hasher, .. } = self;
        let hash_of = |row: u32| hasher.hash_one(folders[row as usize].path.as_ref());
        folders_by_path.remove(hash_of(number), number, hash_of);
        self.folders[number as usize].path = "".into();
        self.free_folders.push(number);
    }

    /// Writes all names anew, without those that nobody has any more.
    fn rewrite_names(&mut self) {
        let mut names = Names::default();
        for number in 0..self.rows.len() as u32 {
            if self.rows[number].folder != NONE
                && let Some(at) = names.write(self.names.read(&self.rows[number]))
            {
                self.rows[number].name = at;
            }
        }
        self.names = names;
    }
}

impl Names {
    /// Writes a name, and tells where. `None` after 4 GiB of names.
    fn write(&mut self, name: &[u8]) -> Option<u32> {
        if self.pieces.last().is_none_or(|piece| piece.len() + name.len() > PIECE_BYTES) {
            // The first piece grows as a vector does: a node that shares ten files holds ten names.
            let capacity = if self.pieces.is_empty() { name.len() } else { PIECE_BYTES };
            self.pieces.push(Vec::with_capacity(capacity));
        }
        let number = self.pieces.len() - 1;
        let piece = self.pieces.last_mut()?;
        let at = u32::try_from(number * PIECE_BYTES + piece.len()).ok()?;
        piece.extend_from_slice(name);
        self.live_bytes += name.len();
        Some(at)
    }

    fn read(&self, row: &Row) -> &[u8] {
        let (piece, at) = (row.name as usize / PIECE_BYTES, row.name as usize % PIECE_BYTES);
        self.pieces.get(piece).and_then(|piece| piece.get(at..at + usize::from(row.name_bytes))).unwrap_or_default()
    }
}

/// The folder of a path, and its last component.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

fn path_hash(hasher: &RandomState, folder: u32, name: &[u8]) -> u64 {
    hasher.hash_one((folder, name))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn content(number: u8) -> ContentId {
        ContentId::of(&[number])
    }

    #[test]
    fn a_row_has_no_padding() {
        assert_eq!(size_of::<Row>(), 80);
    }

    #[test]
    fn names_that_nobody_has_any_more_make_room() {
        let mut files = Files::default();
        let path = |number: u32| SharePath::parse(&format!("share/{}{number}", "x".repeat(200))).unwrap();
        for number in 0..20_000 {
            let file = files.add(&path(number)).unwrap();
            if number % 100 != 0 {
                files.forget(file);
            }
        }
        assert!(files.names.pieces.len() * PIECE_BYTES < 3 << 20, "{} pieces", files.names.pieces.len());
        assert!((0..20_000).all(|number| files.find(path(number).as_str()).is_some() == (number % 100 == 0)));
    }

    proptest! {
        #[test]
        fn files_are_found_by_path_and_content(steps in prop::collection::vec((any::<bool>(), 0u8..6, 0u8..6, 0u8..4), 0..200)) {
            let mut files = Files::default();
            let mut model: BTreeMap<String, Option<ContentId>> = BTreeMap::new();
            for (put, folder, name, id) in steps {
                let path = SharePath::parse(&if folder == 0 { format!("n{name}") } else { format!("s/{folder}/n{name}") }).unwrap();
                let known = files.find(path.as_str());
                prop_assert_eq!(known.is_some(), model.contains_key(path.as_str()));
                if put {
                    let file = known.unwrap_or_else(|| files.add(&path).unwrap());
                    let id = (id > 0).then(|| content(id));
                    files.set_content(file, id);
                    model.insert(path.to_string(), id);
                } else if let Some(file) = known {
                    files.forget(file);
                    model.remove(path.as_str());
                }
            }
            let all: BTreeMap<String, Option<ContentId>> =
                files.numbers().map(|file| (files.path(file).unwrap().to_string(), files.content(file))).collect();
            prop_assert_eq!(&all, &model);
            for id in (1..4).map(content) {
                let mut paths: Vec<String> = files.of_content(&id).into_iter().map(|file| files.path(file).unwrap().to_string()).collect();
                paths.sort();
                prop_assert!(paths.iter().eq(model.iter().filter(|(_, known)| **known == Some(id)).map(|(path, _)| path)));
            }
            let folders: std::collections::BTreeSet<&str> = model.keys().map(|path| split(path).0).collect();
            prop_assert_eq!(files.folders.len() - files.free_folders.len(), folders.len());
        }
    }
}
