//! How large shares may be, and what they cost. These measure, so they are run by hand and alone: `just gauntlet large_shares`.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use potluck_tests::browser::Browser;
use potluck_tests::clock::{eventually, now, pause};
use potluck_tests::process::Process;
use potluck_tests::{Result, town::Node, town::Town};

const LONG: Duration = Duration::from_secs(600);
const MIB: u64 = 1 << 20;
/// Files of a folder of the made trees: an album.
const PER_FOLDER: u32 = 100;
/// Bytes of a file whose reading is to be noticed among what the database reads.
const NOTICED: usize = 8 << 10;

/// A tree of so many files that nobody has touched for years: its number, then zeros up to `bytes`.
fn tree(root: &Path, files: u32, bytes: usize) -> Result {
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_500_000_000);
    let mut content = vec![0; bytes.max(4)];
    for folder in 0..files / PER_FOLDER {
        let dir = root.join(format!("artist {:03}/album {:02}", folder / 100, folder % 100));
        fs::create_dir_all(&dir)?;
        for track in 0..PER_FOLDER {
            let number = folder * PER_FOLDER + track;
            let path = dir.join(format!("{track:02} track number{number}.flac"));
            content[..4].copy_from_slice(&number.to_le_bytes());
            fs::write(&path, &content)?;
            fs::File::options().write(true).open(&path)?.set_modified(old)?;
        }
    }
    Ok(())
}

/// A counter of `/proc/PID/io`: `rchar`, all bytes that the process has read, also of its database and from the page cache;
/// `read_bytes`, what disks delivered for it.
fn counter(node: &Node, name: &str) -> Result<u64> {
    let io = fs::read_to_string(format!("/proc/{}/io", node.process().id()))?;
    Ok(io.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")?.parse().ok()).unwrap_or(0))
}

/// Waits until somebody who asks the tracker finds a file, with its content or not.
fn await_hit(asker: &Node, text: &str, hashed: bool) -> Result {
    eventually(LONG, "it is found", || {
        let lines = asker.verb(&["search", text])?.lines;
        Ok(lines.first().is_some_and(|hit| !hashed || hit["content_id"].is_string()).then_some(()))
    })
}

/// How long a call of the page takes, at best of three.
fn timed(node: &Node, path: &str) -> Result<Duration> {
    let page = node.page()?;
    let mut best = Duration::MAX;
    for _ in 0..3 {
        let start = now();
        page.get(path)?;
        best = best.min(start.elapsed());
    }
    Ok(best)
}

/// Opens the page of one node in a browser at the files of another, as somebody does who has kept the address; tells how long it took.
fn look_at_page(at: &Node, of: &Node) -> Result<String> {
    let Some(browser) = Browser::start()? else { return Ok("no browser".to_owned()) };
    let mut told = String::new();
    let way_in = at.verb(&["page"])?.ok()?.only()?.clone();
    browser.open(way_in["link"].as_str().unwrap_or_default())?;
    browser.find("#q")?;
    for place in ["", "music", "music%2Fartist%20050%2Falbum%2050"] {
        browser.open("about:blank")?;
        browser.open(&format!("{}#peers/{}/{place}", way_in["address"].as_str().unwrap_or_default(), of.peer_id()))?;
        let rows = eventually(LONG, "the files are listed", || {
            Ok(browser.run("return document.querySelector('.list .row') ? performance.now() : null")?.as_f64())
        })?;
        let painted = browser.first_paint()?;
        told.push_str(&format!("in a browser `{place}`: first picture after {painted:?}, its files after {rows:.0} ms\n"));
        assert!(painted < Duration::from_secs(1) && rows < 1000.0, "{told}");
    }
    Ok(told)
}

#[test]
#[ignore = "makes a million files; measures"]
fn a_million_files_are_found_in_half_a_minute_and_after_a_restart_in_seconds() -> Result {
    const FILES: u32 = 1_000_000;
    let town = Town::new()?;
    let share = town.path("music");
    tree(&share, FILES, 4)?;
    let tracker = town.tracker("tracker")?;
    let last = format!("number{}", FILES - 1);
    let bob = town.node("bob").arg("--page").arg("127.0.0.1:0").tracker(&tracker).start_ready()?;
    let mut start = now();
    let mut ada = town.node("ada").share(&share).tracker(&tracker).start()?;
    for run in ["cold", "again"] {
        if run == "again" {
            pause(Duration::from_secs(15)); // what was hashed last is written down
            start = now();
            ada.restart()?;
        }
        ada.process().event("listed", LONG)?;
        let listed = (start.elapsed(), ada.process().vitals()?.memory);
        await_hit(&bob, &last, run == "again")?;
        let found = (start.elapsed(), ada.process().vitals()?.memory);
        ada.process().event("indexed", LONG)?;
        let vitals = ada.process().vitals()?;
        println!(
            "{run}: listed after {:?}, {} MiB; found after {:?}, {} MiB; hashed after {:?}, {:?} of a core, {} MiB now, {} MiB at most",
            listed.0,
            listed.1 / MIB,
            found.0,
            found.1 / MIB,
            start.elapsed(),
            vitals.cpu,
            vitals.memory / MIB,
            vitals.peak_memory / MIB
        );
        let most = Duration::from_secs(if run == "cold" { 30 } else { 5 });
        assert!(found.0 < most && vitals.peak_memory < 300 * MIB, "{run}");
    }
    let root = timed(&bob, &format!("/api/v1/peers/{}/files", ada.peer_id()))?;
    let folder = timed(&bob, &format!("/api/v1/peers/{}/files?path=music/artist%20050/album%2050", ada.peer_id()))?;
    println!(
        "the page of another: its status after {:?}, the root of the million {root:?}, a folder of it {folder:?}",
        timed(&bob, "/api/v1/status")?
    );
    assert!(root < Duration::from_secs(1) && folder < Duration::from_secs(1));
    println!("{}", look_at_page(&bob, &ada)?);
    println!("tracker: {} MiB", tracker.process().vitals()?.memory / MIB);
    Ok(())
}

#[test]
#[ignore = "makes a hundred thousand files; measures"]
fn a_hundred_thousand_renamed_files_are_not_read_and_an_idle_node_is_idle() -> Result {
    const FILES: u32 = 100_000;
    let town = Town::new()?;
    let share = town.path("music");
    tree(&share, FILES, NOTICED)?;
    let tracker = town.tracker("tracker")?;
    let bob = town.node("bob").tracker(&tracker).start_ready()?;
    let ada = town.node("ada").share(&share).tracker(&tracker).start()?;
    ada.process().event("indexed", LONG)?;
    pause(Duration::from_secs(45)); // what follows the hashing ends
    let before = ada.process().vitals()?;
    pause(Duration::from_secs(120)); // this is what is measured
    let after = ada.process().vitals()?;
    let part = (after.cpu - before.cpu).as_secs_f64() / 120.0 * 100.0;
    println!(
        "idle: {} MiB, {part:.2} % of a core; a node that shares nothing: {} MiB",
        after.memory / MIB,
        bob.process().vitals()?.memory / MIB
    );

    let (rchar, read) = (counter(&ada, "rchar")?, counter(&ada, "read_bytes")?);
    let start = now();
    fs::create_dir(share.join("all"))?;
    for folder in 0..FILES / PER_FOLDER / 100 {
        let name = format!("artist {folder:03}");
        fs::rename(share.join(&name), share.join("all").join(&name))?;
    }
    let peer = ada.peer_id().to_owned();
    eventually(LONG, "all is in its new place and nothing in its old", || {
        let places = bob.verb(&["search", "track"])?.lines;
        let is_moved = places.iter().all(|hit| hit["path"].as_str().is_none_or(|path| path.starts_with("music/all/")));
        let first = bob.verb(&["search", "all number0.flac"])?.lines;
        let last = bob.verb(&["search", &format!("all number{}", FILES - 1)])?.lines;
        let are_hashed = [first, last].iter().all(|hits| hits.first().is_some_and(|hit| hit["content_id"].is_string()));
        let counted = bob.peers()?.iter().any(|line| line["peer_id"] == peer && line["files"] == FILES);
        Ok((is_moved && are_hashed && counted).then_some(()))
    })?;
    let took = start.elapsed();
    let (rchar, read) = (counter(&ada, "rchar")? - rchar, counter(&ada, "read_bytes")? - read);
    println!(
        "renamed: right after {took:?}; {rchar} bytes read by calls (database and messages), {read} from disks, of {} in the files",
        FILES as usize * NOTICED
    );
    assert!(rchar < u64::from(FILES) * NOTICED as u64 / 10, "files were read again: {rchar} bytes");
    assert!(took < Duration::from_secs(10) && after.memory < 56 * MIB && part < 1.0);
    Ok(())
}

/// In a user namespace of its own, the limit is the node's alone.
#[test]
#[ignore = "waits for two sweeps"]
fn with_room_for_ten_watches_nothing_is_lost_after_two_sweeps() -> Result {
    const SWEEPS: Duration = Duration::from_secs(75);
    let town = Town::new()?;
    let share = town.path("music");
    tree(&share, 3_000, 4)?;
    let tracker = town.tracker("tracker")?;
    let bob = town.node("bob").tracker(&tracker).start_ready()?;
    let plain = town.node("ada").share(&share).tracker(&tracker).command();
    let mut limited = Command::new("unshare");
    limited.args(["--user", "--map-root-user", "sh", "-c", "echo 10 > /proc/sys/user/max_inotify_watches && exec \"$0\" \"$@\""]);
    limited.arg(plain.get_program()).args(plain.get_args());
    limited.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    fs::create_dir_all(town.path("ada downloads"))?;
    let ada = Process::start("ada", &mut limited)?;
    ada.event("indexed", LONG)?;
    let warning = ada.event("warning", LONG)?;
    assert!(warning["message"].as_str().is_some_and(|message| message.contains("max_user_watches=")), "{warning}");
    await_hit(&bob, "number2999", true)?;

    let start = now();
    fs::rename(share.join("artist 000/album 05"), share.join("moved"))?;
    fs::remove_file(share.join("artist 000/album 06/00 track number600.flac"))?;
    fs::write(share.join("artist 000/album 07/newcomer.flac"), "new")?;
    eventually(SWEEPS, "all three are noticed", || {
        let is_gone = bob.verb(&["search", "number600.flac"])?.lines.is_empty();
        let are_there = ["moved number599", "newcomer"].iter().try_fold(true, |all, text| {
            Ok::<bool, potluck_tests::Failure>(
                all && bob.verb(&["search", text])?.lines.first().is_some_and(|hit| hit["content_id"].is_string()),
            )
        })?;
        Ok((is_gone && are_there).then_some(()))
    })?;
    println!("with ten watches: all is right after {:?}", start.elapsed());
    Ok(())
}
