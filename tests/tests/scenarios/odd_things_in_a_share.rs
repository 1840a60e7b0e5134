//! G026, G028, G029, G031: a share as real disks have it, with things in it that are no files, and files of every awkward size.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixListener;

use potluck_tests::town::Town;
use potluck_tests::{Result, tree};
use rustix::fs::{FileType, Mode, mknodat};

const MIB: u64 = 1 << 20;

#[test]
fn what_is_no_file_is_skipped_and_files_of_every_size_are_served() -> Result {
    let town = Town::new()?;
    let share = town.path("odd");
    let sizes = [("empty", 0), ("one", 1), ("under", MIB - 1), ("exact", MIB), ("over", MIB + 1), ("twice", 2 * MIB)];
    for (name, size) in sizes {
        tree::file(&share.join(name), size, size)?;
    }
    fs::File::create(share.join("sparse"))?.set_len(64 * MIB)?;
    fs::File::create(share.join("too large"))?.set_len(8 << 40)?;
    mknodat(rustix::fs::CWD, share.join("fifo"), FileType::Fifo, Mode::RUSR, 0)?;
    let _socket = UnixListener::bind(share.join("socket"))?;
    fs::write(town.path("secret"), "nobody's business")?;
    std::os::unix::fs::symlink(town.path("secret"), share.join("way out"))?;
    std::os::unix::fs::symlink("/", share.join("root"))?;
    fs::write(share.join(std::ffi::OsStr::from_bytes(b"not utf-8 \xff")), "x")?;
    // Whoever can make a hard link here could copy the file here: it is a file like any other.
    tree::file(&town.path("linked"), 7, 1000)?;
    fs::hard_link(town.path("linked"), share.join("hard link"))?;

    let tracker = town.tracker("tracker")?;
    let ada = town.node("ada").share(&share).tracker(&tracker).start_ready()?;
    let bob = town.node("bob").tracker(&tracker).start_ready()?;
    bob.find("sparse", 1)?;
    let listed = bob.verb(&["query", ada.peer_id()])?.ok()?;
    let mut names: Vec<_> = listed.lines.iter().filter_map(|line| line["path"].as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["odd/empty", "odd/exact", "odd/hard link", "odd/one", "odd/over", "odd/sparse", "odd/twice", "odd/under"]);
    let shares = ada.verb(&["share", "ls"])?.ok()?;
    assert_eq!(shares.only()?["skipped_count"], 6, "{:?}", shares.lines);

    bob.download(&[&format!("{}:odd", ada.peer_id())])?.ok()?;
    for name in ["empty", "exact", "hard link", "one", "over", "sparse", "twice", "under"] {
        tree::same_bytes(&share.join(name), &bob.download_dir().join("odd").join(name))?;
    }
    for name in ["odd/way out", "odd/root/etc/passwd", "odd/fifo", "odd/../secret"] {
        let code = bob.download(&[&format!("{}:{name}", ada.peer_id()), "--timeout", "3"])?.code;
        assert!(matches!(code, Some(2 | 3)), "{name}: {code:?}");
    }
    Ok(())
}
