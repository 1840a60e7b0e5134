//! What scripts depend on: every verb prints objects with the documented keys, and `null` for the unknown.

use potluck_tests::process::Finished;
use potluck_tests::{Result, town::Town, tree};

/// Fails unless every line has all the keys.
#[track_caller]
fn has_keys(finished: &Finished, keys: &[&str]) {
    assert!(!finished.lines.is_empty(), "{} printed nothing", finished.name);
    for line in &finished.lines {
        for key in keys {
            assert!(line.get(key).is_some(), "{}: no `{key}` in {line}", finished.name);
        }
    }
}

#[test]
fn every_verb_prints_the_documented_keys() -> Result {
    let town = Town::new()?;
    let hash = tree::file(&town.path("music/live.flac"), 34, 2_000_000)?;
    let tracker = town.tracker("tracker")?;
    let ada = town.node("ada").share(&town.path("music")).tracker(&tracker).start_ready()?;
    let bob = town.node("bob").tracker(&tracker).start_ready()?;
    bob.find("live.flac", 1)?;

    has_keys(&bob.verb(&["search", "live"])?.ok()?, &["content_id", "name", "size", "kind", "sources", "peers"]);
    has_keys(&bob.verb(&["query"])?.ok()?, &["peer_id", "nickname", "addresses", "files", "bytes", "online"]);
    has_keys(&bob.verb(&["query", ada.peer_id()])?.ok()?, &["path", "size", "mtime", "content_id"]);
    has_keys(&bob.verb(&["query", "ada"])?.ok()?, &["path", "size", "mtime", "content_id"]);
    let finished = bob.download(&[&hash])?.ok()?;
    has_keys(
        &Finished { lines: finished.done().into_iter().cloned().collect(), ..finished.clone() },
        &["event", "path", "content_id", "bytes", "fetched", "sources"],
    );
    has_keys(
        &bob.verb(&["downloads"])?.ok()?,
        &["id", "content_id", "name", "path", "bytes", "total", "state", "rate", "sources", "error"],
    );
    has_keys(&ada.verb(&["uploads"])?.ok()?, &["peer_id", "nickname", "content_id", "path", "bytes", "rate", "active"]);
    has_keys(&ada.verb(&["limits", "--up", "5MiB/s"])?.ok()?, &["up", "queued"]);
    has_keys(&ada.verb(&["share", "rescan"])?.ok()?, &["name", "dir", "state"]);
    has_keys(&bob.verb(&["ls", "ada"])?.ok()?, &["name", "path"]);
    has_keys(&bob.verb(&["ls", "ada:music"])?.ok()?, &["path", "size", "mtime", "content_id"]);
    let link = ada.verb(&["link", &town.path("music/live.flac").to_string_lossy()])?.ok()?;
    has_keys(&link, &["path", "content_id", "link"]);
    assert_eq!(link.only()?["link"], format!("potluck:{hash}?name=live.flac&size=2000000"));
    has_keys(&bob.verb(&["cancel", "all"])?.ok()?, &["id", "content_id", "name", "folder", "path", "state"]);
    has_keys(&bob.verb(&["verify"])?.ok()?, &["event", "path", "content_id", "bytes"]);
    has_keys(&bob.verb(&["dial", ada.address()])?.ok()?, &["peer_id", "address", "agent", "tracker"]);
    has_keys(&bob.verb(&["register"])?.ok()?, &["tracker", "namespace", "registered"]);
    has_keys(&bob.verb(&["deregister"])?.ok()?, &["tracker", "namespace", "registered"]);
    has_keys(&ada.verb(&["share", "ls"])?.ok()?, &["name", "dir", "state", "files", "bytes", "hashed_bytes", "skipped"]);
    has_keys(&bob.verb(&["status"])?.ok()?, &["peer_id", "nickname", "namespace", "addresses", "trackers", "files", "bytes", "running"]);
    let id = bob.verb(&["id"])?.ok()?;
    has_keys(&id, &["peer_id", "addresses"]);
    assert_eq!(id.only()?["addresses"][0], bob.address());

    let mtime = bob.verb(&["query", "ada"]).and_then(Finished::ok);
    let mtime = mtime.map(|listed| listed.lines[0]["mtime"].clone());
    assert!(mtime.as_ref().is_ok_and(|time| time.as_str().is_some_and(|time| time.len() >= 20 && time.ends_with('Z'))), "{mtime:?}");
    Ok(())
}
