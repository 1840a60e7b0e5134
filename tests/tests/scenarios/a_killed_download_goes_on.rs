//! The power fails in mid-download. After a restart the node goes on by itself, and fetches nothing again that was safe
//! on the disk.

use potluck_tests::{Result, clock::PATIENCE, town::Town, tree};

const SIZE: u64 = 256 << 20;
/// Fetched before the kill.
const BEFORE: u64 = 160 << 20;
/// G035: what may be fetched twice is what had come since the last checkpoint, at most 64 MiB, and what was on its way.
const TWICE: u64 = 72 << 20;

#[test]
fn a_download_that_was_killed_goes_on_without_fetching_twice() -> Result {
    let town = Town::new()?;
    let hash = tree::file(&town.path("films/long.mkv"), 5, SIZE)?;
    let tracker = town.tracker("tracker")?;
    let ada = town.node("ada").share(&town.path("films")).tracker(&tracker).arg("--limit-up").arg("50MiB/s").start_ready()?;
    let mut bob = town.node("bob").tracker(&tracker).start_ready()?;
    bob.find("long.mkv", 1)?;

    let download = bob.begin(&["download", &hash])?;
    download.line("enough progress", PATIENCE, |line| line["event"] == "progress" && line["bytes"].as_u64() > Some(BEFORE))?;
    bob.kill9()?;
    bob.restart()?;
    let finished = bob.download(&[&hash])?.ok()?;

    let done = finished.done();
    assert_eq!(done.len(), 1, "{:?}", finished.lines);
    let fetched = done[0]["fetched"].as_u64().unwrap_or(u64::MAX);
    assert!(fetched <= SIZE - BEFORE + TWICE, "fetched {fetched} bytes after the restart");
    let sent = ada.status()?["bytes_up"].as_u64().unwrap_or(u64::MAX);
    assert!(sent <= SIZE + TWICE, "the source sent {sent} bytes in all");
    tree::same_bytes(&town.path("films/long.mkv"), &bob.download_dir().join("long.mkv"))?;
    let left = tree::look(bob.download_dir())?;
    assert_eq!(left.len(), 1, "nothing else is left in the folder: {left:?}");
    Ok(())
}

#[test]
fn a_node_goes_on_with_its_downloads_without_being_told() -> Result {
    let town = Town::new()?;
    let hash = tree::file(&town.path("films/long.mkv"), 6, 64 << 20)?;
    let tracker = town.tracker("tracker")?;
    let _ada = town.node("ada").share(&town.path("films")).tracker(&tracker).arg("--limit-up").arg("20MiB/s").start_ready()?;
    let mut bob = town.node("bob").tracker(&tracker).start_ready()?;
    bob.find("long.mkv", 1)?;
    let download = bob.begin(&["download", &hash])?;
    download.line("some progress", PATIENCE, |line| line["event"] == "progress" && line["bytes"].as_u64() > Some(8 << 20))?;
    bob.kill9()?;
    bob.restart()?;
    let target = bob.download_dir().join("long.mkv");
    potluck_tests::clock::eventually(PATIENCE, "the file is there", || Ok(target.exists().then_some(())))?;
    tree::same_bytes(&town.path("films/long.mkv"), &target)
}
