//! What a tracker bears: the worst searches, and no file left to open.

use std::time::Duration;

use libp2p::identity::Keypair;
use potluck_common::namespace::Namespace;
use potluck_common::wire::index::{Answer, Request, Search};
use potluck_common::wire::{MAX_SEARCH_BYTES, Refusal, Text};
use potluck_tests::clock::{PATIENCE, eventually, now};
use potluck_tests::publisher::{Publisher, Story};
use potluck_tests::siege::tracker_endures;
use potluck_tests::town::Town;
use potluck_tests::{Failure, Result};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

/// What the tracker may grow by: what was published, and what is kept for the next answers.
const GROWTH: u64 = 32 << 20;
/// Searches that a peer may have at once before it is told to wait.
const BURST: usize = 200;
/// Processor time of one search, with all around it, of a program that is not optimised.
const EACH: Duration = Duration::from_millis(20);
/// In which a connection comes about, if one does.
const SOON: Duration = Duration::from_secs(1);
/// In which connections are taken again once there are files to open, in one round of several: what else a machine does may delay one.
const RECOVERED: Duration = Duration::from_secs(5);
const ROUNDS: u64 = 3;

/// G058: the worst that can be asked costs little, and whoever asks too much waits.
#[test]
fn the_worst_searches_are_cheap_and_too_many_are_refused() -> Result {
    let town = Town::new()?;
    let tracker = town.tracker("tracker")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let attack = async {
        let namespace = Namespace::default();
        let mut peer = Publisher::connect(Keypair::generate_ed25519(), tracker.address()).await?;
        let story = Story { number: 1 };
        for page in 0..10 {
            peer.publish(&story.publish(&namespace, page * 200, (page + 1) * 200)).await?;
        }
        let letters: String = ('a'..='p').flat_map(|letter| [letter, ' ']).collect();
        let worst =
            ["a", "%%%_", "e -a", "\u{301}\u{301}\u{301}", "日", letters.as_str(), &"(a+)+$ ".repeat(80), &"x".repeat(MAX_SEARCH_BYTES)];
        let before = tracker.process().vitals()?.cpu;
        let (mut answered, mut refused) = (0, 0);
        for text in worst.iter().cycle().take(3 * BURST) {
            let search = Search { namespace: namespace.clone(), text: Text::truncated(text), after: None, limit: 1000 };
            match peer.ask(Request::Search(search)).await {
                Ok(Answer::Search(_)) => answered += 1,
                Ok(Answer::Refused { why: Refusal::Busy }) => refused += 1,
                Ok(other) => panic!("{text}: {other:?}"),
                Err(_) if refused > 0 => break, // who is told to wait again and again, and does not, is cut off
                Err(error) => return Err(error),
            }
        }
        let spent = tracker.process().vitals()?.cpu.saturating_sub(before);
        assert!(answered >= BURST && spent < EACH * u32::try_from(answered)?, "{answered} searches took {spent:?}");
        assert!(refused > 0, "all {answered} were answered");
        let mut other = Publisher::connect(Keypair::generate_ed25519(), tracker.address()).await?;
        let search = Search { namespace, text: Text::truncated("story"), after: None, limit: 10 };
        assert!(matches!(other.ask(Request::Search(search)).await?, Answer::Search(page) if page.total > 0), "others are served");
        Ok::<_, Failure>(())
    };
    tracker_endures(&town, &tracker, None, GROWTH, || runtime.block_on(attack)).map(drop)
}

/// G060: a tracker without a file left to open goes on, and takes connections again when there are some.
#[test]
fn a_tracker_out_of_files_serves_on_and_recovers() -> Result {
    let town = Town::new()?;
    let tracker = town.tracker("tracker")?;
    let process = Pid::from_raw(i32::try_from(tracker.process().id())?).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let connect = || {
        let connecting = async || tokio::time::timeout(SOON, Publisher::connect(Keypair::generate_ed25519(), tracker.address())).await;
        runtime.block_on(connecting())
    };
    let exhaust = || {
        let mut first = connect()??;
        let most = tracker.process().vitals()?.open_files as u64 + 10;
        prlimit(Some(process), Resource::Nofile, Rlimit { current: Some(most), ..getrlimit(Resource::Nofile) })?;
        let mut recovered = Vec::new();
        for round in 0..ROUNDS {
            let crowd: Vec<_> = (0..20).map(|_| connect()).collect();
            assert!(crowd.iter().any(|peer| !matches!(peer, Ok(Ok(_)))), "all twenty found room among ten");
            let story = Story { number: 1 }.publish(&Namespace::default(), round * 3, round * 3 + 3);
            assert_eq!(runtime.block_on(first.publish(&story))?, round * 3 + 3, "who is connected is served");
            drop(crowd);
            let released = now();
            eventually(PATIENCE, "connections are taken again", || Ok(connect().is_ok_and(|peer| peer.is_ok()).then_some(())))?;
            recovered.push(released.elapsed());
            if recovered.iter().any(|taken| *taken <= RECOVERED) {
                return Ok(());
            }
        }
        Err(Failure::new(format!("it took {recovered:?} until connections were taken again")))
    };
    tracker_endures(&town, &tracker, None, GROWTH, exhaust).map(drop)
}
