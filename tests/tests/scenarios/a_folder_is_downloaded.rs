//! A folder reference fetches the tree as it is: every name, every byte, every time of last change.

use std::fs::File;
use std::time::{Duration, SystemTime};

use potluck_tests::{Result, town::Town, tree};

#[test]
fn a_folder_keeps_its_tree_and_its_times() -> Result {
    let town = Town::new()?;
    let share = town.path("books");
    tree::folder(&share.join("shelf"), 12, 120, 0..=40_000)?;
    tree::file(&share.join("shelf/large"), 13, 5 << 20)?;
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    File::options().write(true).open(share.join("shelf/large"))?.set_modified(old)?;
    tree::file(&share.join("beside"), 14, 10)?;
    let tracker = town.tracker("tracker")?;
    let ada = town.node("ada").share(&share).tracker(&tracker).start_ready()?;
    let bob = town.node("bob").tracker(&tracker).start_ready()?;
    bob.find("large", 1)?;

    let finished = bob.download(&[&format!("{}:books/shelf", ada.peer_id())])?.ok()?;
    assert_eq!(finished.done().len(), 121);
    assert_eq!(tree::look(&bob.download_dir().join("shelf"))?, tree::look(&share.join("shelf"))?);
    assert_eq!(tree::look(bob.download_dir())?.len(), 121, "and nothing else");
    Ok(())
}
