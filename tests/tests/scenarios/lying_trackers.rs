//! Trackers and peers that lie about where others are, and that do not come to an end.

use std::time::Duration;

use potluck_common::wire::Refusal;
use potluck_tests::clock::{PATIENCE, eventually, now};
use potluck_tests::hostile::{Lie, Offer, Plan};
use potluck_tests::siege::Siege;
use potluck_tests::town::Town;
use potluck_tests::victim::Victim;
use potluck_tests::{Result, tree};

/// What a node may grow by while it is lied to.
const GROWTH: u64 = 32 << 20;

/// G043, G045: sixty peers that all are at one place make a node knock there a few times, not sixty.
#[test]
fn a_node_is_no_weapon_against_somebody_else() -> Result {
    let town = Town::new()?;
    let victim = Victim::listen("127.0.0.1:0")?;
    let offer = Offer::new("share/film", tree::content(1, 3 << 20));
    let liar = Plan::new(Lie::Refuse(Refusal::NotFound), [offer]).pointing_at(victim.multiaddr()).start()?;
    let bob = town.node("bob").start()?;
    bob.verb(&["dial", liar.address()])?.ok()?;
    let siege = Siege::begin(bob.process())?;
    let hit = bob.find("film", 1)?;
    bob.download(&[hit["content_id"].as_str().unwrap_or_default(), "--timeout", "8"])?.refused(4)?;
    let knocks = victim.knocks();
    assert!((1..=24).contains(&knocks), "{knocks} connections to somebody who has nothing to do with it");
    siege.lifted(GROWTH)?;
    Ok(())
}

/// G047: a listing without end is given up, and the node goes on.
#[test]
fn a_listing_without_end_is_given_up() -> Result {
    let town = Town::new()?;
    let offers = (0..50).map(|number| Offer::new(format!("share/{number:03}"), vec![number; 10]));
    let liar = Plan::new(Lie::Nothing, offers).without_end().start()?;
    let bob = town.node("bob").start()?;
    bob.verb(&["dial", liar.address()])?.ok()?;
    let siege = Siege::begin(bob.process())?;
    let began = now();
    let listing = bob.begin(&["query", liar.peer_id()])?;
    let finished = listing.finish(Duration::from_secs(60))?;
    assert!(began.elapsed() < Duration::from_secs(60) && finished.lines.len() < 2_000_000, "{} lines", finished.lines.len());
    siege.lifted(GROWTH)?;
    eventually(PATIENCE, "bob still searches", || Ok(bob.find("007", 1).ok().map(drop)))
}
