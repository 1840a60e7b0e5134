//! Three trackers on one PostgreSQL: whichever is killed, searches go on and nobody loses its registration.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use libp2p::identity::Keypair;
use potluck_common::namespace::Namespace;
use potluck_tests::Result;
use potluck_tests::clock::{PATIENCE, eventually};
use potluck_tests::postgres::Postgres;
use potluck_tests::publisher::{Publisher, Story};
use potluck_tests::town::{NAMESPACE, Node, Town, Tracker};
use potluck_tests::tree;

use crate::both_indexes::skip;

/// Peers that publish without a pause, each at two of the trackers at once.
const PEERS: u64 = 4;
/// In which a dead peer has to be out of all answers.
const TEN_SECONDS: Duration = Duration::from_secs(10);

#[test]
fn any_of_three_trackers_may_be_killed_under_load() -> Result {
    let Some(database) = Postgres::start()? else { return skip() };
    let town = Town::new()?;
    tree::file(&town.path("music/first.flac"), 31, 10_000)?;
    tree::file(&town.path("books/second.epub"), 32, 10_000)?;
    let url = database.url();
    let mut trackers = ["one", "two", "three"].map(|name| town.tracker_with(name, &["--index", &url]).unwrap());
    let at_all = |name: &str| trackers.iter().fold(town.node(name), |plan, tracker| plan.tracker(tracker));
    let ada = at_all("ada").share(&town.path("music")).start_ready()?;
    let bob = at_all("bob").share(&town.path("books")).start_ready()?;
    // Who knows one tracker only is found at the others.
    let cleo = town.node("cleo").tracker(&trackers[2]).start_ready()?;
    ada.sees(cleo.peer_id(), true, PATIENCE)?;
    cleo.find("first.flac", 1)?;

    let load = Load::start(&trackers)?;
    for killed in &mut trackers {
        load.goes_on()?;
        killed.kill9()?;
        // At once, and for as long as it takes the others to notice: answers of those that live.
        for _ in 0..5 {
            finds_at_once(&ada, "second.epub")?;
            finds_at_once(&bob, "first.flac")?;
        }
        load.goes_on()?;
        killed.restart()?;
        let is_back =
            || Ok(ada.status()?["trackers"].as_array().is_some_and(|all| all.iter().all(|one| one["registered"] == true)).then_some(()));
        eventually(PATIENCE, "ada is registered at all three", is_back)?;
    }
    load.end()?;
    // Who is connected to none of them any more is gone everywhere, in spite of the kills.
    let (bob_id, mut bob) = (bob.peer_id().to_owned(), bob);
    bob.kill9()?;
    cleo.sees(&bob_id, false, TEN_SECONDS)?;
    cleo.sees(ada.peer_id(), true, PATIENCE)
}

/// One search, without a second try.
#[track_caller]
fn finds_at_once(node: &Node, name: &str) -> Result {
    let found = node.verb(&["search", name])?.ok()?;
    assert!(found.lines.iter().any(|hit| hit["name"] == name), "{}: {:?}", node.name(), found.lines);
    Ok(())
}

/// Peers that publish, and hold the trackers to what they acknowledged.
struct Load {
    runtime: tokio::runtime::Runtime,
    acknowledged: Arc<AtomicU64>,
    lost: Arc<AtomicBool>,
}

impl Load {
    fn start(trackers: &[Tracker]) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let (acknowledged, lost) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        for number in 0..PEERS {
            let at =
                |place: u64| trackers.get(usize::try_from((number + place) % 3).unwrap_or(0)).map(|tracker| tracker.address().to_owned());
            let addresses = [at(0), at(1)].into_iter().flatten().collect();
            runtime.spawn(publish_for_ever(Story { number }, addresses, Arc::clone(&acknowledged), Arc::clone(&lost)));
        }
        Ok(Self { runtime, acknowledged, lost })
    }

    /// Waits until more was published, and nothing was lost.
    fn goes_on(&self) -> Result {
        let before = self.acknowledged.load(Ordering::Relaxed);
        eventually(PATIENCE, "peers to publish", || Ok((self.acknowledged.load(Ordering::Relaxed) > before + 5 * PEERS).then_some(())))?;
        assert!(!self.lost.load(Ordering::Relaxed), "what was acknowledged was lost");
        Ok(())
    }

    fn end(self) -> Result {
        self.goes_on()?;
        self.runtime.shutdown_background();
        Ok(())
    }
}

/// Publishes a story, each page at whichever of its trackers answers; after a failure it goes on at the next one from what was
/// acknowledged, which that one holds.
async fn publish_for_ever(story: Story, trackers: Vec<String>, acknowledged: Arc<AtomicU64>, lost: Arc<AtomicBool>) {
    let identity = Keypair::generate_ed25519();
    let namespace = Namespace::new(NAMESPACE).unwrap();
    let (mut held, mut sent) = (0, 0);
    for address in trackers.iter().cycle() {
        let Ok(mut peer) = Publisher::connect(identity.clone(), address).await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        if held > 0 {
            match peer.publish(&story.publish(&namespace, held, held)).await {
                Ok(found) if found == held || found == sent => held = found,
                Ok(_) => lost.store(true, Ordering::Relaxed),
                Err(_) => continue,
            }
        }
        for _ in 0..20 {
            sent = held + 3;
            match peer.publish(&story.publish(&namespace, held, sent)).await {
                Ok(now) => held = now,
                Err(_) => break,
            }
            acknowledged.fetch_add(1, Ordering::Relaxed);
        }
    }
}
