//! Peers that lie: whatever a source answers, only the right bytes reach the disk, and an honest source is enough.

use potluck_common::wire::Refusal;
use potluck_tests::clock::{PATIENCE, eventually, now};
use potluck_tests::hostile::{Lie, Offer, Plan};
use potluck_tests::siege::{HONEST_BYTES, endures};
use potluck_tests::town::Town;
use potluck_tests::{Result, tree};

/// How many times as long a file may take that a bad source holds up, in one of several tries: what else a machine does may hold up some.
const HELD_UP: f64 = 1.3;
const TIMES: usize = 5;
/// How long a verb may take that waits for three seconds for a source that gives nothing.
const LEFT_AFTER: std::time::Duration = std::time::Duration::from_secs(20);
/// What a node may grow by while it downloads beside liars: the buffers of its first downloads, which it keeps.
const GROWTH: u64 = 64 << 20;
/// Bytes of each file: a few pieces, the last of them short.
const SIZE: usize = (6 << 20) + 1000;

/// G001 to G006, G011: wrong bytes, wrong hashes, wrong sizes, other answers than asked for, frames that lie about their
/// length, endless and stalled ones.
const LIES: [Lie; 19] = [
    Lie::WrongBytes,
    Lie::RandomHashes,
    Lie::HashesOfAnotherFile,
    Lie::Size(SIZE as u64 + 1),
    Lie::Size(SIZE as u64 - 1),
    Lie::Size(1 << 63),
    Lie::Size(0),
    Lie::Growing(SIZE as u64),
    Lie::AnotherPiece,
    Lie::TruncatedBody,
    Lie::ShortPiece,
    Lie::HugeHeaderLength,
    Lie::HugeBodyLength,
    Lie::NoCbor,
    Lie::Endless,
    Lie::Repeated,
    Lie::Refuse(Refusal::Busy),
    Lie::Stall,
    Lie::AnotherKind,
];

#[test]
fn an_honest_source_is_enough_whatever_the_other_one_says() -> Result {
    let town = Town::new()?;
    for (number, _) in LIES.iter().enumerate() {
        tree::file(&town.path(&format!("share/file {number}")), number as u64, SIZE as u64)?;
    }
    let tracker = town.tracker("tracker")?;
    let _ada = town.node("ada").share(&town.path("share")).tracker(&tracker).arg("--limit-up").arg("3MiB/s").start_ready()?;
    let hash = tree::file(&town.path("music/live.flac"), 42, HONEST_BYTES)?;
    let bob = town.node("bob").tracker(&tracker).share(&town.path("music")).start_ready()?;
    endures(&town, &bob, &hash, GROWTH, || {
        LIES.into_iter().enumerate().try_for_each(|(number, lie)| {
            let name = format!("file {number}");
            let offer = Offer::new(format!("share/{name}"), tree::content(number as u64, SIZE));
            let liar = Plan::new(lie, [offer]).at(tracker.address()).start()?;
            let hit = bob.find(&name, 2)?;
            let finished = bob.download(&[hit["content_id"].as_str().unwrap_or_default()])?.ok()?;
            assert_eq!(finished.done().len(), 1, "{lie:?}: {:?}", finished.lines);
            assert!(liar.asked() > 0, "{lie:?} was never asked");
            tree::same_bytes(&town.path(&format!("share/{name}")), &bob.download_dir().join(&name))
        })
    })
}

/// G007: beside an honest source, one that takes requests and gives nothing, or next to nothing, costs little time.
#[test]
fn a_source_that_lets_us_wait_is_left() -> Result {
    const BYTES: u64 = 48 << 20;
    let town = Town::new()?;
    let tracker = town.tracker("tracker")?;
    let hash = tree::file(&town.path("share/film"), 3, BYTES)?;
    let _ada = town.node("ada").share(&town.path("share")).arg("--limit-up").arg("8MiB/s").tracker(&tracker).start_ready()?;
    let fetch = |name: &str, sources| -> Result<_> {
        let node = town.node(name).tracker(&tracker).start_ready()?;
        node.find("film", sources)?;
        let began = now();
        node.download(&[&hash])?.ok()?;
        let taken = began.elapsed();
        tree::same_bytes(&town.path("share/film"), &node.download_dir().join("film"))?;
        Ok(taken)
    };
    let alone = fetch("alone", 1)?;
    for lie in [Lie::Stall, Lie::Drip] {
        let mut beside = Vec::new();
        while beside.iter().all(|taken| *taken > alone.mul_f64(HELD_UP)) {
            let liar = Plan::new(lie, [Offer::new("share/film", tree::content(3, BYTES as usize))]).at(tracker.address()).start()?;
            beside.push(fetch(&format!("{lie:?} {}", beside.len()), 2)?);
            assert!(liar.asked() > 0, "{lie:?} was never asked");
            assert!(beside.len() < TIMES, "{lie:?} held a file up for {beside:?}, which comes in {alone:?}");
        }
    }
    Ok(())
}

/// G007: a verb that is told how long to wait does not wait for longer because its only source takes requests.
#[test]
fn an_only_source_that_sends_nothing_is_not_waited_for_beyond_the_timeout() -> Result {
    let town = Town::new()?;
    let tracker = town.tracker("tracker")?;
    let bob = town.node("bob").tracker(&tracker).start_ready()?;
    for (name, size) in [("large", SIZE), ("small", 1000)] {
        let liar = Plan::new(Lie::Stall, [Offer::new(format!("share/{name}"), tree::content(5, size))]).at(tracker.address()).start()?;
        let hit = bob.find(name, 1)?;
        let began = now();
        let refused = bob.download(&[hit["content_id"].as_str().unwrap_or_default(), "--timeout", "3"])?.refused(4)?;
        assert!(began.elapsed() < LEFT_AFTER, "{name} was waited for for {:?}", began.elapsed());
        assert!(refused.stderr.contains("nothing for 3 s") || refused.stderr.contains("reached for 3 s"), "{}", refused.stderr);
        assert!(liar.asked() > 0, "the liar was never asked for {name}");
    }
    Ok(())
}

/// G011: right bytes under a name that promises a program: the file is saved under the name that was asked for, and nobody
/// can run it.
#[test]
fn a_program_that_comes_is_a_file_and_no_program() -> Result {
    use std::os::unix::fs::PermissionsExt;
    let town = Town::new()?;
    let tracker = town.tracker("tracker")?;
    let content = [b"#!/bin/sh\necho taken over\n".to_vec(), tree::content(4, 2 << 20)].concat();
    let _liar = Plan::new(Lie::Nothing, [Offer::new("share/holiday.jpg.sh", content)]).at(tracker.address()).start()?;
    let bob = town.node("bob").tracker(&tracker).start_ready()?;
    let hit = bob.find("holiday.jpg.sh", 1)?;
    let link = format!("potluck:{}?name=holiday.jpg", hit["content_id"].as_str().unwrap_or_default());
    bob.download(&[&link])?.ok()?;
    let mode = std::fs::metadata(bob.download_dir().join("holiday.jpg"))?.permissions().mode();
    assert_eq!(mode & 0o111, 0, "{mode:o}");
    Ok(())
}

#[test]
fn wrong_bytes_never_reach_the_folder_and_the_liar_is_named() -> Result {
    let town = Town::new()?;
    let content = tree::content(1, SIZE);
    let tracker = town.tracker("tracker")?;
    let bob = town.node("bob").tracker(&tracker).start_ready()?;
    let liar = Plan::new(Lie::WrongBytes, [Offer::new("share/fake", content)]).at(tracker.address()).start()?;
    let hit = bob.find("fake", 1)?;
    bob.download(&[hit["content_id"].as_str().unwrap_or_default(), "--timeout", "3"])?.refused(5)?;
    let banned = bob.process().event("peer_banned", PATIENCE)?;
    assert_eq!(banned["peer_id"], liar.peer_id());
    assert!(!bob.download_dir().join("fake").exists());
    Ok(())
}

/// G003: a size of 2^63 costs neither memory nor a sparse file of that size.
#[test]
fn a_huge_size_costs_nothing() -> Result {
    let town = Town::new()?;
    let tracker = town.tracker("tracker")?;
    let bob = town.node("bob").tracker(&tracker).start_ready()?;
    let before = bob.process().vitals()?.memory;
    let offer = Offer::new("share/huge", tree::content(1, SIZE));
    let liar = Plan::new(Lie::Size(1 << 39), [offer]).at(tracker.address()).start()?;
    let hit = bob.find("huge", 1)?;
    let download = bob.begin(&["download", hit["content_id"].as_str().unwrap_or_default(), "--timeout", "3"])?;
    eventually(PATIENCE, "the liar is asked", || Ok((liar.asked() > 0).then_some(())))?;
    assert_ne!(download.finish(PATIENCE)?.code, Some(0));
    let grown = bob.process().vitals()?.memory.saturating_sub(before);
    assert!(grown < 32 << 20, "the node grew by {grown} bytes");
    let on_disk: u64 = tree::look(bob.download_dir())?.values().map(|seen| seen.size).sum();
    assert!(on_disk <= SIZE as u64, "{on_disk} bytes in the download folder");
    Ok(())
}

/// G019: what a peer calls its program acts on no terminal, and a thousand addresses of it are not kept.
#[test]
fn a_peer_that_introduces_itself_at_length_is_cut_short() -> Result {
    let town = Town::new()?;
    let hash = tree::file(&town.path("music/live.flac"), 43, HONEST_BYTES)?;
    let bob = town.node("bob").share(&town.path("music")).start_ready()?;
    endures(&town, &bob, &hash, 16 << 20, || {
        for (agent, addresses) in [("\u{1b}[2J\u{1b}]0;owned\u{7}\u{202e}dab", 80), (&*"\u{1b}[31m".repeat(2_000), 1_000)] {
            let liar = Plan::new(Lie::Nothing, []).calling_itself(agent, addresses).start()?;
            bob.verb(&["dial", liar.address()])?.ok()?;
            for verb in ["peers", "status", "trackers"] {
                let shown = bob.say(&[verb])?;
                assert!(!shown.chars().any(|letter| (letter.is_control() && letter != '\n') || letter == '\u{202e}'), "{verb}: {shown:?}");
            }
        }
        Ok(())
    })
}
