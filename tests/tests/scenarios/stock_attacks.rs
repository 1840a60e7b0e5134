//! What libp2p's rendezvous server does not withstand as it is: throw-away identities, replayed cookies. Ours does.

use libp2p::identity::Keypair;
use potluck_common::codec::encode;
use potluck_common::namespace::Namespace;
use potluck_common::wire::index::{Publish, Request};
use potluck_common::wire::{Bounded, Text};
use potluck_tests::Result;
use potluck_tests::clock::PATIENCE;
use potluck_tests::siege::Siege;
use potluck_tests::stranger::{Door, Stranger};
use potluck_tests::town::{NAMESPACE, Town, Tracker};

/// What a tracker may grow by under any of these.
const GROWTH: u64 = 64 << 20;
/// The same for cookies.
const COOKIES: u64 = 16 << 20;

/// Registers as peers that are gone in the next moment, by rendezvous and by publishing. Returns how many were let in.
fn throw_away(tracker: &Tracker, count: usize) -> Result<usize> {
    let namespace: Namespace = NAMESPACE.parse()?;
    let publish = Publish {
        namespace,
        nickname: Text::truncated("nobody"),
        addresses: Bounded::default(),
        epoch: 1,
        base: 0,
        revision: 1,
        changes: Bounded::default(),
    };
    let publish = encode(&Request::Publish(publish))?;
    let mut let_in = 0;
    for number in 0..count {
        let mut stranger = Stranger::connect(tracker.address())?;
        if number % 2 == 0 {
            let_in += usize::from(stranger.register(NAMESPACE).is_ok());
        } else {
            stranger.say(Door::Index, &publish)?;
            let_in += 1;
        }
    }
    Ok(let_in)
}

/// G054, at a size that fits a test: more identities than a namespace has room for, each gone at once.
#[test]
fn identities_that_are_thrown_away_lock_nobody_out() -> Result {
    let town = Town::new()?;
    let tracker = town.tracker_with("tracker", &["--limit", "peers-per-namespace=40"])?;
    let siege = Siege::begin(tracker.process())?;
    assert!(throw_away(&tracker, 120)? > 40, "the attack did not even begin");
    let honest = (0..6).map(|number| town.node(&format!("honest {number}")).tracker(&tracker).start_ready()).collect::<Result<Vec<_>>>()?;
    for node in &honest {
        node.sees(honest[0].peer_id(), true, PATIENCE)?;
    }
    drop(honest);
    siege.lifted(GROWTH)?;
    Ok(())
}

/// G054 on a private tracker: nobody is let in who is not invited, so nothing is to be filled.
#[test]
fn a_private_tracker_has_no_room_for_identities_without_an_invitation() -> Result {
    let town = Town::new()?;
    let tracker = town.tracker_with("tracker", &["--private"])?;
    let siege = Siege::begin(tracker.process())?;
    for _ in 0..40 {
        let mut eve = Stranger::connect(tracker.address())?;
        assert!(eve.register(NAMESPACE).is_err() && eve.replay_cookies(1).is_err_and(|_| true) || eve.replay_cookies(1)? == 0);
    }
    siege.lifted(GROWTH)?;
    Ok(())
}

/// G020: who has somebody's signed record cannot register it.
#[test]
fn the_record_of_somebody_else_is_not_registered() -> Result {
    let town = Town::new()?;
    let tracker = town.tracker("tracker")?;
    let ada = Keypair::generate_ed25519();
    let mut eve = Stranger::connect_with_record_of(&ada, tracker.address())?;
    let refused = eve.register(NAMESPACE).unwrap_err();
    assert!(refused.message().contains("NotAuthorized"), "{refused}");
    let mut honest = Stranger::connect(tracker.address())?;
    honest.register(NAMESPACE)?;
    assert_eq!(honest.discover(NAMESPACE)?, [honest.peer_id()]);
    Ok(())
}

/// Returns how many discoveries were answered, and by how many bytes the tracker grew.
fn replays(times: usize) -> Result<(usize, u64)> {
    let town = Town::new()?;
    let tracker = town.tracker("tracker")?;
    let mut members = Vec::new();
    for _ in 0..20 {
        let mut member = Stranger::connect(tracker.address())?;
        member.register(NAMESPACE)?;
        members.push(member);
    }
    let mut eve = Stranger::connect(tracker.address())?;
    eve.replay_cookies(1)?;
    let siege = Siege::begin(tracker.process())?;
    let answered = eve.replay_cookies(times)?;
    let ada = town.node("ada").tracker(&tracker).start_ready()?;
    ada.sees(ada.peer_id(), true, PATIENCE)?;
    drop((ada, members));
    Ok((answered, siege.lifted(COOKIES)?))
}

/// G055, short.
#[test]
fn cookies_that_are_asked_for_again_and_again_cost_little() -> Result {
    let (answered, _) = replays(1_000)?;
    assert!(answered > 0, "the attack did not even begin");
    Ok(())
}

/// G055.
#[test]
#[ignore = "a hundred thousand answers take minutes: just gauntlet"]
fn a_hundred_thousand_cookies_cost_little() -> Result {
    let (answered, grown) = replays(100_000)?;
    println!("{answered} of 100,000 discoveries were answered; the tracker grew by {grown} bytes");
    Ok(())
}
