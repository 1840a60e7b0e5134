//! Too much at once: floods of requests, and readers that do not read. Others are served all the same.

use std::time::Duration;

use potluck_common::codec::encode;
use potluck_common::content_id::ContentId;
use potluck_common::wire::piece::Request;
use potluck_tests::clock::now;
use potluck_tests::siege::{HONEST_BYTES, endures};
use potluck_tests::stranger::{Door, Stranger};
use potluck_tests::town::Town;
use potluck_tests::{Result, tree};

/// What the memory of a node may grow by under a flood.
const GROWTH: u64 = 48 << 20;
/// How long others may wait while nobody reads what is sent to him: the time after which a slot is free again, and the rest.
const WAIT: Duration = Duration::from_secs(25);

/// G008, G010: thousands of requests, many at a time, for what is not there.
#[test]
fn a_flood_of_requests_is_answered_or_cut_and_the_node_stays_small() -> Result {
    const AT_ONCE: usize = 90;
    let town = Town::new()?;
    let hash = tree::file(&town.path("music/live.flac"), 90, HONEST_BYTES)?;
    let ada = town.node("ada").share(&town.path("music")).start_ready()?;
    endures(&town, &ada, &hash, GROWTH, || {
        let mut stranger = Stranger::connect(ada.address())?;
        let request = encode(&Request::Have { content_id: ContentId::of(b"nothing"), from: 0 })?;
        let before = ada.process().vitals()?.cpu;
        for _ in 0..30 {
            stranger.flood(Door::Piece, &request, AT_ONCE, AT_ONCE)?;
        }
        let spent = ada.process().vitals()?.cpu.saturating_sub(before);
        assert!(spent < Duration::from_secs(6), "2,700 requests took {spent:?} of processor time");
        Ok(())
    })
}

/// G018, at a size for every day.
#[test]
fn who_connects_and_leaves_again_and_again_leaves_nothing_behind() -> Result {
    flap(200)?;
    Ok(())
}

/// G018.
#[test]
#[ignore = "six thousand handshakes: just gauntlet"]
fn who_connects_and_leaves_six_thousand_times_leaves_nothing_behind() -> Result {
    println!("six thousand came and left in {:?}", flap(6_000)?);
    Ok(())
}

/// Connects, proves an identity, and leaves, so many times as fast as that goes. Returns how long that took.
fn flap(times: usize) -> Result<Duration> {
    let town = Town::new()?;
    let hash = tree::file(&town.path("music/live.flac"), 92, HONEST_BYTES)?;
    let ada = town.node("ada").share(&town.path("music")).start_ready()?;
    let mut taken = Duration::ZERO;
    endures(&town, &ada, &hash, GROWTH, || {
        let began = now();
        (0..times).try_for_each(|_| Stranger::connect(ada.address()).map(drop))?;
        taken = began.elapsed();
        Ok(())
    })?;
    Ok(taken)
}

/// G014: a peer asks for everything and reads nothing.
#[test]
fn a_reader_that_does_not_read_does_not_keep_others_waiting() -> Result {
    serve_beside_those_who_do_not_read(2)?;
    Ok(())
}

/// G014, a hundred times.
#[test]
#[ignore = "a hundred connections that are full: just gauntlet"]
fn a_hundred_readers_that_do_not_read_do_not_keep_others_waiting() -> Result {
    let (waited, grown) = serve_beside_those_who_do_not_read(100)?;
    println!("an honest peer waited for {waited:?}, and the node grew by {grown} bytes");
    Ok(())
}

/// Returns how long an honest peer waited for its file, and by how many bytes the node grew meanwhile.
fn serve_beside_those_who_do_not_read(readers: usize) -> Result<(Duration, u64)> {
    let town = Town::new()?;
    let hash = tree::file(&town.path("music/long.flac"), 91, HONEST_BYTES)?;
    let ada = town.node("ada").share(&town.path("music")).start_ready()?;
    let (mut waited, mut grown) = (Duration::ZERO, 0);
    endures(&town, &ada, &hash, GROWTH, || {
        let before = ada.process().vitals()?.memory;
        let mut strangers = Vec::new();
        for number in 0..readers {
            let mut stranger = Stranger::connect(ada.address())?;
            // 60 MiB: more than all buffers between here and there hold; the first answer shows that the rest is on its way
            let enough = usize::from(number < 2); // all slots may be taken by then
            stranger.flood(Door::Piece, &encode(&Request::Piece { content_id: hash.parse()?, piece: 7 })?, 60, enough)?;
            strangers.push(stranger);
        }
        let bob = town.node("bob").start_ready()?;
        bob.verb(&["dial", ada.address()])?.ok()?;
        let began = now();
        bob.download(&[&hash])?.ok()?;
        waited = began.elapsed();
        assert!(waited < WAIT, "waited for {waited:?}");
        grown = ada.process().vitals()?.memory.saturating_sub(before);
        assert!(grown < 3 * GROWTH, "the node grew by {grown} bytes");
        Ok(())
    })?;
    Ok((waited, grown))
}
