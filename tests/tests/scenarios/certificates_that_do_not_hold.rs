//! QUIC with certificates that libp2p does not allow: who shows one is let in by neither tracker nor node, which stay as they were.

use potluck_tests::caller::{Badge, call};
use potluck_tests::clock::PATIENCE;
use potluck_tests::process::Process;
use potluck_tests::siege::Siege;
use potluck_tests::town::Town;
use potluck_tests::{Failure, Result};

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
fn who_shows_a_certificate_that_does_not_hold_is_not_let_in() -> Result {
    let town = Town::new()?;
    let tracker = town.tracker_with("tracker", &["--listen", QUIC])?;
    let ada = town.node("ada").arg("--listen").arg(QUIC).start()?;
    for process in [tracker.process(), ada.process()] {
        let address = by_quic(process)?;
        let siege = Siege::begin(process)?;
        assert!(call(&address, Badge::Honest)?, "an honest one is let in");
        for badge in BADGES {
            for _ in 0..TIMES {
                assert!(!call(&address, badge)?, "{badge:?} is let in at {address}");
            }
        }
        assert!(call(&address, Badge::Honest)?, "an honest one is let in as before");
        siege.lifted(GROWTH)?;
    }
    Ok(())
}

/// Where a program listens by QUIC.
fn by_quic(process: &Process) -> Result<String> {
    let is_quic = |line: &serde_json::Value| line["address"].as_str().is_some_and(|address| address.contains("/quic-v1/"));
    let line = process.line("an address of QUIC", PATIENCE, |line| line["event"] == "listening" && is_quic(line))?;
    line["address"].as_str().map(ToOwned::to_owned).ok_or_else(|| Failure::new("no address"))
}
