//! QUIC with certificates that libp2p does not allow: who shows one is let in by neither tracker nor node, which stay as they were.

use potluck_tests::caller::{Badge, call};
use potluck_tests::clock::PATIENCE;
use potluck_tests::process::Process;
use potluck_tests::siege::{HONEST_BYTES, endures, tracker_endures};
use potluck_tests::town::Town;
use potluck_tests::{Failure, Result, tree};

const QUIC: &str = "/ip4/127.0.0.1/udp/0/quic-v1";
/// What a program may grow by, all of them together.
const GROWTH: u64 = 32 << 20;
/// How often each is shown.
const TIMES: usize = 4;
/// What does not hold: of nobody or somebody else, of another time, and in senseless sizes.
const BADGES: [Badge; 13] = [
    Badge::Missing,
    Badge::Noise,
    Badge::OfNobody,
    Badge::OfNoise,
    Badge::OfTwo,
    Badge::OfSomebodyElse,
    Badge::Copied,
    Badge::Expired,
    Badge::NotYetValid,
    Badge::Critical,
    Badge::Long(1 << 20),
    Badge::Many(2),
    Badge::Many(1_000),
];

/// G017.
#[test]
fn who_shows_a_certificate_that_does_not_hold_is_not_let_in_by_a_tracker() -> Result {
    let town = Town::new()?;
    let tracker = town.tracker_with("tracker", &["--listen", QUIC])?;
    tracker_endures(&town, &tracker, None, GROWTH, || show_all_to(tracker.process())).map(drop)
}

/// G017.
#[test]
fn who_shows_a_certificate_that_does_not_hold_is_not_let_in_by_a_node() -> Result {
    let town = Town::new()?;
    let hash = tree::file(&town.path("music/live.flac"), 38, HONEST_BYTES)?;
    let ada = town.node("ada").share(&town.path("music")).arg("--listen").arg(QUIC).start_ready()?;
    endures(&town, &ada, &hash, GROWTH, || show_all_to(ada.process()))
}

fn show_all_to(process: &Process) -> Result {
    let address = by_quic(process)?;
    assert!(call(&address, Badge::Honest)?, "an honest one is let in");
    for badge in BADGES {
        for _ in 0..TIMES {
            assert!(!call(&address, badge)?, "{badge:?} is let in at {address}");
        }
    }
    assert!(call(&address, Badge::Honest)?, "an honest one is let in as before");
    Ok(())
}

/// Where a program listens by QUIC.
fn by_quic(process: &Process) -> Result<String> {
    let is_quic = |line: &serde_json::Value| line["address"].as_str().is_some_and(|address| address.contains("/quic-v1/"));
    let line = process.line("an address of QUIC", PATIENCE, |line| line["event"] == "listening" && is_quic(line))?;
    line["address"].as_str().map(ToOwned::to_owned).ok_or_else(|| Failure::new("no address"))
}
