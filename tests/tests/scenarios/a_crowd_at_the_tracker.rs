//! Crowds at a tracker: silent ones, some who throw their identities away, some who come and go, and thousands who stay. Each at full
//! size (`just gauntlet a_crowd`), the attacks also in small.

use std::net::Ipv4Addr;
use std::time::Duration;

use libp2p::identity::Keypair;
use potluck_common::namespace::Namespace;
use potluck_common::wire::Text;
use potluck_common::wire::index::{Answer, Peers, Request, Search};
use potluck_tests::clock::{eventually, now};
use potluck_tests::elsewhere::{Elsewhere, Idler};
use potluck_tests::publisher::{Publisher, Story};
use potluck_tests::siege::tracker_endures;
use potluck_tests::town::{Town, Tracker};
use potluck_tests::trend::slope;
use potluck_tests::{Failure, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// What a tracker may grow by under an attack.
const GROWTH: u64 = 64 << 20;
/// Visitors that are on their way at once.
const AT_ONCE: usize = 32;
/// How long a visit or an answer may take at most, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// G057, at a size for every day.
#[test]
fn silence_from_one_network_keeps_nobody_out() -> Result {
    let mut times = besiege_by_silence((1, 250), 400, Duration::from_secs(5))?;
    assert!(at(&mut times, 0.99) < PATIENCE, "somebody waited for {:?}", at(&mut times, 1.0));
    Ok(())
}

/// G057, from as many networks as it takes to fill all handshakes: the oldest of the silent make room.
#[test]
fn silence_from_many_networks_keeps_nobody_out() -> Result {
    let mut times = besiege_by_silence((120, 40), 600, Duration::from_secs(5))?;
    assert!(at(&mut times, 0.99) < PATIENCE, "somebody waited for {:?}", at(&mut times, 1.0));
    Ok(())
}

/// G057: five thousand connections that say nothing, little, or half of something, from one network, from fifty and from 120.
#[test]
#[ignore = "three attacks of a minute: just gauntlet"]
fn five_thousand_silent_connections_keep_nobody_out() -> Result {
    for (networks, hosts) in [(1, 250), (50, 100), (120, 40)] {
        let mut times = besiege_by_silence((networks, hosts), 5_000, Duration::from_secs(60))?;
        let (half, most) = (at(&mut times, 0.5), at(&mut times, 0.99));
        println!("{networks} networks: {} honest connections, p50 {half:?}, p99 {most:?}", times.len());
        assert!(most <= Duration::from_secs(1), "one in a hundred waited for longer than {most:?}");
    }
    Ok(())
}

/// G054, at a size for every day.
#[test]
fn identities_from_many_addresses_lock_nobody_out() -> Result {
    let town = Town::new()?;
    let tracker = town.tracker_with("tracker", &["--limit-loopback", "--limit", "peers-per-namespace=100"])?;
    let ((let_in, honest), _) = tracker_endures(&town, &tracker, None, GROWTH, || throw_away(&tracker, 250, 10))?;
    assert!(let_in > 100 && honest == 10, "{let_in} of the others and {honest} of 10 honest peers were let in");
    Ok(())
}

/// G054: ten thousand identities from a thousand addresses.
#[test]
#[ignore = "ten thousand handshakes: just gauntlet"]
fn ten_thousand_identities_from_a_thousand_addresses_lock_nobody_out() -> Result {
    let town = Town::new()?;
    let tracker = town.tracker_with("tracker", &["--limit-loopback", "--limit", "peers-per-namespace=2000"])?;
    let ((let_in, honest), grown) = tracker_endures(&town, &tracker, None, GROWTH, || throw_away(&tracker, 10_000, 100))?;
    println!("{let_in} of 10,000 throw-away identities and {honest} of 100 honest peers were let in; the tracker grew by {grown} bytes");
    assert!(let_in > 2000 && honest >= 99);
    Ok(())
}

/// G056: a hundred peers a second come, offer something and leave, for ten minutes (`POTLUCK_MINUTES`).
#[test]
#[ignore = "ten minutes: just gauntlet"]
fn who_comes_and_goes_leaves_nothing_behind() -> Result {
    let minutes: u32 = std::env::var("POTLUCK_MINUTES").ok().and_then(|text| text.parse().ok()).unwrap_or(10);
    let town = Town::new()?;
    let tracker = town.tracker("tracker")?;
    let (memory, visits) = runtime()?.block_on(come_and_go(&tracker, Duration::from_secs(60) * minutes))?;
    let (_, second_half) = memory.split_at(memory.len() / 2);
    let slope = slope(second_half) * 12.0 / f64::from(1 << 20);
    println!("{visits} visits; memory every five seconds: {memory:?}; {slope:.2} MiB a minute at the end");
    assert!(slope < 1.0, "it grows by {slope:.2} MiB a minute");
    let runtime = runtime()?;
    eventually(PATIENCE, "nobody is listed", || {
        runtime.block_on(async {
            let mut peer = Publisher::connect(Keypair::generate_ed25519(), tracker.address()).await?;
            let ask = Request::Peers(Peers { namespace: Namespace::default(), peer: None, after: None, limit: 10 });
            let Answer::Peers(page) = peer.ask(ask).await? else { return Err(Failure::new("no list of peers")) };
            Ok(page.peers.is_empty().then_some(()))
        })
    })
}

/// G052: five thousand peers with two hundred files each.
#[test]
#[ignore = "five thousand connections: just gauntlet"]
fn five_thousand_peers_are_served() -> Result {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?;
    let town = Town::new()?;
    let mut tracker = town.tracker_with("tracker", &["--lease", "3600"])?;
    let (mut changes, mut searches) = runtime()?.block_on(serve(&tracker, 5_000))?;
    let memory = tracker.process().vitals()?.memory;
    tracker.kill9()?;
    let began = now();
    tracker.restart()?;
    let restored = tracker.process().event("restored", PATIENCE)?;
    let (change, search, start) = (at(&mut changes, 0.99), at(&mut searches, 0.99), began.elapsed());
    println!(
        "{memory} bytes; p99 of a change that is on the disk {change:?}, of a search {search:?}; {} files {start:?} after SIGKILL",
        restored["files"]
    );
    assert!(memory <= 1 << 30 && restored["files"] == 1_001_000);
    assert!(change <= Duration::from_millis(100) && search <= Duration::from_millis(50) && start <= Duration::from_secs(10));
    Ok(())
}

fn runtime() -> Result<Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}

/// Some time of idle connections from so many networks with so many hosts each, while honest peers connect one after the other. Returns what each of these took.
fn besiege_by_silence((networks, hosts): (u8, u8), connections: usize, time: Duration) -> Result<Vec<Duration>> {
    let town = Town::new()?;
    let tracker = town.tracker_with("tracker", &["--limit-loopback"])?;
    let from = (0..networks).flat_map(|network| (1..=hosts).map(move |host| Ipv4Addr::new(127, 1, network, host)));
    let way = Elsewhere::new(tracker.address(), from)?;
    let attack = async {
        let mut idlers = JoinSet::new();
        for how in [Idler::Silent, Idler::Drips, Idler::Begins].into_iter().cycle().take(connections) {
            let way = way.clone();
            idlers.spawn(async move { way.idle(how, time).await });
        }
        let honest = elsewhere_of_the_honest(&tracker).await?;
        let (began, mut times) = (now(), Vec::new());
        while began.elapsed() < time {
            let begun = now();
            drop(Publisher::connect(Keypair::generate_ed25519(), &honest).await?);
            times.push(begun.elapsed());
            tokio::time::sleep(Duration::from_millis(50)).await; // or the honest ones are a flood themselves
        }
        Ok::<_, Failure>((times, idlers.join_all().await.into_iter().sum::<usize>()))
    };
    let runtime = runtime()?;
    let ((times, let_in), _) = tracker_endures(&town, &tracker, None, GROWTH, || runtime.block_on(attack))?;
    assert!(let_in >= 100, "the attack did not even begin: {let_in}");
    Ok(times)
}

/// Throws identities away that come from a thousand addresses, while honest peers register. Returns how many of either were let in.
fn throw_away(tracker: &Tracker, identities: u64, honest: u64) -> Result<(u64, u64)> {
    let from = (0..250).flat_map(|network| (1..=4).map(move |host| Ipv4Addr::new(127, 2, network, host)));
    let way = Elsewhere::new(tracker.address(), from)?;
    runtime()?.block_on(async {
        let (eve, ada) = (way.listen(peer_id(tracker)?).await?, elsewhere_of_the_honest(tracker).await?);
        let mut visits = JoinSet::new();
        let (mut let_in, mut honest_in) = (0, 0);
        for number in 0..identities {
            if visits.len() == AT_ONCE {
                let_in += u64::from(matches!(visits.join_next().await, Some(Ok(true))));
            }
            let eve = eve.clone();
            visits.spawn(async move { visit(&eve, number).await.is_ok() });
            if number % (identities / honest) == 0 {
                honest_in += u64::from(visit(&ada, identities + number).await.is_ok());
            }
        }
        let_in += visits.join_all().await.into_iter().filter(|is_in| *is_in).count() as u64;
        Ok((let_in, honest_in))
    })
}

/// Comes, offers twenty files, and leaves.
async fn visit(address: &str, number: u64) -> Result {
    let all = async {
        let mut peer = Publisher::connect(Keypair::generate_ed25519(), address).await?;
        peer.publish(&Story { number }.publish(&Namespace::default(), 0, 20)).await?;
        Ok(())
    };
    tokio::time::timeout(PATIENCE, all).await?
}

/// A hundred visits a second. Returns the tracker's memory every five seconds, and how many visits there were.
async fn come_and_go(tracker: &Tracker, time: Duration) -> Result<(Vec<u64>, u64)> {
    let mut visits = JoinSet::new();
    let (began, mut memory, mut number) = (now(), Vec::new(), 0);
    let mut turn = tokio::time::interval(Duration::from_millis(10));
    while began.elapsed() < time {
        turn.tick().await;
        if visits.len() == AT_ONCE {
            visits.join_next().await.transpose()?.transpose()?;
        }
        let address = tracker.address().to_owned();
        visits.spawn(async move { visit(&address, number).await });
        number += 1;
        if number % 500 == 0 {
            memory.push(tracker.process().vitals()?.memory);
        }
    }
    visits.join_all().await.into_iter().collect::<Result<Vec<()>>>()?;
    Ok((memory, number))
}

/// Peers with two hundred files each stay; then some change something, and some search. Returns what these took.
async fn serve(tracker: &Tracker, peers: u64) -> Result<(Vec<Duration>, Vec<Duration>)> {
    let mut wishes = Vec::new();
    let (ready, mut all_ready) = mpsc::channel(1);
    for number in 0..peers {
        let (wish, granted) = mpsc::channel(1);
        let (address, ready) = (tracker.address().to_owned(), ready.clone());
        wishes.push(wish);
        tokio::spawn(async move {
            if let Err(failure) = stay(&address, number, granted, &ready).await {
                let _over = ready.send(Err(failure)).await;
            }
        });
    }
    for _ in 0..peers {
        all_ready.recv().await.ok_or_else(|| Failure::new("a peer has gone"))??;
    }
    let (mut changes, mut searches) = (Vec::new(), Vec::new());
    for (number, wish) in wishes.iter().enumerate().step_by(5) {
        for (times, kind) in [(&mut changes, Wish::Change), (&mut searches, Wish::Search(format!("story {number} chapter")))] {
            let (done, is_done) = oneshot::channel();
            let begun = now();
            wish.send((kind, done)).await?;
            is_done.await?;
            times.push(begun.elapsed());
        }
    }
    Ok((changes, searches))
}

/// What a peer that stays is asked to do.
enum Wish {
    Change,
    Search(String),
}

/// Registers with two hundred files, says so, and does what it is asked to until nobody can ask.
async fn stay(address: &str, number: u64, mut wishes: mpsc::Receiver<(Wish, oneshot::Sender<()>)>, ready: &mpsc::Sender<Result>) -> Result {
    let (namespace, story) = (Namespace::default(), Story { number });
    let mut peer = Publisher::connect_at_last(&Keypair::generate_ed25519(), address).await;
    let mut revision = peer.publish(&story.publish(&namespace, 0, 200)).await?;
    ready.send(Ok(())).await?;
    loop {
        let wish = tokio::select! {
            wish = wishes.recv() => wish,
            never = peer.stay_for_ever() => match never {},
        };
        let Some((wish, done)) = wish else { return Ok(()) };
        match wish {
            Wish::Change => revision = peer.publish(&story.publish(&namespace, revision, revision + 1)).await?,
            Wish::Search(text) => {
                let search = Search { namespace: namespace.clone(), text: Text::truncated(&text), after: None, limit: 50 };
                match peer.ask(Request::Search(search)).await? {
                    Answer::Search(page) if page.total > 0 => {}
                    other => return Err(Failure::new(format!("{text}: {other:?}"))),
                }
            }
        }
        let _gone = done.send(());
    }
}

/// A way on which honest peers come, each from an address and a network of its own.
async fn elsewhere_of_the_honest(tracker: &Tracker) -> Result<String> {
    let from = (0..250).map(|network| Ipv4Addr::new(127, 200, network, 1));
    Elsewhere::new(tracker.address(), from)?.listen(peer_id(tracker)?).await
}

fn peer_id(tracker: &Tracker) -> Result<&str> {
    tracker.address().rsplit('/').next().ok_or_else(|| Failure::new("an address without a PeerId"))
}

/// The time that so large a part of all did not exceed.
fn at(times: &mut [Duration], part: f64) -> Duration {
    times.sort_unstable();
    times.get((times.len().saturating_sub(1) as f64 * part) as usize).copied().unwrap_or_default()
}
