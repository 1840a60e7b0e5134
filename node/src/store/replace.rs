//! How a repaired file takes the place of the damaged one, which is kept.
//!
//! What `verify` finds damaged may be what the user changed on purpose. So the old file first gets a second name, `NAME
//! (damaged).EXT`, and only then the two are exchanged, in one step: at every moment, also of a power cut, the target is one
//! of the two files, whole, and both have a name. Somebody who puts a third file there meanwhile finds it kept as well.

use std::path::PathBuf;

use rustix::fs::{AtFlags, RenameFlags, linkat, renameat_with, statat, unlinkat};
use rustix::io::Errno;

use super::download_dir::StoreError;
use super::local_name::LocalName;
use super::part_file::{Finished, MAX_NUMBER, PartFile, rename_to_free_name};

impl PartFile {
    /// Makes the temporary file the target, as [`finish`](Self::finish) does, and keeps what is there under another name.
    /// Ends the writing; on an error the temporary file stays.
    ///
    /// # Errors
    /// [`StoreError::Moved`], [`StoreError::Unsynced`], and what else a disk may do.
    pub fn finish_in_place(&self, mtime: i64) -> Result<Finished, StoreError> {
        self.end_with(|| {
            self.make_ready(mtime)?;
            let kept = self.exchange()?;
            self.sync_folder()?;
            let (_, _, target) = self.place();
            Ok(Finished { path: self.target_folder().join(target.name().as_str()), kept })
        })
    }

    /// Gives the target's name to the temporary file; returns where what had it is now.
    fn exchange(&self) -> Result<Option<PathBuf>, StoreError> {
        let (folder, part, target) = self.place();
        let name = target.name();
        let kept = self.under_free_name(|free| match linkat(folder, name.as_str(), folder, free, AtFlags::empty()) {
            // no second names on this file system: for a moment the file has only the new one
            Err(Errno::PERM | Errno::NOTSUP | Errno::NOSYS) => rename_to_free_name(folder, name.as_str(), free),
            linked => linked,
        })?;
        match renameat_with(folder, part, folder, name.as_str(), RenameFlags::EXCHANGE) {
            // now the temporary name leads to what was at the target: its second name, or something that came there meanwhile
            Ok(()) => self.keep_exchanged(kept.as_deref())?,
            Err(Errno::NOENT) => self.rename_alone(part, name)?,
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                // no exchange either: the target has its second name, so its first can go
                unlinkat(folder, name.as_str(), AtFlags::empty()).map_err(|error| self.error(error.into()))?;
                self.rename_alone(part, name)?;
            }
            Err(error) => return Err(self.error(error.into())),
        }
        Ok(kept.map(|name| self.target_folder().join(name)))
    }

    /// Nothing is at the target.
    fn rename_alone(&self, part: &str, name: &LocalName) -> Result<(), StoreError> {
        let (folder, ..) = self.place();
        rename_to_free_name(folder, part, name.as_str()).map_err(|error| match error {
            Errno::NOENT => StoreError::Moved { path: self.path() },
            error => self.error(error.into()),
        })
    }

    /// Takes the temporary name from the file that was at the target, which must not lose its last name by that.
    fn keep_exchanged(&self, kept: Option<&str>) -> Result<(), StoreError> {
        let (folder, part, _) = self.place();
        let inode = |name: &str| statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).ok().map(|stat| (stat.st_dev, stat.st_ino));
        if kept.is_some_and(|kept| inode(kept).is_some() && inode(kept) == inode(part)) {
            return unlinkat(folder, part, AtFlags::empty()).map_err(|error| self.error(error.into()));
        }
        self.under_free_name(|free| rename_to_free_name(folder, part, free)).map(drop)
    }

    /// Tries names of damaged files until one is free; `None` when what should get one is not there.
    fn under_free_name(&self, give: impl Fn(&str) -> Result<(), Errno>) -> Result<Option<String>, StoreError> {
        let (_, _, target) = self.place();
        for number in 0..=MAX_NUMBER {
            let name = target.name().damaged(number);
            match give(name.as_str()) {
                Ok(()) => return Ok(Some(name.as_str().to_owned())),
                Err(Errno::NOENT) => return Ok(None),
                Err(Errno::EXIST) => {}
                Err(error) => return Err(self.error(error.into())),
            }
        }
        Err(StoreError::Exists { path: self.target_folder().join(target.name().as_str()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{DownloadDir, Extent, TargetPath, test_tree::TestTree};
    use potluck_common::content_id::ContentId;
    use potluck_common::geometry::Geometry;
    use potluck_common::share_path::SharePath;

    fn repair(tree: &TestTree, content: &[u8]) -> Finished {
        let dir = DownloadDir::open(&tree.path("")).unwrap();
        let target = TargetPath::new(&SharePath::parse("folder/live.flac").unwrap()).unwrap();
        let geometry = Geometry::new(content.len() as u64).unwrap();
        let part = PartFile::open_or_create(&dir, &target, geometry, ContentId::of(content), Extent::Whole).unwrap();
        part.write_piece(geometry.piece(0).unwrap(), content).unwrap();
        part.finish_in_place(1_000_000_000).unwrap()
    }

    #[test]
    fn the_repaired_file_takes_the_place_and_the_damaged_one_is_kept() {
        let tree = TestTree::new();
        for (number, damaged) in ["first", "second"].into_iter().enumerate() {
            tree.write("folder/live.flac", damaged.as_bytes());
            let repaired = repair(&tree, b"as it was");
            let kept = repaired.kept.unwrap();
            assert_eq!(std::fs::read(&repaired.path).unwrap(), b"as it was");
            assert_eq!(std::fs::read(&kept).unwrap(), damaged.as_bytes());
            assert_eq!(std::fs::read_dir(tree.path("folder")).unwrap().count(), number + 2, "no temporary file is left");
        }
    }

    #[test]
    fn where_nothing_is_nothing_is_kept() {
        let tree = TestTree::new();
        let repaired = repair(&tree, b"as it was");
        assert_eq!(repaired.kept, None);
        assert_eq!(std::fs::read(tree.path("folder/live.flac")).unwrap(), b"as it was");
    }
}
