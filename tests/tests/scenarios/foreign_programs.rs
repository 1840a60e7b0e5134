//! A libp2p program that is not ours uses the tracker by libp2p's own rendezvous protocol.

use potluck_tests::Result;
use potluck_tests::clock::{PATIENCE, eventually};
use potluck_tests::stranger::Stranger;
use potluck_tests::town::Town;

#[test]
fn a_foreign_rendezvous_client_registers_is_discovered_and_unregisters() -> Result {
    let town = Town::new()?;
    let tracker = town.tracker("tracker")?;
    let mut one = Stranger::connect(tracker.address())?;
    let mut other = Stranger::connect(tracker.address())?;
    one.register("elsewhere")?;
    assert_eq!(other.discover("elsewhere")?, [one.peer_id()]);
    assert_eq!(other.discover("somewhere else")?, [""; 0]);
    one.unregister("elsewhere")?;
    eventually(PATIENCE, "the registration is gone", || {
        one.discover("elsewhere")?; // also drives the connection on which the farewell goes out
        Ok(other.discover("elsewhere")?.is_empty().then_some(()))
    })
}

#[test]
fn a_foreign_client_discovers_our_nodes() -> Result {
    let town = Town::new()?;
    let tracker = town.tracker("tracker")?;
    let ada = town.node("ada").tracker(&tracker).start_ready()?;
    let mut foreign = Stranger::connect(tracker.address())?;
    eventually(PATIENCE, "ada is discovered", || {
        Ok(foreign.discover(potluck_tests::town::NAMESPACE)?.contains(&ada.peer_id().to_owned()).then_some(()))
    })
}
