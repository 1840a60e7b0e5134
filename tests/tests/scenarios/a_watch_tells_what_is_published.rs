//! A saved search that is kept open in a terminal.

use std::time::Duration;

use libp2p::identity::Keypair;
use potluck_common::namespace::Namespace;
use potluck_tests::clock::PATIENCE;
use potluck_tests::publisher::{Publisher, Story};
use potluck_tests::town::{NAMESPACE, Town};
use potluck_tests::{Result, tree};
use rustix::process::Signal;

/// In which a hit has to be there.
const TWO_SECONDS: Duration = Duration::from_secs(2);

#[test]
fn a_hit_is_told_within_two_seconds_and_again_after_a_restart_of_the_tracker() -> Result {
    let town = Town::new()?;
    let mut tracker = town.tracker("tracker")?;
    let bob = town.node("bob").tracker(&tracker).start_ready()?;
    let watch = bob.begin(&["watch", "chapter", "file", "-old"])?;
    watch.event("watching", PATIENCE)?;

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (story, identity) = (Story { number: 1 }, Keypair::generate_ed25519());
    let namespace = Namespace::new(NAMESPACE)?;
    let publish = |address: &str, base, revision| {
        runtime.block_on(async {
            let mut peer = Publisher::connect_at_last(&identity, address).await;
            peer.publish(&story.publish(&namespace, base, revision)).await
        })
    };
    publish(tracker.address(), 0, 3)?;
    let hit = watch.line("the hit", TWO_SECONDS, |line| line["name"] == "file 000003.txt")?;
    assert_eq!((&hit["kind"], &hit["sources"], &hit["size"]), (&"file".into(), &1.into(), &3.into()));
    assert_eq!(hit["peers"][0]["nickname"], "peer 1");

    tracker.restart()?;
    let told = |line: &serde_json::Value| line["event"] == "missed";
    watch.line("that something may be missed", PATIENCE, told)?;
    publish(tracker.address(), 3, 4)?;
    watch.line("the next hit", TWO_SECONDS, |line| line["name"] == "file 000004.txt")?;
    let all: Vec<_> = watch.lines().into_iter().filter(|line| line["content_id"].is_string()).collect();
    assert_eq!(all.len(), 4, "none twice: {all:?}");

    watch.signal(Signal::INT)?;
    watch.finish(PATIENCE)?.expect_code(130)?;
    Ok(())
}

#[test]
fn a_folder_that_a_friend_begins_to_share_is_told_of() -> Result {
    let town = Town::new()?;
    let hash = tree::file(&town.path("music/Été live.flac"), 8, 100_000)?;
    let tracker = town.tracker("tracker")?;
    let bob = town.node("bob").tracker(&tracker).start_ready()?;
    let watch = bob.begin(&["watch", "ete", "--ext", "flac"])?;
    watch.event("watching", PATIENCE)?;
    let _ada = town.node("ada").share(&town.path("music")).tracker(&tracker).start_ready()?;
    watch.line("the hit", PATIENCE, |line| line["content_id"] == hash.as_str())?;
    Ok(())
}

#[test]
fn without_a_tracker_nobody_watches() -> Result {
    let town = Town::new()?;
    let ada = town.node("ada").start_ready()?;
    let bob = town.node("bob").arg("--dial").arg(ada.address()).start_ready()?;
    bob.verb(&["watch", "x"])?.refused(8)?;
    bob.verb(&["watch"])?.refused(2)?;
    Ok(())
}
