//! Disks that are full, folders that are none: a sentence, exit code 7, and nothing is lost.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use potluck_tests::{Result, town::Town, tree};

/// A small file system of its own, until it is dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where this user may not mount.
    fn mount(at: PathBuf, size: &str) -> Result<Option<Self>> {
        fs::create_dir_all(&at)?;
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(&at).output();
        Ok(mounted.is_ok_and(|output| output.status.success()).then_some(Self(at)))
    }

    fn grow(&self, size: &str) -> Result {
        let grown = Command::new("mount").args(["-o", &format!("remount,size={size}")]).arg(&self.0).status()?;
        assert!(grown.success());
        Ok(())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status(); // what is left is the folder of the test
    }
}

/// G039.
#[test]
fn a_full_disk_pauses_the_download_and_space_lets_it_finish() -> Result {
    let town = Town::new()?;
    let Some(disk) = SmallDisk::mount(town.path("small"), "8m")? else {
        println!("skipped: this user may not mount a small file system");
        return Ok(());
    };
    let hash = tree::file(&town.path("films/long.mkv"), 29, 20 << 20)?;
    let ada = town.node("ada").share(&town.path("films")).start_ready()?;
    let bob = town.node("bob").download_dir(&disk.0).start_ready()?;
    bob.verb(&["dial", ada.address()])?.ok()?;
    let refused = bob.download(&[&hash])?.refused(7)?;
    assert!(refused.stderr.contains("space") || refused.stderr.contains("full"), "{}", refused.stderr);
    bob.verb(&["status"])?.ok()?;

    disk.grow("64m")?;
    bob.download(&[&hash])?.ok()?;
    tree::same_bytes(&town.path("films/long.mkv"), &disk.0.join("long.mkv"))
}

#[test]
fn a_download_folder_that_is_none_is_refused() -> Result {
    let town = Town::new()?;
    let hash = tree::file(&town.path("films/long.mkv"), 30, 1 << 20)?;
    let ada = town.node("ada").share(&town.path("films")).start_ready()?;
    let bob = town.node("bob").start_ready()?;
    bob.verb(&["dial", ada.address()])?.ok()?;
    fs::write(town.path("a file"), "")?;
    for folder in [town.path("a file"), town.path("a file/below"), Path::new("/proc/nothing").to_owned()] {
        bob.download(&[&hash, "-o", &folder.to_string_lossy()])?.refused(7)?;
    }
    bob.download(&[&hash])?.ok()?;
    Ok(())
}

#[test]
fn a_share_that_is_missing_or_no_folder_is_refused() -> Result {
    let town = Town::new()?;
    fs::write(town.path("a file"), "")?;
    for folder in ["missing", "a file"] {
        let plan = town.node("ada").share(&town.path(folder));
        let process = potluck_tests::process::Process::start("ada", &mut plan.command())?;
        process.finish(potluck_tests::clock::PATIENCE)?.refused(7)?;
    }
    Ok(())
}
