//! The tracker's machine reboots. Nobody has to do anything.

use std::time::Duration;

use potluck_tests::clock::{PATIENCE, eventually};
use potluck_tests::town::Town;
use potluck_tests::{Result, tree};

/// G048, G049: within ten seconds of its return all is as before.
#[test]
fn after_a_restart_of_the_tracker_everything_is_found_again_in_ten_seconds() -> Result {
    let town = Town::new()?;
    let hash = tree::file(&town.path("music/live.flac"), 7, 100_000)?;
    let mut tracker = town.tracker("tracker")?;
    let ada = town.node("ada").share(&town.path("music")).tracker(&tracker).start_ready()?;
    let bob = town.node("bob").tracker(&tracker).start_ready()?;
    bob.find("live.flac", 1)?;

    tracker.kill9()?;
    eventually(PATIENCE, "bob notices", || Ok((bob.verb(&["search", "live.flac"])?.code != Some(0)).then_some(())))?;
    let before = tracker.address().to_owned();
    tracker.restart()?;
    assert_eq!(tracker.address(), before, "its identity stayed");
    eventually(Duration::from_secs(10), "the file is found again", || {
        let found = bob.verb(&["search", "live.flac"])?;
        Ok(found.lines.iter().any(|hit| hit["content_id"] == hash.as_str()).then_some(()))
    })?;
    bob.sees(ada.peer_id(), true, PATIENCE)?;
    bob.download(&[&hash])?.ok()?;
    Ok(())
}
