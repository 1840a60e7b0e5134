//! The tracker tells a public address of a peer only where it sees the peer, or has reached it itself. Played with public addresses, in a
//! network of its own.

use potluck_common::codec::encode;
use potluck_common::namespace::Namespace;
use potluck_common::wire::index::{Address, Answer, Peers, Publish, Request};
use potluck_common::wire::{Bounded, Text};
use potluck_tests::clock::{PATIENCE, eventually};
use potluck_tests::stranger::{Door, Reply, Stranger};
use potluck_tests::town::{NAMESPACE, Town};
use potluck_tests::victim::Victim;
use potluck_tests::{Failure, Result, network, tree};

/// How often the tracker may look for peers at one IP address within an hour, whoever names it.
const TRIES: u32 = 3;

/// G043, by way of the tracker.
#[test]
fn a_public_address_is_told_where_the_tracker_has_reached_its_peer() -> Result {
    // addresses of documents: RFC 5737 and 3849
    let addresses = ["198.51.100.1/32", "2001:db8::7/128", "2001:db8::66/128"];
    if !network::is_inside(module_path!(), "a_public_address_is_told_where_the_tracker_has_reached_its_peer", &addresses)? {
        return Ok(());
    }
    let town = Town::new()?;
    tree::file(&town.path("share/first"), 1, 1_000)?;
    let tracker = town.tracker_with("tracker", &["--listen", "/ip4/198.51.100.1/tcp/0"])?;
    let public = tracker.process().line("its public address", PATIENCE, |line| {
        line["address"].as_str().is_some_and(|address| address.starts_with("/ip4/198.51.100.1/")) //
    })?;
    let public = public["address"].as_str().unwrap_or_default();
    let ada = town.node("ada").share(&town.path("share")).arg("--tracker").arg(public).arg("--listen").arg("/ip6/2001:db8::7/tcp/0");
    let ada = ada.start_ready()?;
    let (at, _) = potluck_tests::town::split_address(ada.address())?;

    // Somebody says to be where ada is, and, with four others, at a victim's, who only counts who knocks.
    let victim = Victim::listen("[2001:db8::66]:0")?;
    let victim_at = victim.multiaddr();
    let mut liars = (0..5).map(|_| Stranger::connect(public)).collect::<Result<Vec<_>>>()?;
    for (revision, liar) in liars.iter_mut().enumerate() {
        claim(liar, &[at, &victim_at], revision as u64 + 1)?;
    }
    eventually(PATIENCE, "the tracker looks for the liars", || {
        liars.iter_mut().try_for_each(|liar| peers(liar).map(drop))?; // whoever is silent is forgotten
        Ok((victim.knocks() > 0).then_some(()))
    })?;

    let mut revision = 10;
    eventually(PATIENCE, "the tracker tells where it has reached ada", || {
        revision += 1;
        tree::file(&town.path(&format!("share/file {revision}")), revision, 1_000)?; // so that she publishes again
        liars.iter_mut().try_for_each(|liar| claim(liar, &[at, &victim_at], revision))?;
        let told = peers(&mut liars[0])?;
        Ok(told.iter().any(|(peer, addresses)| peer == ada.peer_id() && addresses.iter().any(|told| told.starts_with(at))).then_some(()))
    })?;
    let told = peers(&mut liars[0])?;
    let of_liars: Vec<_> = told.iter().filter(|(peer, _)| peer != ada.peer_id()).collect();
    assert!(of_liars.len() == 5 && of_liars.iter().all(|(_, addresses)| addresses.is_empty()), "{told:?}");
    let knocks = victim.knocks();
    assert!((1..=TRIES).contains(&knocks), "the victim heard {knocks} knocks");
    Ok(())
}

/// Says to be at these addresses.
fn claim(peer: &mut Stranger, addresses: &[&str], revision: u64) -> Result {
    let publish = Publish {
        namespace: Namespace::new(NAMESPACE)?,
        nickname: Text::truncated("eve"),
        addresses: Bounded::truncated(addresses.iter().map(|address| Address::truncated(address))),
        epoch: 1,
        base: 0,
        revision,
        changes: Bounded::default(),
    };
    let reply = peer.say(Door::Index, &encode(&Request::Publish(publish))?)?;
    if matches!(reply, Reply::Index(Answer::Published(_))) { Ok(()) } else { Err(Failure::new(format!("{reply:?}"))) }
}

/// The peers that the tracker tells, and where they are.
fn peers(asker: &mut Stranger) -> Result<Vec<(String, Vec<String>)>> {
    let ask = Request::Peers(Peers { namespace: Namespace::new(NAMESPACE)?, peer: None, after: None, limit: 20 });
    let reply = asker.say(Door::Index, &encode(&ask)?)?;
    let Reply::Index(Answer::Peers(page)) = reply else { return Err(Failure::new(format!("{reply:?}"))) };
    let peers = page.peers.iter();
    Ok(peers.map(|peer| (peer.peer.to_string(), peer.addresses.iter().map(|at| at.as_str().to_owned()).collect())).collect())
}
