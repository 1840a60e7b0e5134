//! The tracker is killed while peers publish. What it acknowledged is there when it comes back.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use libp2p::identity::Keypair;
use potluck_common::namespace::Namespace;
use potluck_common::wire::index::{Answer, Request, Search};
use potluck_common::wire::{Refusal, Text};
use potluck_tests::clock::{PATIENCE, eventually};
use potluck_tests::disk::Disk;
use potluck_tests::publisher::{Publisher, Story};
use potluck_tests::town::{Town, Tracker};
use potluck_tests::{Failure, Result};
use rustix::process::{Resource, Rlimit, prlimit};

/// Peers that publish without a pause.
const PEERS: u64 = 6;
/// Acknowledgements that a tracker gives before it is killed.
const ACKNOWLEDGED: u64 = 12;

/// How far the peers are.
#[derive(Debug, Default)]
struct Progress {
    acknowledged: AtomicU64,
    lost: Mutex<Vec<String>>,
    revisions: [AtomicU64; PEERS as usize],
}

#[test]
fn twenty_kills_under_load_lose_nothing_that_was_acknowledged() -> Result {
    kills(&Town::new()?, 20, Tracker::kill9)
}

/// `just gauntlet` plays it.
#[test]
#[ignore = "takes minutes"]
fn two_hundred_kills_under_load_lose_nothing_that_was_acknowledged() -> Result {
    kills(&Town::new()?, 200, Tracker::kill9)
}

/// G037: the disk keeps what it was told to keep, and nothing else. `just gauntlet` plays it; it needs root.
#[test]
#[ignore = "takes minutes"]
fn fifty_power_cuts_under_load_lose_nothing_that_was_acknowledged() -> Result {
    let town = Town::new()?;
    let Some(disk) = Disk::mount(&town.path("tracker"))? else {
        println!("skipped: only root may mount a file system");
        return Ok(());
    };
    kills(&town, 50, |tracker| {
        disk.cut()?;
        tracker.kill9()?;
        disk.restart()
    })
}

fn kills(town: &Town, times: u32, mut kill: impl FnMut(&mut Tracker) -> Result) -> Result {
    let mut tracker = town.tracker("tracker")?;
    let progress = Arc::new(Progress::default());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let peers: Vec<_> = (0..PEERS)
        .map(|number| runtime.spawn(publish_for_ever(Story { number }, tracker.address().to_owned(), Arc::clone(&progress))))
        .collect();
    for time in 0..times {
        let before = progress.acknowledged.load(Ordering::Relaxed);
        eventually(PATIENCE, &format!("work after {time} kills"), || {
            Ok((progress.acknowledged.load(Ordering::Relaxed) >= before + ACKNOWLEDGED).then_some(()))
        })?;
        kill(&mut tracker)?;
        assert!(!tracker.process().stderr().contains("damaged"), "{}", tracker.process().stderr());
        tracker.restart()?;
    }
    peers.iter().for_each(tokio::task::JoinHandle::abort);
    assert_eq!(*progress.lost.lock().unwrap(), Vec::<String>::new());
    runtime.block_on(all_is_there(tracker.address(), &progress))
}

/// Publishes a story page by page. After each return of the tracker it asks first what is held: no less than was
/// acknowledged, no more than was sent.
async fn publish_for_ever(story: Story, address: String, progress: Arc<Progress>) {
    let identity = identity_of(story);
    let mut acknowledged = 0;
    let mut sent = 0;
    loop {
        let mut peer = Publisher::connect_at_last(&identity, &address).await;
        let Ok(mut held) = peer.publish(&story.publish(&Namespace::default(), acknowledged, acknowledged)).await else { continue };
        if held != acknowledged && held != sent {
            let lost = format!("peer {}: {held} is held, {acknowledged} was acknowledged, {sent} was sent", story.number);
            progress.lost.lock().unwrap().push(lost);
        }
        loop {
            acknowledged = held;
            progress.revisions[story.number as usize].store(held, Ordering::Relaxed);
            progress.acknowledged.fetch_add(1, Ordering::Relaxed);
            sent = held + 1 + held % 40;
            match peer.publish(&story.publish(&Namespace::default(), held, sent)).await {
                Ok(now) => held = now,
                Err(_) => break,
            }
        }
    }
}

/// Everybody comes back with one message, and everything that was published is listed, and nothing else.
async fn all_is_there(address: &str, progress: &Progress) -> Result {
    for number in 0..PEERS {
        let story = Story { number };
        let mut peer = Publisher::connect_at_last(&identity_of(story), address).await;
        let known = progress.revisions[number as usize].load(Ordering::Relaxed);
        let held = peer.publish(&story.publish(&Namespace::default(), known, known)).await?;
        assert!(held >= known);
        peer.publish(&story.publish(&Namespace::default(), held, held)).await?;
        let key = peer.key();
        assert_eq!(peer.list(&Namespace::default(), key).await?, story.told_until(held), "peer {number} at {held}");
    }
    Ok(())
}

fn identity_of(story: Story) -> Keypair {
    let mut seed = [7; 32];
    seed[..8].copy_from_slice(&story.number.to_be_bytes());
    Keypair::ed25519_from_bytes(seed).unwrap()
}

/// A peer that does not come back is forgotten on the disk too.
#[test]
fn what_lapsed_does_not_come_back_after_a_restart() -> Result {
    let town = Town::new()?;
    let mut tracker = town.tracker_with("tracker", &["--lease", "1", "--verbose"])?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let story = Story { number: 1 };
    runtime.block_on(async {
        let mut peer = Publisher::connect_at_last(&identity_of(story), tracker.address()).await;
        peer.publish(&story.publish(&Namespace::default(), 0, 9)).await
    })?;
    let held = |tracker: &mut Tracker| -> Result<u64> {
        tracker.restart()?;
        runtime.block_on(async {
            let mut peer = Publisher::connect_at_last(&identity_of(story), tracker.address()).await;
            peer.publish(&story.publish(&Namespace::default(), 9, 9)).await
        })
    };
    assert_eq!(held(&mut tracker)?, 9, "it came back in time");
    // The kill may come before the disk has heard of it: then the lease begins anew, and lapses again.
    eventually(PATIENCE, "the lease to lapse on the disk", || {
        tracker.restart()?;
        let lapsed = || Ok(tracker.process().stderr().contains("forgotten").then_some(()));
        eventually(PATIENCE, "the lease to lapse", lapsed)?;
        Ok((held(&mut tracker)? == 0).then_some(()))
    })
}

/// G055: a full disk is told, and is no reason to stop.
#[test]
fn a_full_disk_refuses_changes_and_nothing_else() -> Result {
    let town = Town::new()?;
    let mut tracker = town.tracker("tracker")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let story = Story { number: 1 };
    let namespace = Namespace::default();
    let mut peer = runtime.block_on(Publisher::connect_at_last(&identity_of(story), tracker.address()));
    let publish =
        |peer: &mut Publisher, base, revision| runtime.block_on(peer.ask(Request::Publish(story.publish(&namespace, base, revision))));
    assert!(matches!(publish(&mut peer, 0, 9)?, Answer::Published(held) if held.revision == 9));

    let process = i32::try_from(tracker.process().id())?;
    let process = rustix::process::Pid::from_raw(process).ok_or_else(|| Failure::new("no process"))?;
    let limit = |most| prlimit(Some(process), Resource::Fsize, Rlimit { current: most, maximum: None });
    limit(Some(4096))?; // no file may be written beyond: to a program it is as a disk without room
    assert_eq!(publish(&mut peer, 9, 20)?, Answer::Refused { why: Refusal::Unavailable });
    assert_eq!(publish(&mut peer, 0, 20)?, Answer::Refused { why: Refusal::Unavailable });
    let search = Search { namespace: namespace.clone(), text: Text::truncated("story"), after: None, limit: 10 };
    let Answer::Search(page) = runtime.block_on(peer.ask(Request::Search(search)))? else { panic!("no answer") };
    assert!(page.total >= 9, "it is still found");
    assert!(tracker.process().stderr().contains("cannot be saved: no room is left"), "{}", tracker.process().stderr());

    limit(None)?;
    let held = eventually(PATIENCE, "room again", || match publish(&mut peer, 0, 20)? {
        Answer::Published(held) => Ok(Some(held.revision)),
        _ => {
            runtime.block_on(peer.stay(Duration::from_millis(50)));
            Ok(None)
        }
    })?;
    assert_eq!(held, 20);
    tracker.restart()?;
    let mut peer = runtime.block_on(Publisher::connect_at_last(&identity_of(story), tracker.address()));
    assert!(matches!(publish(&mut peer, 20, 20)?, Answer::Published(held) if held.revision == 20));
    Ok(())
}
