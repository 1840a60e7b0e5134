//! A tracker in this process, in real time, on port 0, and clients that share no code with our node.
#![allow(clippy::unwrap_used, clippy::panic)] // clippy knows `#[test]` functions, not their helpers

mod support;

use std::time::Duration;

use futures::StreamExt;
use libp2p::rendezvous;
use libp2p::swarm::SwarmEvent;
use potluck_common::content_id::ContentId;
use potluck_common::namespace::Namespace;
use potluck_common::peer::PeerKey;
use potluck_common::share_path::SharePath;
use potluck_common::transport::split_peer;
use potluck_common::wire::index::{Address, Answer, Change, Entry, List, Nickname, Publish, Published, Request, Search, Sources, Withdraw};
use potluck_common::wire::{Bounded, MAX_INDEX_MESSAGE_BYTES, Refusal, Text};
use potluck_rendezvous::{TrackerError, run};

use support::{ForeignClient, IndexClient, Line, RawClient, SOON, Tracker};

/// In which a dead peer must be out of all answers.
const DEAD: Duration = Duration::from_secs(10);

fn publish(base: u64, revision: u64, files: &[&str]) -> Request {
    let put = |name: &&str| {
        let content_id = Some(ContentId::of(name.as_bytes()));
        Change::Put(Entry { path: SharePath::parse(name).unwrap(), size: 5, mtime: 1, content_id })
    };
    Request::Publish(Publish {
        namespace: Namespace::default(),
        nickname: Nickname::truncated("Ada"),
        addresses: Bounded::truncated(["/ip4/10.0.0.1/tcp/9471", "no address"].map(Address::truncated)),
        epoch: 1,
        base,
        revision,
        changes: Bounded::truncated(files.iter().map(put)),
    })
}

fn list(peer: PeerKey) -> Request {
    Request::List(List { namespace: Namespace::default(), peer, under: None, after: None, limit: 100 })
}

async fn publisher(tracker: &Tracker, files: &[&str]) -> IndexClient {
    let mut client = IndexClient::connect(&tracker.address).await;
    assert!(matches!(client.ask(publish(0, 1, files)).await, Answer::Published(Published { revision: 1, .. })));
    client
}

/// Keeps a client answering pings while something else is waited for.
async fn alive<T>(client: &mut IndexClient, meanwhile: impl Future<Output = T>) -> T {
    tokio::pin!(meanwhile);
    loop {
        tokio::select! {
            done = &mut meanwhile => return done,
            _ = client.swarm.next() => {}
        }
    }
}

#[tokio::test]
async fn a_foreign_libp2p_program_registers_is_discovered_and_unregisters() {
    let tracker = Tracker::start().await;
    let namespace = rendezvous::Namespace::from_static("public");
    let mut registered = ForeignClient::connect(&tracker).await;
    let node = registered.tracker;
    registered.swarm.behaviour_mut().rendezvous.register(namespace.clone(), node, None).unwrap();
    let rendezvous::client::Event::Registered { ttl, .. } = registered.next().await else { panic!("not registered") };
    assert_eq!(ttl, rendezvous::DEFAULT_TTL);

    let mut other = ForeignClient::connect(&tracker).await;
    assert_eq!(other.discover(&namespace).await, [*registered.swarm.local_peer_id()]);
    let mut ours = IndexClient::connect(&tracker.address).await;
    let peers = ours.peers().await;
    assert_eq!((peers.len(), peers[0].peer, peers[0].nickname.as_str(), peers[0].files), (1, registered.key(), "", 0));
    assert_eq!(peers[0].addresses[0].as_str(), "/ip4/10.0.0.7/tcp/4001");

    registered.swarm.behaviour_mut().rendezvous.unregister(namespace.clone(), node);
    let gone = ours.wait_for(registered.key(), false, SOON);
    tokio::select! {
        () = gone => {}
        never = async { loop { registered.next().await; } } => never,
    }
    assert!(other.discover(&namespace).await.is_empty());
}

#[tokio::test]
async fn what_a_peer_publishes_others_list_search_and_find_until_it_withdraws() {
    let tracker = Tracker::start().await;
    let mut ada = publisher(&tracker, &["music/Jóga.flac", "music/notes.txt"]).await;
    let mut bob = IndexClient::connect(&tracker.address).await;

    let peers = bob.peers().await;
    assert_eq!((peers.len(), peers[0].peer, peers[0].nickname.as_str(), peers[0].files, peers[0].bytes), (1, ada.key(), "Ada", 2, 10));
    assert_eq!(peers[0].addresses.iter().map(|address| address.as_str()).collect::<Vec<_>>(), ["/ip4/10.0.0.1/tcp/9471"]);

    let Answer::List(page) = bob.ask(list(ada.key())).await else { panic!("another answer") };
    assert_eq!(page.entries.iter().map(|entry| entry.path.as_str()).collect::<Vec<_>>(), ["music/Jóga.flac", "music/notes.txt"]);

    let search = Search { namespace: Namespace::default(), text: Text::truncated("joga"), after: None, limit: 10 };
    let Answer::Search(page) = bob.ask(Request::Search(search)).await else { panic!("another answer") };
    assert_eq!((page.total, page.hits[0].sources, page.hits[0].holders[0].peer), (1, 1, ada.key()));

    let content_ids = Bounded::truncated([ContentId::of("music/Jóga.flac".as_bytes())]);
    let sources = Sources { namespace: Namespace::default(), content_ids };
    let Answer::Sources(found) = bob.ask(Request::Sources(sources)).await else { panic!("another answer") };
    assert_eq!((found.found[0].size, found.peers[usize::from(found.found[0].peers[0])].peer), (5, ada.key()));

    assert_eq!(ada.ask(Request::Withdraw(Withdraw { namespace: Namespace::default(), park: false })).await, Answer::Withdrawn {});
    assert!(bob.peers().await.is_empty());
    assert_eq!(bob.ask(list(ada.key())).await, Answer::Refused { why: Refusal::NotFound });
}

#[tokio::test]
async fn a_peer_whose_connection_is_lost_is_gone_in_ten_seconds_and_its_entries_wait_for_it() {
    let tracker = Tracker::start().await;
    let ada = publisher(&tracker, &["s/a"]).await;
    let mut bob = IndexClient::connect(&tracker.address).await;
    let (key, identity) = (ada.key(), ada.identity.clone());
    bob.wait_for(key, true, SOON).await;
    drop(ada);
    bob.wait_for(key, false, DEAD).await;

    let mut back = IndexClient::connect_as(identity, &tracker.address).await;
    assert!(bob.peers().await.is_empty(), "a connection alone brings nobody back");
    assert!(matches!(back.ask(publish(1, 1, &[])).await, Answer::Published(Published { revision: 1, .. })));
    let peers = bob.peers().await;
    assert_eq!((peers.len(), peers[0].files), (1, 1));
}

#[tokio::test]
async fn a_peer_behind_a_dead_line_is_gone_in_ten_seconds_though_its_connection_stays_open() {
    let tracker = Tracker::start().await;
    let line = Line::to(&tracker).await;
    let mut ada = IndexClient::connect(&line.address).await;
    assert!(matches!(ada.ask(publish(0, 1, &["s/a"])).await, Answer::Published(_)));
    let mut bob = IndexClient::connect(&tracker.address).await;
    bob.wait_for(ada.key(), true, SOON).await;
    line.cut();
    let key = ada.key();
    alive(&mut ada, bob.wait_for(key, false, DEAD)).await;
}

#[tokio::test]
async fn a_message_that_makes_no_sense_is_refused_and_too_many_of_them_end_the_connection() {
    let tracker = Tracker::start().await;
    let mut client = RawClient::connect(&tracker).await;
    let unsupported = Some(Answer::Refused { why: Refusal::Unsupported });
    assert_eq!(client.send(b"").await, unsupported);
    assert_eq!(client.send(b"not CBOR").await, unsupported);
    assert_eq!(client.send(&[0x81; 100_000]).await, unsupported);
    assert_eq!(client.send(&vec![0; MAX_INDEX_MESSAGE_BYTES + 1]).await, None, "what is too long is cut off");
    let unknown = serde_cbor::to_vec(&std::collections::BTreeMap::from([("dance", 1)])).unwrap();
    assert_eq!(client.send(&unknown).await, unsupported);
    for _ in 0..100 {
        if client.send(b"").await.is_none() {
            let mut honest = IndexClient::connect(&tracker.address).await;
            assert!(honest.peers().await.is_empty(), "the others are served");
            return;
        }
    }
    panic!("a peer may send nonsense for ever");
}

#[tokio::test]
async fn a_tracker_that_is_stopped_closes_its_connections_and_starts_again_as_itself() {
    let tracker = Tracker::start().await;
    let identity = split_peer(tracker.address.clone()).1;
    let mut ada = publisher(&tracker, &["s/a"]).await;
    let stopped = tracker.stop();
    let closed = async { while !matches!(ada.swarm.select_next_some().await, SwarmEvent::ConnectionClosed { .. }) {} };
    let (folder, ()) = tokio::join!(stopped, closed);

    let again = Tracker::start_in(folder).await;
    assert_eq!(split_peer(again.address.clone()).1, identity);
    let mut back = IndexClient::connect_as(ada.identity.clone(), &again.address).await;
    let asked = back.ask(publish(1, 1, &[])).await;
    assert!(matches!(asked, Answer::Published(Published { revision: 1, .. })), "it holds what it held: {asked:?}");
    assert!(matches!(back.ask(list(back.key())).await, Answer::List(page) if page.entries.len() == 1));
}

#[tokio::test]
async fn a_second_tracker_on_the_same_folder_is_refused() {
    let tracker = Tracker::start().await;
    let second = Box::pin(run(tracker.config.clone(), std::future::pending(), |_| {})).await;
    assert!(matches!(second, Err(TrackerError::InUse(_))), "{second:?}");
}

#[tokio::test]
async fn a_port_that_is_taken_is_an_error_that_names_it() {
    let tracker = Tracker::start().await;
    let folder = tempfile::tempdir().unwrap();
    let (address, _) = split_peer(tracker.address.clone());
    for optional in [false, true] {
        let mut config = potluck_rendezvous::Config::new(folder.path());
        config.mdns = false;
        if optional {
            config.listen_if_possible.push(address.clone());
        } else {
            config.listen.push(address.clone());
        }
        let ended = Box::pin(run(config, std::future::pending(), |_| {})).await;
        assert!(matches!(&ended, Err(TrackerError::Taken { address: taken }) if *taken == address), "{ended:?}");
    }
}
