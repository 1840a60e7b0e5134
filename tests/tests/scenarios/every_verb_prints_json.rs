//! What scripts depend on: every verb prints objects of the shapes that the node itself describes, all keys there, none beside
//! them, and `null` for the unknown.

use potluck_tests::process::Finished;
use potluck_tests::schema::Schema;
use potluck_tests::{Result, town::Town, tree};

/// Fails unless something was printed, and every line has the shape.
#[track_caller]
fn prints(schema: &Schema, shape: &str, finished: &Finished) -> Result {
    assert!(!finished.lines.is_empty(), "{} printed nothing", finished.name);
    finished.lines.iter().try_for_each(|line| schema.check(shape, line))
}

#[test]
fn every_verb_prints_lines_of_the_one_schema() -> Result {
    let town = Town::new()?;
    let hash = tree::file(&town.path("music/live.flac"), 34, 2_000_000)?;
    let tracker = town.tracker("tracker")?;
    let ada = town.node("ada").share(&town.path("music")).tracker(&tracker).start_ready()?;
    let bob = town.node("bob").tracker(&tracker).arg("--page").arg("127.0.0.1:0").start_ready()?;
    bob.find("live.flac", 1)?;
    let schema = &Schema::of(bob.page()?.get("/api/v1/openapi.json")?);
    let file = town.path("music/live.flac").display().to_string();
    let folder = town.path("music").display().to_string();

    for (node, line, shape) in [
        (&bob, &["search", "live"][..], "HitLine"),
        (&bob, &["query"], "PeerLine"),
        (&bob, &["query", ada.peer_id()], "EntryLine"),
        (&bob, &["query", "ada"], "EntryLine"),
        (&bob, &["download", &hash], "TransferLine"),
        (&bob, &["downloads"], "DownloadLine"),
        (&ada, &["uploads"], "UploadLine"),
        (&ada, &["limits", "--up", "5MiB/s"], "LimitsLine"),
        (&ada, &["share", "rescan"], "ShareLine"),
        (&ada, &["share", "ls"], "ShareLine"),
        (&bob, &["share", "add", &folder], "ShareLine"),
        (&bob, &["share", "rm", "music"], "ShareLine"),
        (&bob, &["ls", "ada"], "FolderLine"),
        (&bob, &["ls", "ada:music"], "EntryLine"),
        (&ada, &["link", &file], "LinkLine"),
        (&bob, &["page"], "PageLine"),
        (&bob, &["verify"], "VerifyLine"),
        (&bob, &["cancel", "all"], "DownloadLine"),
        (&bob, &["dial", ada.address()], "DialLine"),
        (&bob, &["register"], "TrackerLine"),
        (&bob, &["deregister"], "TrackerLine"),
        (&bob, &["status"], "StatusLine"),
        (&bob, &["config", "show"], "SettingLine"),
        (&bob, &["config", "set", "nickname", "robert"], "SettingLine"),
        (&ada, &["doctor"], "CheckLine"),
        (&bob, &["id"], "IdLine"),
    ] {
        prints(schema, shape, &node.verb(line)?.ok()?)?;
    }
    for event in bob.process().lines() {
        schema.check("Event", &event)?;
    }
    let missing = "PEER:music/gone".replace("PEER", ada.peer_id());
    let begun = bob.begin(&["download", &missing, "--timeout", "1"])?.finish(potluck_tests::clock::PATIENCE)?.refused(3)?;
    assert!(begun.lines.is_empty() || prints(schema, "TransferLine", &begun).is_ok(), "{begun:?}");

    let link = ada.verb(&["link", &file])?.ok()?;
    assert_eq!(link.only()?["link"], format!("potluck:{hash}?name=live.flac&size=2000000"));
    assert_eq!(bob.verb(&["id"])?.ok()?.only()?["addresses"][0], bob.address());
    let mtime = bob.verb(&["query", "ada"])?.lines[0]["mtime"].clone();
    assert!(mtime.as_str().is_some_and(|time| time.len() >= 20 && time.ends_with('Z')), "{mtime}");
    Ok(())
}
