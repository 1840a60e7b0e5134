//! Two programs on a real connection, one behind a gate.
#![allow(clippy::unwrap_used)] // clippy knows `#[test]` functions, not their helpers

use std::time::Duration;

use futures::StreamExt;
use libp2p::core::upgrade::NegotiationError;
use libp2p::identity::Keypair;
use libp2p::request_response::{Event, Message, OutboundFailure};
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, PeerId, Swarm};
use potluck_common::gate::{Doorkeeper, Gate};
use potluck_common::namespace::Namespace;
use potluck_common::transport::{IndexBehaviour, build_swarm, index_behaviour};
use potluck_common::wire::index::{Answer, Request, Withdraw};

/// How long any step may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

type Program = Swarm<Gate<IndexBehaviour>>;

fn program(doorkeeper: &Doorkeeper) -> Program {
    build_swarm(Keypair::generate_ed25519(), |_, _| Gate::new(index_behaviour(), doorkeeper.clone())).unwrap()
}

fn request() -> Request {
    Request::Withdraw(Withdraw { namespace: Namespace::default(), park: false })
}

/// Runs both until one connection is there.
async fn connect(server: &mut Program, client: &mut Program) {
    server.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
    let address: Multiaddr = loop {
        if let SwarmEvent::NewListenAddr { address, .. } = server.select_next_some().await {
            break address;
        }
    };
    client.dial(address.with_p2p(*server.local_peer_id()).unwrap()).unwrap();
    let (mut here, mut there) = (false, false);
    while !(here && there) {
        tokio::select! {
            event = server.select_next_some() => here |= matches!(event, SwarmEvent::ConnectionEstablished { .. }),
            event = client.select_next_some() => there |= matches!(event, SwarmEvent::ConnectionEstablished { .. }),
        }
    }
}

/// Asks, lets the server answer, and returns what came of it.
async fn ask(server: &mut Program, client: &mut Program) -> Result<Answer, OutboundFailure> {
    let peer: PeerId = *server.local_peer_id();
    client.behaviour_mut().send_request(&peer, Ok(request()));
    loop {
        tokio::select! {
            event = server.select_next_some() => {
                if let SwarmEvent::Behaviour(Event::Message { message: Message::Request { request: Ok(_), channel, .. }, .. }) = event {
                    server.behaviour_mut().send_response(channel, Answer::Withdrawn {}).unwrap();
                }
            }
            event = client.select_next_some() => match event {
                SwarmEvent::Behaviour(Event::Message { message: Message::Response { response, .. }, .. }) => return Ok(response),
                SwarmEvent::Behaviour(Event::OutboundFailure { error, .. }) => return Err(error),
                _ => {}
            },
        }
    }
}

/// The request was sent along with the proposal of its protocol, so that the refusal is a failure of the stream.
fn is_refused(outcome: &Result<Answer, OutboundFailure>) -> bool {
    let Err(OutboundFailure::Io(error)) = outcome else { return false };
    error.get_ref().is_some_and(|cause| matches!(cause.downcast_ref(), Some(NegotiationError::Failed)))
}

async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.unwrap()
}

#[tokio::test]
async fn a_stranger_is_refused_and_served_at_once_when_it_is_admitted() {
    let doorkeeper = Doorkeeper::guarded();
    let (mut server, mut client) = (program(&doorkeeper), program(&Doorkeeper::open_house()));
    within(connect(&mut server, &mut client)).await;
    let refused = within(ask(&mut server, &mut client)).await;
    assert!(is_refused(&refused), "{refused:?}");
    doorkeeper.admit(*client.local_peer_id());
    assert_eq!(within(ask(&mut server, &mut client)).await.ok(), Some(Answer::Withdrawn {}));
    doorkeeper.dismiss(client.local_peer_id());
    let refused = within(ask(&mut server, &mut client)).await;
    assert!(is_refused(&refused), "{refused:?}");
}

#[tokio::test]
async fn who_was_admitted_before_it_came_is_served_from_the_start() {
    let doorkeeper = Doorkeeper::guarded();
    let (mut server, mut client) = (program(&doorkeeper), program(&Doorkeeper::open_house()));
    doorkeeper.admit(*client.local_peer_id());
    within(connect(&mut server, &mut client)).await;
    assert_eq!(within(ask(&mut server, &mut client)).await.ok(), Some(Answer::Withdrawn {}));
}

#[tokio::test]
async fn nothing_is_asked_of_a_stranger_until_it_is_admitted() {
    let doorkeeper = Doorkeeper::guarded();
    let (mut server, mut client) = (program(&Doorkeeper::open_house()), program(&doorkeeper));
    within(connect(&mut server, &mut client)).await;
    let early = tokio::time::timeout(Duration::from_millis(300), ask(&mut server, &mut client)).await;
    assert!(early.is_err(), "asked before it was admitted: {early:?}");
    doorkeeper.admit(*server.local_peer_id());
    assert_eq!(within(ask(&mut server, &mut client)).await.ok(), Some(Answer::Withdrawn {}));
}
