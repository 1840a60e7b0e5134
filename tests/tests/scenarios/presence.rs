//! Who is there and who is not: renewed, killed, silent, and gone for good.

use std::time::Duration;

use potluck_tests::clock::{PATIENCE, eventually, now};
use potluck_tests::town::Town;
use potluck_tests::{Result, tree};
use rustix::process::Signal;

/// In which a dead peer has to be out of all answers.
const TEN_SECONDS: Duration = Duration::from_secs(10);

#[test]
fn a_node_that_renews_stays_listed_after_its_first_lease() -> Result {
    let lease = Duration::from_secs(4);
    let town = Town::new()?;
    let tracker = town.tracker_with("tracker", &["--lease", "4"])?;
    let ada = town.node("ada").tracker(&tracker).start_ready()?;
    let bob = town.node("bob").tracker(&tracker).start_ready()?;
    bob.sees(ada.peer_id(), true, PATIENCE)?;
    let start = now();
    eventually(PATIENCE, "two leases and a half", || {
        let listed = bob.peers()?.iter().any(|peer| peer["peer_id"] == ada.peer_id());
        assert!(listed, "not listed after {:?}", start.elapsed());
        Ok((start.elapsed() > lease * 5 / 2).then_some(()))
    })
}

#[test]
fn a_killed_node_is_gone_from_all_answers_in_ten_seconds() -> Result {
    let town = Town::new()?;
    tree::file(&town.path("music/live.flac"), 8, 100_000)?;
    let tracker = town.tracker("tracker")?;
    let mut ada = town.node("ada").share(&town.path("music")).tracker(&tracker).start_ready()?;
    let bob = town.node("bob").tracker(&tracker).start_ready()?;
    bob.find("live.flac", 1)?;
    ada.kill9()?;
    bob.sees(ada.peer_id(), false, TEN_SECONDS)?;
    bob.verb(&["search", "live.flac"])?.refused(3)?;

    ada.restart()?;
    bob.sees(ada.peer_id(), true, PATIENCE)?;
    bob.find("live.flac", 1)?;
    Ok(())
}

/// A network that swallows everything looks like a stopped process: connections stay, nothing answers.
#[test]
fn a_node_that_falls_silent_is_gone_in_ten_seconds_and_comes_back() -> Result {
    let town = Town::new()?;
    let tracker = town.tracker("tracker")?;
    let ada = town.node("ada").tracker(&tracker).start_ready()?;
    let bob = town.node("bob").tracker(&tracker).start_ready()?;
    bob.sees(ada.peer_id(), true, PATIENCE)?;
    ada.process().signal(Signal::STOP)?;
    bob.sees(ada.peer_id(), false, TEN_SECONDS)?;
    ada.process().signal(Signal::CONT)?;
    bob.sees(ada.peer_id(), true, PATIENCE)
}

#[test]
fn a_node_that_deregisters_is_gone_at_once_and_comes_back_when_told() -> Result {
    let town = Town::new()?;
    tree::file(&town.path("music/live.flac"), 9, 100_000)?;
    let tracker = town.tracker("tracker")?;
    let ada = town.node("ada").share(&town.path("music")).tracker(&tracker).start_ready()?;
    let bob = town.node("bob").tracker(&tracker).start_ready()?;
    bob.find("live.flac", 1)?;
    let left = ada.verb(&["deregister"])?.ok()?;
    assert_eq!(left.only()?["registered"], false);
    assert!(bob.peers()?.iter().all(|peer| peer["peer_id"] != ada.peer_id()));
    bob.verb(&["search", "live.flac"])?.refused(3)?;

    let back = ada.verb(&["register"])?.ok()?;
    assert_eq!(back.only()?["registered"], true);
    bob.sees(ada.peer_id(), true, PATIENCE)?;
    bob.find("live.flac", 1)?;
    Ok(())
}

#[test]
fn a_node_that_is_told_to_stop_says_goodbye() -> Result {
    let town = Town::new()?;
    let tracker = town.tracker("tracker")?;
    let ada = town.node("ada").tracker(&tracker).start_ready()?;
    let bob = town.node("bob").tracker(&tracker).start_ready()?;
    let ada_id = ada.peer_id().to_owned();
    bob.sees(&ada_id, true, PATIENCE)?;
    ada.terminate()?.ok()?;
    assert!(bob.peers()?.iter().all(|peer| peer["peer_id"] != ada_id.as_str()));
    Ok(())
}
