//! How large shares may be, and what they cost. These measure, so they are run by hand and alone: `just gauntlet large_shares`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use potluck_tests::clock::{eventually, now, pause};
use potluck_tests::{Result, town::Node, town::Town};

const LONG: Duration = Duration::from_secs(600);
const MIB: u64 = 1 << 20;
/// Files of a folder of the made trees: an album.
const PER_FOLDER: u32 = 100;

/// A tree of so many small files that nobody has touched for years.
fn tree(root: &Path, files: u32) -> Result {
    let old = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_500_000_000);
    for folder in 0..files / PER_FOLDER {
        let dir = root.join(format!("artist {:03}/album {:02}", folder / 100, folder % 100));
        fs::create_dir_all(&dir)?;
        for track in 0..PER_FOLDER {
            let number = folder * PER_FOLDER + track;
            let path = dir.join(format!("{track:02} track number{number}.flac"));
            fs::write(&path, number.to_le_bytes())?;
            fs::File::options().write(true).open(&path)?.set_modified(old)?;
        }
    }
    Ok(())
}

/// Bytes that a process has had read from disks; files in the page cache count not.
fn counter(node: &Node, name: &str) -> Result<u64> {
    let io = fs::read_to_string(format!("/proc/{}/io", node.process().id()))?;
    Ok(io.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")?.parse().ok()).unwrap_or(0))
}

#[test]
#[ignore = "makes a million files; measures"]
fn a_million_files_are_found_in_half_a_minute_and_after_a_restart_in_seconds() -> Result {
    const FILES: u32 = 1_000_000;
    let town = Town::new()?;
    let share = town.path("music");
    tree(&share, FILES)?;
    let tracker = town.tracker("tracker")?;
    let last = format!("number{}", FILES - 1);
    let bob = town.node("bob").tracker(&tracker).start_ready()?;
    let start = now();
    let mut ada = town.node("ada").share(&share).tracker(&tracker).start()?;
    for run in ["cold", "again"] {
        let start = if run == "cold" { start } else { now() };
        if run == "again" {
            ada.restart()?;
        }
        ada.process().event("listed", LONG)?;
        println!("{run}: listed after {:?}, {} MiB", start.elapsed(), ada.process().vitals()?.memory / MIB);
        eventually(LONG, "the last one is found", || Ok((!bob.verb(&["search", &last])?.lines.is_empty()).then_some(())))?;
        println!("{run}: found after {:?}, {} MiB", start.elapsed(), ada.process().vitals()?.memory / MIB);
        ada.process().event("indexed", LONG)?;
        let vitals = ada.process().vitals()?;
        println!(
            "{run}: hashed after {:?}, {} MiB now, {} MiB at most, {:?} of a core",
            start.elapsed(),
            vitals.memory / MIB,
            vitals.peak_memory / MIB,
            vitals.cpu
        );
    }
    println!("tracker: {} MiB", tracker.process().vitals()?.memory / MIB);
    Ok(())
}

#[test]
#[ignore = "makes a hundred thousand files; measures"]
fn a_hundred_thousand_renamed_files_are_not_read_and_an_idle_node_is_idle() -> Result {
    const FILES: u32 = 100_000;
    let town = Town::new()?;
    let share = town.path("music");
    tree(&share, FILES)?;
    let tracker = town.tracker("tracker")?;
    let bob = town.node("bob").tracker(&tracker).start_ready()?;
    let ada = town.node("ada").share(&share).tracker(&tracker).start()?;
    ada.process().event("indexed", LONG)?;
    pause(Duration::from_secs(20)); // what follows the hashing ends
    let before = ada.process().vitals()?;
    pause(Duration::from_secs(30)); // this is what is measured
    let after = ada.process().vitals()?;
    let part = (after.cpu - before.cpu).as_secs_f64() / 30.0 * 100.0;
    println!("idle: {} MiB, {part:.2} % of a core", after.memory / MIB);

    let (rchar, read) = (counter(&ada, "rchar")?, counter(&ada, "read_bytes")?);
    let start = now();
    fs::create_dir(share.join("all"))?;
    for folder in 0..FILES / PER_FOLDER / 100 {
        let name = format!("artist {folder:03}");
        fs::rename(share.join(&name), share.join("all").join(&name))?;
    }
    let last = format!("all number{}", FILES - 1);
    eventually(LONG, "the new place is known", || {
        Ok((bob.verb(&["search", &last])?.lines.first().is_some_and(|hit| hit["content_id"].is_string())).then_some(()))
    })?;
    println!(
        "renamed: right after {:?}; {} bytes read by calls (database and messages with it), {} from disks",
        start.elapsed(),
        counter(&ada, "rchar")? - rchar,
        counter(&ada, "read_bytes")? - read
    );
    Ok(())
}
