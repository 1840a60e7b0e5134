//! [`KnownFilesWriter`], [`KnownFilesReader`]: what the shares held, in a file of the data folder, so that the next start can tell
//! it before it has looked.
//!
//! It is a cache: whatever is wrong with it, the shares are listed from the disk. So nothing of it is synced; what a power cut
//! left of it, its hash tells. It is written beside and renamed.
//!
//! After [`MAGIC`] and the epoch come records, each after a byte that says which: a section (the share whose files follow;
//! the first has none and holds those of all shares that are for everybody), a line of a journal, or the end. Numbers are little endian.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use potluck_common::content_id::ContentId;
use potluck_common::share_path::{MAX_PATH_BYTES, SharePath};
use serde::{Deserialize, Serialize};

use super::share_dir::RootId;
use crate::core::journal::{Line, Standing};
use crate::core::stamp::Stamp;

/// The file in the data folder.
const NAME: &str = "known-files";
/// What it begins with; the number is that of the format.
const MAGIC: &[u8; 16] = b"potluck files 1\n";
const SECTION: u8 = 0;
const LINE: u8 = 1;
const END: u8 = 2;
/// In a line's flags: it was removed; it has a content id; it is in the folder of the line before.
const REMOVED: u8 = 1;
const HASHED: u8 = 2;
const SAME_FOLDER: u8 = 4;
/// Bytes that are read or written at once.
const BUFFER: usize = 1 << 20;
/// Bytes of the shortest line of a file that is hashed: its numbers, its content id, a name of one letter.
const LEAST_LINE: usize = 77;
/// Most bytes of the last record: names of shares, and 64 runs.
const MAX_ENDING: usize = 16 << 20;

/// What stands at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// Where the journal stood that is published.
    pub standing: Standing,
    /// The shares whose folders were there.
    pub shares: Vec<KnownShare>,
}

/// A share whose files are written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownShare {
    /// Its name.
    pub name: String,
    /// Which folder it was.
    pub root: RootId,
    /// Whether all its files had been found.
    pub is_listed: bool,
}

/// One thing that is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// The lines of a share that is not for everybody follow.
    Section(String),
    /// A file of a share, or one that was removed.
    Line(Line),
    /// All is read, and whole.
    End(Ending),
}

/// Writes the file. Dropping it before [`finish`](Self::finish) leaves what was there.
#[derive(Debug)]
pub struct KnownFilesWriter {
    out: BufWriter<File>,
    hasher: blake3::Hasher,
    folder: String,
    record: Vec<u8>,
    fresh: PathBuf,
    path: PathBuf,
}

/// Reads the file.
#[derive(Debug)]
pub struct KnownFilesReader {
    from: BufReader<File>,
    hasher: blake3::Hasher,
    folder: String,
    epoch: u64,
}

impl KnownFilesWriter {
    /// Begins to write, in a data folder, what a journal of this epoch holds.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn create(data_dir: &Path, epoch: u64) -> io::Result<Self> {
        let fresh = data_dir.join(format!("{NAME}.new"));
        let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        let out = BufWriter::with_capacity(BUFFER, file);
        let (hasher, path) = (blake3::Hasher::new(), data_dir.join(NAME));
        let mut this = Self { out, hasher, folder: String::new(), record: Vec::new(), fresh, path };
        this.record.extend_from_slice(MAGIC);
        this.record.extend_from_slice(&epoch.to_le_bytes());
        this.flush()?;
        Ok(this)
    }

    /// The lines of a share follow.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn section(&mut self, share: &str) -> io::Result<()> {
        self.folder.clear();
        self.record.push(SECTION);
        self.text(share)?;
        self.flush()
    }

    /// A line of a journal. Its revision is above that of the line before in the section.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn line(&mut self, line: &Line) -> io::Result<()> {
        let (folder, name) = line.path.as_str().rsplit_once('/').unwrap_or(("", line.path.as_str()));
        let is_same = folder == self.folder;
        let flag = |flag: u8, is_set: bool| if is_set { flag } else { 0 };
        let flags = flag(REMOVED, line.is_removed) | flag(HASHED, line.content_id.is_some()) | flag(SAME_FOLDER, is_same);
        self.record.extend_from_slice(&[LINE, flags]);
        for number in [line.revision, line.stamp.dev, line.stamp.ino, line.stamp.size] {
            self.record.extend_from_slice(&number.to_le_bytes());
        }
        self.record.extend_from_slice(&line.stamp.mtime_ns.to_le_bytes());
        if let Some(id) = &line.content_id {
            self.record.extend_from_slice(id.as_bytes());
        }
        if !is_same {
            self.text(folder)?;
            folder.clone_into(&mut self.folder);
        }
        self.text(name)?;
        self.flush()
    }

    /// Puts the file in its place.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(mut self, ending: &Ending) -> io::Result<()> {
        let bytes = serde_cbor::to_vec(ending).map_err(io::Error::other)?;
        self.record.push(END);
        self.record.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        self.record.extend_from_slice(&bytes);
        self.flush()?;
        let hash = self.hasher.finalize();
        self.out.write_all(hash.as_bytes())?;
        self.out.flush()?;
        fs::rename(&self.fresh, &self.path)
    }

    fn text(&mut self, text: &str) -> io::Result<()> {
        let len = u16::try_from(text.len()).map_err(io::Error::other)?;
        self.record.extend_from_slice(&len.to_le_bytes());
        self.record.extend_from_slice(text.as_bytes());
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.hasher.update(&self.record);
        self.out.write_all(&self.record)?;
        self.record.clear();
        Ok(())
    }
}

impl KnownFilesReader {
    /// Opens the file of a data folder; `None` when there is none.
    ///
    /// # Errors
    /// When it cannot be read, or is none of ours.
    pub fn open(data_dir: &Path) -> io::Result<Option<Self>> {
        let file = match File::open(data_dir.join(NAME)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let from = BufReader::with_capacity(BUFFER, file);
        let mut this = Self { from, hasher: blake3::Hasher::new(), folder: String::new(), epoch: 0 };
        if this.array::<16>()? != *MAGIC {
            return Err(damaged("it is of another format"));
        }
        this.epoch = this.number()?;
        Ok(Some(this))
    }

    /// The epoch of its revisions.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// No more lines than this are in it.
    ///
    /// # Errors
    /// When the file cannot be asked.
    pub fn most_lines(&self) -> io::Result<usize> {
        let bytes = self.from.get_ref().metadata()?.len();
        Ok(usize::try_from(bytes).unwrap_or(usize::MAX) / LEAST_LINE)
    }

    /// The next record. What came before [`Record::End`] holds only if that comes.
    ///
    /// # Errors
    /// When the file cannot be read, or is damaged.
    pub fn read(&mut self) -> io::Result<Record> {
        match self.array::<1>()? {
            [SECTION] => {
                self.folder.clear();
                Ok(Record::Section(self.text()?))
            }
            [LINE] => self.line().map(Record::Line),
            [END] => self.ending().map(Record::End),
            _ => Err(damaged("there is no such record")),
        }
    }

    fn line(&mut self) -> io::Result<Line> {
        let [flags] = self.array()?;
        let numbers: [u8; 40] = self.array()?;
        let number = |at: usize| numbers.as_chunks::<8>().0.get(at).map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let (revision, dev, ino, size, mtime_ns) = (number(0), number(1), number(2), number(3), number(4) as i64);
        let content_id = if flags & HASHED != 0 { Some(ContentId::from_bytes(self.array()?)) } else { None };
        if flags & SAME_FOLDER == 0 {
            self.folder = self.text()?;
        }
        let name = self.text()?;
        let path = if self.folder.is_empty() { name } else { format!("{}/{name}", self.folder) };
        let path = SharePath::parse(&path).map_err(|_| damaged("a path is none"))?;
        let stamp = Stamp { dev, ino, size, mtime_ns };
        Ok(Line { path, revision, stamp, content_id, is_removed: flags & REMOVED != 0 })
    }

    fn ending(&mut self) -> io::Result<Ending> {
        let len = usize::try_from(self.number()?).ok().filter(|len| *len <= MAX_ENDING).ok_or_else(|| damaged("its end is too long"))?;
        let mut bytes = vec![0; len];
        self.from.read_exact(&mut bytes)?;
        self.hasher.update(&bytes);
        let hash = self.hasher.finalize();
        if self.array::<32>()? != *hash.as_bytes() {
            return Err(damaged("its hash is another"));
        }
        serde_cbor::from_slice(&bytes).map_err(io::Error::other)
    }

    fn text(&mut self) -> io::Result<String> {
        let len = usize::from(u16::from_le_bytes(self.array()?));
        if len > MAX_PATH_BYTES {
            return Err(damaged("a text is too long"));
        }
        let mut bytes = vec![0; len];
        self.from.read_exact(&mut bytes)?;
        self.hasher.update(&bytes);
        String::from_utf8(bytes).map_err(io::Error::other)
    }

    fn number(&mut self) -> io::Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.from.read_exact(&mut bytes)?;
        self.hasher.update(&bytes);
        Ok(bytes)
    }
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::test_tree::TestTree;

    fn line(path: &str, revision: u64) -> Line {
        let stamp = Stamp { dev: 1, ino: revision, size: revision * 3, mtime_ns: -(revision as i64) };
        let content_id = (!revision.is_multiple_of(2)).then(|| ContentId::of(path.as_bytes()));
        Line { path: path.parse().unwrap(), revision, stamp, content_id, is_removed: revision == 4 }
    }

    fn records() -> Vec<Record> {
        let standing = Standing { runs: vec![(0, 7), (1 << 40, (1 << 40) + 9)], forgotten: 3 };
        let ending =
            Ending { standing, shares: vec![KnownShare { name: "music".into(), root: RootId { dev: 1, ino: 2 }, is_listed: true }] };
        let lines = [line("music/a/1", 1), line("music/a/2", 2), line("music/b/1", 3), line("music/4", 4), line("alone", 1 << 50)];
        let mut records: Vec<Record> = lines.map(Record::Line).into();
        records.push(Record::Section("secret".into()));
        records.extend([line("secret/x/1", 1), line("secret/x/2", 2)].map(Record::Line));
        records.push(Record::End(ending));
        records
    }

    fn write(dir: &Path) {
        let mut writer = KnownFilesWriter::create(dir, 7).unwrap();
        for record in records() {
            match record {
                Record::Section(share) => writer.section(&share).unwrap(),
                Record::Line(line) => writer.line(&line).unwrap(),
                Record::End(ending) => return writer.finish(&ending).unwrap(),
            }
        }
    }

    fn read(dir: &Path) -> io::Result<Vec<Record>> {
        let mut reader = KnownFilesReader::open(dir)?.unwrap();
        assert_eq!(reader.epoch(), 7);
        let mut records = Vec::new();
        loop {
            let record = reader.read()?;
            let is_end = matches!(record, Record::End(_));
            records.push(record);
            if is_end {
                return Ok(records);
            }
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let tree = TestTree::new();
        assert!(KnownFilesReader::open(tree.root()).unwrap().is_none());
        write(tree.root());
        assert_eq!(read(tree.root()).unwrap(), records());
        drop(KnownFilesWriter::create(tree.root(), 8).unwrap());
        assert_eq!(read(tree.root()).unwrap(), records(), "what was not finished changes nothing");
    }

    #[test]
    fn any_flipped_or_missing_byte_is_noticed() {
        let tree = TestTree::new();
        write(tree.root());
        let good = fs::read(tree.path(NAME)).unwrap();
        for at in 24..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(tree.path(NAME), bad).unwrap();
            assert!(read(tree.root()).is_err(), "byte {at} of {}", good.len());
            fs::write(tree.path(NAME), &good[..at]).unwrap();
            assert!(read(tree.root()).is_err(), "cut at {at}");
        }
    }
}
