//! A download that is paused fetches nothing, also after a restart; one that is cancelled leaves nothing; one that failed can
//! be tried again.

use potluck_tests::clock::{PATIENCE, eventually};
use potluck_tests::{Result, town::Node, town::Town, tree};
use serde_json::Value;

/// The only download, once it fits.
fn download(node: &Node, what: &str, fits: impl Fn(&Value) -> bool) -> Result<Value> {
    eventually(PATIENCE, what, || Ok(node.verb(&["downloads"])?.ok()?.lines.into_iter().find(|line| fits(line))))
}

#[test]
fn a_paused_download_rests_over_a_restart_and_goes_on_when_told() -> Result {
    let town = Town::new()?;
    let share = town.path("films");
    let hash = tree::file(&share.join("film.bin"), 1, 24 << 20)?;
    let tracker = town.tracker("tracker")?;
    let ada = town.node("ada").share(&share).tracker(&tracker).arg("--limit-up").arg("4MiB").start_ready()?;
    let mut bob = town.node("bob").tracker(&tracker).start_ready()?;
    bob.find("film.bin", 1)?;
    let follower = bob.begin(&["download", &hash])?;
    let begun = download(&bob, "some of it came", |line| line["bytes"].as_u64() > Some(0))?;
    let id = begun["id"].to_string();

    let paused = bob.verb(&["pause", &id])?.ok()?;
    assert_eq!(paused.only()?["state"], "paused");
    bob.verb(&["pause", &id])?.refused(3)?;
    drop(follower);
    bob.restart()?;
    bob.process().event("registered", PATIENCE)?;
    let rested = download(&bob, "it is remembered", |line| line["state"] == "paused")?;
    assert!(rested["bytes"].as_u64() > Some(0), "what came is kept: {rested}");
    assert_eq!(ada.verb(&["limits", "--up", "none"])?.ok()?.only()?["up"], Value::Null);
    assert_eq!(bob.verb(&["resume", "all"])?.ok()?.lines.len(), 1);
    let path = bob.download_dir().join("film.bin");
    eventually(PATIENCE, "the film is there", || Ok(path.exists().then_some(())))?;
    tree::same_bytes(&path, &share.join("film.bin"))?;
    let sent = ada.verb(&["uploads"])?.ok()?;
    assert_eq!(sent.lines[0]["path"], "films/film.bin");
    assert!(sent.lines[0]["bytes"].as_u64() >= Some(24 << 20), "{sent:?}");
    Ok(())
}

#[test]
fn a_cancelled_download_leaves_nothing_and_a_failed_one_can_be_tried_again() -> Result {
    let town = Town::new()?;
    let share = town.path("films");
    let hash = tree::file(&share.join("film.bin"), 2, 24 << 20)?;
    let other = tree::file(&share.join("small.bin"), 3, 1000)?;
    let tracker = town.tracker("tracker")?;
    let ada = town.node("ada").share(&share).tracker(&tracker).arg("--limit-up").arg("2MiB").start_ready()?;
    let bob = town.node("bob").tracker(&tracker).start_ready()?;
    bob.find("film.bin", 1)?;
    let follower = bob.begin(&["download", &hash])?;
    download(&bob, "some of it came", |line| line["bytes"].as_u64() > Some(0))?;
    assert_eq!(bob.verb(&["cancel", "film.bin"])?.ok()?.only()?["state"], "cancelled");
    follower.finish(PATIENCE)?.refused(1)?;
    eventually(PATIENCE, "nothing is left of it", || Ok((tree::measure(bob.download_dir()) == (0, 0)).then_some(())))?;
    assert_eq!(bob.verb(&["downloads"])?.ok()?.lines.len(), 0);

    std::fs::write(bob.download_dir().join("small.bin"), "in the way")?;
    bob.download(&[&other, "--on-conflict", "error"])?.refused(7)?;
    let failed = download(&bob, "the failure is listed", |line| line["state"] == "failed")?;
    std::fs::remove_file(bob.download_dir().join("small.bin"))?;
    ada.verb(&["limits", "--up", "none"])?.ok()?;
    bob.verb(&["retry", &failed["id"].to_string()])?.ok()?;
    download(&bob, "it is done now", |line| line["state"] == "done")?;
    tree::same_bytes(&bob.download_dir().join("small.bin"), &share.join("small.bin"))?;
    bob.verb(&["cancel", "all"])?.ok()?;
    assert!(bob.download_dir().join("small.bin").exists(), "what is finished stays");
    Ok(())
}

#[test]
fn what_is_to_come_first_comes_first_also_after_a_restart() -> Result {
    let town = Town::new()?;
    let share = town.path("films");
    let files = ["first.bin", "second.bin", "third.bin"];
    for (seed, name) in (4..).zip(files) {
        tree::file(&share.join(name), seed, 12 << 20)?;
    }
    let tracker = town.tracker("tracker")?;
    let ada = town.node("ada").share(&share).tracker(&tracker).arg("--limit-up").arg("1MiB").start_ready()?;
    let mut bob = town.node("bob").tracker(&tracker).start_ready()?;
    bob.find("third.bin", 1)?;
    let all: Vec<String> = files.iter().map(|name| format!("{}:films/{name}", ada.peer_id())).collect();
    let words: Vec<&str> = ["download"].into_iter().chain(all.iter().map(String::as_str)).collect();
    let follower = bob.begin(&words)?;
    for name in files {
        download(&bob, "all are begun", |line| line["name"] == name && line["state"] == "fetching")?;
    }
    assert_eq!(bob.verb(&["priority", "high", "third.bin"])?.ok()?.only()?["priority"], "high");
    assert_eq!(bob.verb(&["priority", "low", "first.bin"])?.ok()?.only()?["priority"], "low");
    drop(follower);
    bob.restart()?;
    for (name, priority) in files.into_iter().zip(["low", "normal", "high"]) {
        download(&bob, "it is remembered", |line| line["name"] == name && line["priority"] == priority)?;
    }
    assert_eq!(bob.verb(&["priority", "normal", "first.bin"])?.ok()?.only()?["priority"], "normal");
    assert_eq!(bob.verb(&["priority", "low", "first.bin"])?.ok()?.only()?["priority"], "low");
    ada.verb(&["limits", "--up", "4MiB"])?.ok()?;
    let mut done = Vec::new();
    eventually(PATIENCE, "all are done", || {
        let lines = bob.verb(&["downloads"])?.ok()?.lines;
        let new: Vec<_> = lines.iter().filter(|line| line["state"] == "done" && !done.contains(&line["name"])).collect();
        done.extend(new.into_iter().map(|line| line["name"].clone()));
        Ok((done.len() == files.len()).then_some(()))
    })?;
    assert_eq!(done, ["third.bin", "second.bin", "first.bin"], "in the order of what was chosen");
    Ok(())
}
