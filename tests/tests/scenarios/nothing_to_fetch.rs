//! A file that nobody has, and one whose only source is gone.

use potluck_tests::{
    Result,
    clock::PATIENCE,
    town::{Town, VERB_LIMIT},
    tree,
};

#[test]
fn an_unknown_content_id_is_not_found() -> Result {
    let town = Town::new()?;
    let tracker = town.tracker("tracker")?;
    let bob = town.node("bob").tracker(&tracker).start_ready()?;
    bob.download(&[&"ab".repeat(32), "--timeout", "3"])?.refused(3)?;
    bob.verb(&["search", "nothing has this name"])?.refused(3)?;
    bob.verb(&["query", "nobody"])?.refused(3)?;
    Ok(())
}

#[test]
fn a_file_whose_source_is_gone_waits_and_comes_when_it_is_back() -> Result {
    let town = Town::new()?;
    let hash = tree::file(&town.path("films/long.mkv"), 26, 64 << 20)?;
    let tracker = town.tracker("tracker")?;
    let mut ada = town.node("ada").share(&town.path("films")).tracker(&tracker).arg("--limit-up").arg("16MiB/s").start_ready()?;
    let bob = town.node("bob").tracker(&tracker).start_ready()?;
    bob.find("long.mkv", 1)?;
    let download = bob.begin(&["download", &hash, "--timeout", "6"])?; // time enough for the first bytes on a slow machine
    download.line("progress", PATIENCE, |line| line["event"] == "progress" && line["bytes"].as_u64() > Some(4 << 20))?;
    ada.kill9()?;
    download.finish(VERB_LIMIT)?.refused(4)?;

    ada.restart()?;
    bob.sees(ada.peer_id(), true, PATIENCE)?; // bob himself offers what he has of it
    bob.find("long.mkv", 2)?;
    let finished = bob.download(&[&hash])?.ok()?;
    assert_eq!(finished.done()[0]["fetched"], 64 << 20, "nothing is fetched twice");
    tree::same_bytes(&town.path("films/long.mkv"), &bob.download_dir().join("long.mkv"))
}
