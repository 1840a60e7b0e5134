//! What changes in a share is found by others at once, or by the sweep where the system does not tell; what is away is not
//! taken for deleted; what is renamed is not read again.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use potluck_tests::clock::{PATIENCE, eventually};
use potluck_tests::{Result, town::Node, town::Town, tree};
use serde_json::Value;

/// The only share, once it fits.
fn share(node: &Node, what: &str, fits: impl Fn(&Value) -> bool) -> Result<Value> {
    eventually(PATIENCE, what, || Ok(node.verb(&["share", "ls"])?.ok()?.lines.into_iter().next().filter(|line| fits(line))))
}

/// Writes a file that nobody has touched for a while: hashes of what has just been written are not remembered, because it may
/// be written again within its time stamp.
fn old_file(path: &Path, seed: u64, size: u64) -> Result {
    tree::file(path, seed, size)?;
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    Ok(fs::File::options().write(true).open(path)?.set_modified(old)?)
}

/// The bytes that a process has read from files and sockets.
fn bytes_read(node: &Node) -> Result<u64> {
    let io = fs::read_to_string(format!("/proc/{}/io", node.process().id()))?;
    Ok(io.lines().find_map(|line| line.strip_prefix("rchar: ")?.parse().ok()).unwrap_or(0))
}

/// Waits until a search finds nothing.
fn is_gone(asker: &Node, name: &str) -> Result {
    eventually(PATIENCE, "it is not found any more", || Ok((asker.verb(&["search", name])?.code == Some(3)).then_some(())))
}

#[test]
fn new_changed_renamed_and_deleted_files_are_followed() -> Result {
    let town = Town::new()?;
    let music = town.path("music");
    old_file(&music.join("old/song.flac"), 1, 8 << 20)?;
    let tracker = town.tracker("tracker")?;
    let ada = town.node("ada").share(&music).tracker(&tracker).start_ready()?;
    let bob = town.node("bob").tracker(&tracker).start_ready()?;
    bob.find("song.flac", 1)?;

    tree::file(&music.join("new album/01 first.flac"), 2, 1000)?;
    let first = bob.find("01 first.flac", 1)?;
    tree::file(&music.join("new album/01 first.flac"), 3, 2000)?;
    eventually(PATIENCE, "the change is found", || {
        let hit = bob.find("01 first.flac", 1)?;
        Ok((hit["content_id"] != first["content_id"]).then_some(()))
    })?;
    let before = bytes_read(&ada)?;
    fs::rename(music.join("old"), music.join("renamed"))?;
    eventually(PATIENCE, "the new name is found and the old is not", || {
        let hits = bob.verb(&["search", "song.flac"])?.lines;
        let path = hits.first().map(|hit| hit["peers"][0]["path"].clone()).unwrap_or_default();
        Ok((path == "music/renamed/song.flac" && hits[0]["content_id"].is_string()).then_some(()))
    })?;
    let read = bytes_read(&ada)? - before;
    assert!(read < 4 << 20, "nothing of 8 MiB was read again: {read} bytes");
    fs::remove_dir_all(music.join("new album"))?;
    eventually(PATIENCE, "what is deleted is not found", || Ok((bob.verb(&["search", "first.flac"])?.code == Some(3)).then_some(())))?;
    Ok(())
}

#[test]
fn a_folder_that_is_away_or_empty_is_offline_until_it_is_back() -> Result {
    let town = Town::new()?;
    let (disk, away) = (town.path("disk"), town.path("away"));
    old_file(&disk.join("film.mkv"), 1, 1 << 20)?;
    let ada = town.node("ada").share(&disk).start_ready()?;
    fs::rename(&disk, &away)?;
    let line = share(&ada, "it is away", |line| line["state"] == "offline")?;
    assert_eq!(line["files"], 0, "nothing is offered: {line}");
    fs::rename(&away, &disk)?;
    ada.verb(&["share", "rescan"])?.ok()?;
    share(&ada, "it is back", |line| line["state"] == "ready" && line["files"] == 1)?;

    fs::create_dir(&away)?;
    fs::rename(disk.join("film.mkv"), away.join("film.mkv"))?;
    share(&ada, "an empty folder is a disk that is away", |line| line["state"] == "offline")?;
    let before = bytes_read(&ada)?;
    fs::rename(away.join("film.mkv"), disk.join("film.mkv"))?;
    let line = share(&ada, "it is back", |line| line["state"] == "ready")?;
    assert_eq!((&line["files"], &line["hashed_bytes"]), (&(1.into()), &((1_u64 << 20).into())));
    assert!(bytes_read(&ada)? - before < 1 << 20, "it is known, and not read again");
    Ok(())
}

#[test]
fn what_is_hidden_is_not_shared_unless_it_is_asked_for() -> Result {
    let town = Town::new()?;
    let home = town.path("home");
    for name in [".ssh/id_ed25519", "server.key", "letter.txt", "draft.tmp", "notes/private.txt"] {
        tree::file(&home.join(name), 1, 100)?;
    }
    let ada = town.node("ada").share(&home).start_ready()?;
    let line = share(&ada, "it is listed", |line| line["state"] == "ready")?;
    assert_eq!((&line["files"], &line["skipped_count"]), (&2.into(), &3.into()), "{line}");
    fs::write(home.join(".potluckignore"), "notes/\n!draft.tmp\n")?;
    let line = share(&ada, "the rules are followed", |line| line["skipped_count"] == 4)?;
    assert_eq!(line["files"], 2, "{line}");
    let told = line["skipped"].to_string();
    assert!(told.contains("left out by .potluckignore") && !told.contains("draft.tmp"), "{told}");
    Ok(())
}

/// With room for ten watches only: what the system does not tell is found by looking, and the user is told what would help.
#[test]
fn a_system_that_watches_too_little_says_what_helps_and_loses_nothing() -> Result {
    let limited = "/proc/sys/user/max_inotify_watches";
    let town = Town::new()?;
    let music = town.path("music");
    for number in 0..20 {
        tree::file(&music.join(format!("album {number}/song.flac")), number, 100)?;
    }
    let plan = town.node("ada").share(&music).command();
    let script = format!("echo 10 > {limited} && exec \"$0\" \"$@\"");
    let mut command = std::process::Command::new("unshare");
    command.args(["--user", "--map-root-user", "sh", "-c", &script]).arg(plan.get_program()).args(plan.get_args());
    for (key, value) in plan.get_envs() {
        match value {
            Some(value) => command.env(key, value),
            None => command.env_remove(key),
        };
    }
    if !Path::new(limited).exists() || !is_allowed(&script)? {
        println!("skipped: this machine does not let a test limit watches");
        return Ok(());
    }
    let process = potluck_tests::process::Process::start("ada", &mut command)?;
    let warning = process.event("warning", PATIENCE)?;
    assert!(warning["message"].as_str().is_some_and(|message| message.contains("sudo sysctl fs.inotify.max_user_watches=")), "{warning}");
    process.event("indexed", PATIENCE)?;
    tree::file(&music.join("album 19/new song.flac"), 99, 100)?;
    let town_verb = |args: &[&str]| town.potluck("ada", args);
    town_verb(&["share", "rescan"])?.ok()?;
    eventually(PATIENCE, "the sweep finds it", || {
        let files = town_verb(&["share", "ls"])?.ok()?.only()?["files"].clone();
        Ok((files == 21).then_some(()))
    })?;
    Ok(())
}

fn is_allowed(script: &str) -> Result<bool> {
    let probe = std::process::Command::new("unshare").args(["--user", "--map-root-user", "sh", "-c", script, "true"]).output();
    Ok(probe.is_ok_and(|probe| probe.status.success()))
}

/// What the last run wrote down is told first, and is only a beginning: what was changed while the node was away counts. And a run
/// that was killed leaves nothing behind that the next one, or the tracker, takes for the truth.
#[test]
fn what_changed_while_the_node_was_away_is_right_after_its_restart() -> Result {
    let town = Town::new()?;
    let (music, films) = (town.path("music"), town.path("films"));
    for (seed, name) in (1..).zip(["alpha.flac", "bravo.flac", "charlie.flac", "delta.flac"]) {
        old_file(&music.join(name), seed, 1000)?;
    }
    old_file(&films.join("foxtrot.mkv"), 7, 1000)?;
    let tracker = town.tracker("tracker")?;
    let bob = town.node("bob").tracker(&tracker).start_ready()?;
    let ada = || town.node("ada").share(&music).share(&films).tracker(&tracker);
    let mut first = ada().start_ready()?;
    bob.find("alpha.flac", 1)?;
    let before = bob.find("charlie.flac", 1)?;
    // it is killed after something that it could not write down, and ends in order after something else
    tree::file(&music.join("hotel.flac"), 20, 1000)?;
    bob.find("hotel.flac", 1)?;
    first.restart()?;
    first.process().event("indexed", PATIENCE)?;
    bob.find("hotel.flac", 1)?;
    first.terminate()?;
    is_gone(&bob, "alpha.flac")?;

    fs::remove_file(music.join("bravo.flac"))?;
    old_file(&music.join("charlie.flac"), 30, 2000)?;
    fs::rename(music.join("delta.flac"), music.join("echo.flac"))?;
    fs::rename(&films, town.path("other films"))?;
    old_file(&films.join("golf.mkv"), 31, 1000)?;
    let _again = ada().start_ready()?;
    for name in ["alpha.flac", "hotel.flac", "echo.flac", "golf.mkv"] {
        bob.find(name, 1)?;
    }
    for name in ["bravo.flac", "delta.flac", "foxtrot.mkv"] {
        is_gone(&bob, name)?;
    }
    eventually(PATIENCE, "the change is found", || {
        let hit = bob.find("charlie.flac", 1)?;
        Ok((hit["content_id"].is_string() && hit["content_id"] != before["content_id"]).then_some(()))
    })
}
