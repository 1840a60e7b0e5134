//! G046: somebody else answers at the tracker's address. Nothing is told to them.

use potluck_tests::town::{Town, split_address};
use potluck_tests::{Result, clock::PATIENCE, tree};

#[test]
fn a_tracker_with_another_identity_is_refused_and_told_nothing() -> Result {
    let town = Town::new()?;
    tree::file(&town.path("music/live.flac"), 25, 10_000)?;
    let (impostor, real) = (town.tracker("impostor")?, town.tracker("real")?);
    let (place, _) = split_address(impostor.address())?;
    let (_, identity) = split_address(real.address())?;
    let forged = format!("{place}/p2p/{identity}");

    let ada = town.node("ada").share(&town.path("music")).arg("--tracker").arg(&forged).start()?;
    let lost = ada.process().event("tracker_lost", PATIENCE)?;
    assert!(lost["error"].as_str().is_some_and(|error| error.contains("another tracker answers there")), "{lost}");
    let witness = town.node("witness").tracker(&impostor).start_ready()?;
    assert!(witness.peers()?.iter().all(|peer| peer["peer_id"] != ada.peer_id()));
    town.potluck("eve", &["search", "live", "--tracker", &forged])?.refused(8)?;
    Ok(())
}

#[test]
fn a_tracker_that_is_not_there_is_named_and_the_node_goes_on() -> Result {
    let town = Town::new()?;
    let nowhere = "/ip4/127.0.0.1/tcp/1";
    let ada = town.node("ada").arg("--tracker").arg(nowhere).start()?;
    let lost = ada.process().event("tracker_lost", PATIENCE)?;
    assert!(lost["tracker"].as_str().is_some_and(|tracker| tracker.contains(nowhere)), "{lost}");
    ada.verb(&["status"])?.ok()?;
    ada.verb(&["search", "x"])?.refused(8)?;
    town.potluck("eve", &["search", "x", "--tracker", nowhere])?.refused(8)?;
    Ok(())
}
