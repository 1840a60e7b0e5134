//! G030: the owner changes a file while somebody downloads it.

use potluck_tests::clock::{PATIENCE, eventually};
use potluck_tests::town::{Town, VERB_LIMIT};
use potluck_tests::{Result, tree};

#[test]
fn a_file_that_changes_while_it_is_sent_is_never_stored_half_old_half_new() -> Result {
    let town = Town::new()?;
    let path = town.path("films/long.mkv");
    let old = tree::file(&path, 27, 48 << 20)?;
    let tracker = town.tracker("tracker")?;
    let _ada = town.node("ada").share(&town.path("films")).tracker(&tracker).arg("--limit-up").arg("8MiB/s").start_ready()?;
    let bob = town.node("bob").tracker(&tracker).start_ready()?;
    bob.find("long.mkv", 1)?;
    let download = bob.begin(&["download", &old, "--timeout", "5"])?;
    download.line("progress", PATIENCE, |line| line["event"] == "progress" && line["bytes"].as_u64() > Some(4 << 20))?;
    let new = tree::file(&path, 28, 48 << 20)?;
    assert_ne!(download.finish(VERB_LIMIT)?.code, Some(0));
    assert!(!bob.download_dir().join("long.mkv").exists());

    eventually(PATIENCE, "the new content is found", || {
        let found = bob.verb(&["search", "long.mkv"])?;
        Ok(found.lines.iter().any(|hit| hit["content_id"] == new.as_str()).then_some(()))
    })?;
    bob.download(&[&new])?.ok()?;
    tree::same_bytes(&path, &bob.download_dir().join("long.mkv"))
}
