//! Limits bite: at a limit all is well, one more is refused.

use potluck_tests::Result;
use potluck_tests::clock::{PATIENCE, eventually};
use potluck_tests::siege::tracker_endures;
use potluck_tests::stranger::Stranger;
use potluck_tests::town::Town;

/// What a tracker may grow by.
const GROWTH: u64 = 16 << 20;

/// G015, G053: connections from one address, counted where this machine is not exempt, of two hundred identities.
#[test]
fn one_address_has_so_many_connections_to_a_tracker_and_not_one_more() -> Result {
    let town = Town::new()?;
    let tracker = town.tracker_with("tracker", &["--max-per-address", "4", "--limit-loopback"])?;
    let attack = || {
        let mut inside = (0..3).map(|_| Stranger::connect(tracker.address())).collect::<Result<Vec<_>>>()?; // beside the honest source
        let let_in = (0..200).filter(|_| Stranger::connect(tracker.address()).is_ok()).count();
        assert_eq!(let_in, 0, "a fifth connection was let in");
        assert!(inside[0].discover("elsewhere")?.is_empty(), "who is inside is served");
        drop(inside.pop());
        eventually(PATIENCE, "who leaves makes room", || Ok(Stranger::connect(tracker.address()).ok().map(drop)))
    };
    tracker_endures(&town, &tracker, None, GROWTH, attack).map(drop)
}
