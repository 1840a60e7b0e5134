//! [`Disk`]: a small file system of its own, whose power can be cut.

use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::getuid;
use tempfile::TempDir;

use crate::failure::{Failure, Result};

/// Room for some hundred thousand entries.
const SIZE: &str = "256M";
/// `ioctl` that shuts an ext4 down as it is, with nothing of its journal written that is not on the disk yet
/// (`EXT4_IOC_SHUTDOWN`, `EXT4_GOING_FLAGS_NOLOGFLUSH`). Perl, which every Debian has, since we write no unsafe code.
const CUT: &str = r#"open(my $f, "<", $ARGV[0]) or die $!; my $how = pack("L", 2); ioctl($f, 0x8004587D, $how) or die $!"#;

/// An ext4 in a file, mounted on a folder. Dropping it unmounts it.
#[derive(Debug)]
pub struct Disk {
    dir: TempDir,
    mounted_on: PathBuf,
}

impl Disk {
    /// Makes a file system and mounts it; `None` for a user who may not.
    ///
    /// # Errors
    /// When the user is root, and it fails.
    pub fn mount(on: &Path) -> Result<Option<Self>> {
        if !getuid().is_root() {
            return Ok(None);
        }
        let dir = tempfile::Builder::new().prefix("disk").tempdir()?;
        let this = Self { dir, mounted_on: on.to_owned() };
        std::fs::create_dir_all(on)?;
        run(Command::new("truncate").args(["-s", SIZE]).arg(this.image()))?;
        run(Command::new("mkfs.ext4").arg("-q").arg(this.image()))?;
        this.mount_again()?;
        Ok(Some(this))
    }

    /// Cuts the power: from now on nothing is written, and every try is an error.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn cut(&self) -> Result {
        run(Command::new("perl").args(["-e", CUT]).arg(&self.mounted_on))
    }

    /// Starts anew after a cut, as a machine does: the file system repairs itself by its journal. Nobody may use it.
    ///
    /// # Errors
    /// When it is in use, or cannot be mounted.
    pub fn restart(&self) -> Result {
        run(Command::new("umount").arg(&self.mounted_on))?;
        self.mount_again()
    }

    fn mount_again(&self) -> Result {
        run(Command::new("mount").args(["-o", "loop"]).arg(self.image()).arg(&self.mounted_on))
    }

    fn image(&self) -> PathBuf {
        self.dir.path().join("image")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _not_mounted = run(Command::new("umount").arg("--lazy").arg(&self.mounted_on));
    }
}

fn run(command: &mut Command) -> Result {
    let output = command.output()?;
    if output.status.success() { Ok(()) } else { Err(Failure::new(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)))) }
}
