//! Trackers and peers that lie about where others are, and that do not come to an end.

use std::time::Duration;

use potluck_common::wire::Refusal;
use potluck_tests::clock::{PATIENCE, eventually, now};
use potluck_tests::hostile::{Lie, Offer, Plan};
use potluck_tests::siege::{HONEST_BYTES, endures};
use potluck_tests::town::Town;
use potluck_tests::victim::Victim;
use potluck_tests::{Result, network, tree};

/// What a node may grow by while it is lied to.
const GROWTH: u64 = 32 << 20;
/// How often a node may dial one IP address within an hour, whoever names it.
const TRIES: u32 = 3;

/// G043, G045: sixty peers that all are at one place make a node knock there a few times, not sixty.
#[test]
fn a_node_is_no_weapon_against_somebody_else() -> Result {
    let town = Town::new()?;
    let knocks = aim_at(&town, &Victim::listen("127.0.0.1:0")?)?;
    assert!((1..=24).contains(&knocks), "{knocks} connections to somebody who has nothing to do with it");
    Ok(())
}

/// G043, where the victim is not this machine, at which there may be many nodes.
#[test]
fn a_node_is_no_weapon_against_somebody_far_away() -> Result {
    if !network::is_inside(module_path!(), "a_node_is_no_weapon_against_somebody_far_away", &["198.51.100.66/32"])? {
        return Ok(());
    }
    let town = Town::new()?;
    let knocks = aim_at(&town, &Victim::listen("198.51.100.66:0")?)?;
    assert!((1..=TRIES).contains(&knocks), "{knocks} connections to somebody who has nothing to do with it");
    Ok(())
}

/// A peer offers a file that sixty others are said to have, all of them at a victim's. Returns how often a node that wants it knocks there.
fn aim_at(town: &Town, victim: &Victim) -> Result<u32> {
    let hash = tree::file(&town.path("music/live.flac"), 40, HONEST_BYTES)?;
    let bob = town.node("bob").share(&town.path("music")).start_ready()?;
    let offer = Offer::new("share/film", tree::content(1, 3 << 20));
    let liar = Plan::new(Lie::Refuse(Refusal::NotFound), [offer]).pointing_at(victim.multiaddr()).start()?;
    endures(town, &bob, &hash, GROWTH, || {
        bob.verb(&["dial", liar.address()])?.ok()?;
        let hit = bob.find("film", 1)?;
        bob.download(&[hit["content_id"].as_str().unwrap_or_default(), "--timeout", "8"])?.refused(4).map(drop)
    })?;
    Ok(victim.knocks())
}

/// G047: a listing without end is given up, and the node goes on.
#[test]
fn a_listing_without_end_is_given_up() -> Result {
    let town = Town::new()?;
    let hash = tree::file(&town.path("music/live.flac"), 41, HONEST_BYTES)?;
    let offers = (0..50).map(|number| Offer::new(format!("share/{number:03}"), vec![number; 10]));
    let liar = Plan::new(Lie::Nothing, offers).without_end().start()?;
    let bob = town.node("bob").share(&town.path("music")).start_ready()?;
    bob.verb(&["dial", liar.address()])?.ok()?;
    endures(&town, &bob, &hash, GROWTH, || {
        let began = now();
        let listing = bob.begin(&["query", liar.peer_id()])?;
        let finished = listing.finish(Duration::from_secs(60))?;
        assert!(began.elapsed() < Duration::from_secs(60) && finished.lines.len() < 2_000_000, "{} lines", finished.lines.len());
        Ok(())
    })?;
    eventually(PATIENCE, "bob still searches", || Ok(bob.find("007", 1).ok().map(drop)))
}
