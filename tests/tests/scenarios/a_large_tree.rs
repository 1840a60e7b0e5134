//! A tree as real disks have it: names are found long before everything is hashed, and a restart reads nothing again.

use std::time::Duration;

use potluck_tests::clock::now;
use potluck_tests::{Result, clock::PATIENCE, town::Town, tree};

const FILES: u32 = 20_000;

#[test]
fn twenty_thousand_files_are_listed_and_found_and_a_restart_is_quick() -> Result {
    let town = Town::new()?;
    let share = town.path("large");
    tree::folder(&share, 35, FILES, 0..=200)?;
    let tracker = town.tracker("tracker")?;
    let mut ada = town.node("ada").share(&share).tracker(&tracker).start()?;
    let listed = ada.process().event("listed", PATIENCE)?;
    assert_eq!(listed["files"], FILES);
    let indexed = ada.process().event("indexed", Duration::from_secs(120))?;
    assert_eq!(indexed["files"], FILES);
    let bob = town.node("bob").tracker(&tracker).start_ready()?;
    bob.find("file 19999.bin", 1)?;
    let peer = potluck_tests::clock::eventually(PATIENCE, "the tracker has all of it", || {
        Ok(bob.peers()?.into_iter().find(|peer| peer["peer_id"] == ada.peer_id() && peer["files"] == FILES))
    })?;
    assert_eq!(peer["nickname"], "ada");
    let entries = bob.verb(&["query", ada.peer_id()])?.ok()?;
    assert_eq!(entries.lines.len(), FILES as usize, "every page of the listing");

    ada.restart()?;
    let start = now();
    ada.process().event("indexed", PATIENCE)?;
    assert!(start.elapsed() < Duration::from_secs(20), "a restart took {:?}", start.elapsed());
    bob.find("file 19999.bin", 1)?;
    Ok(())
}
