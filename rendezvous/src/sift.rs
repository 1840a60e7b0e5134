//! What libp2p's rendezvous server is not asked. It answers by itself, and more than is good for a swarm: DISCOVER without
//! a namespace lists all that it holds, and REGISTER keeps whatever addresses a record names, be they of a machine that has
//! nothing to do with the peer. So each request is read before the server sees it, and such are refused in its place.
//!
//! libp2p does not name the types in which a connection hands a request over. What is known of them is that they are those
//! of a request-response protocol, whose codec turns the messages into bytes and back.

use std::collections::HashSet;

use futures::FutureExt;
use futures::io::Cursor;
use libp2p::core::signed_envelope::SignedEnvelope;
use libp2p::core::{Multiaddr, PeerRecord};
use libp2p::rendezvous::ErrorCode;
use libp2p::request_response::{self as rr, InboundRequestId};
use libp2p::swarm::THandlerOutEvent;
use libp2p::{StreamProtocol, rendezvous};
use prost::Message as _;

/// The name of the protocol; its codec does not look at it.
const PROTOCOL: StreamProtocol = StreamProtocol::new("/rendezvous/1.0.0");

/// What a connection tells a protocol that has this codec.
type Told<C> = THandlerOutEvent<rr::Behaviour<C>>;

/// What a peer asks, as far as it matters whether it may.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Asked {
    /// To be told to others at these addresses, in this namespace.
    Register(rendezvous::Namespace, Vec<Multiaddr>),
    /// Who is in any namespace at all.
    DiscoverAll,
    /// Something else.
    Else,
}

/// Refuses in place of the server, on one connection. What is said later of a request that was refused is kept from the server too.
#[derive(Debug, Default)]
pub(crate) struct Sieve {
    /// Refused, and not yet known to be over; each is a stream of the connection, and those are limited.
    refused: HashSet<InboundRequestId>,
}

impl Sieve {
    /// Takes what a connection tells. `judge` says why a request is refused. Returns what the server is to be told.
    pub(crate) fn sift<C>(&mut self, event: Told<C>, judge: impl FnOnce(&Asked) -> Option<ErrorCode>) -> Option<Told<C>>
    where
        C: rr::Codec<Protocol = StreamProtocol> + Clone + Default + Send + 'static,
        C::Request: Clone,
    {
        let id = match &event {
            Told::<C>::Request { request_id, request, .. } => {
                let asked = asked::<C>(request.clone()).unwrap_or(Asked::Else);
                let Some(answer) = judge(&asked).and_then(|why| refusal::<C>(&asked, why)) else { return Some(event) };
                let id = *request_id;
                if let Told::<C>::Request { sender, .. } = event {
                    self.refused.insert(id);
                    let _gone = sender.send(answer);
                }
                return None;
            }
            Told::<C>::ResponseSent(id) | Told::<C>::ResponseOmission(id) | Told::<C>::InboundTimeout(id) => *id,
            Told::<C>::InboundStreamFailed { request_id, .. } => *request_id,
            _ => return Some(event),
        };
        (!self.refused.remove(&id)).then_some(event)
    }
}

/// Reads a request by the bytes that it came as.
fn asked<C>(request: C::Request) -> Option<Asked>
where
    C: rr::Codec<Protocol = StreamProtocol> + Default,
{
    let mut bytes = Cursor::new(Vec::new());
    C::default().write_request(&PROTOCOL, &mut bytes, request).now_or_never()?.ok()?;
    let message = Message::decode_length_delimited(bytes.get_ref().as_slice()).ok()?;
    match message {
        Message { register: Some(Register { ns, signed_peer_record }), .. } => {
            let envelope = SignedEnvelope::from_protobuf_encoding(&signed_peer_record?).ok()?;
            let record = PeerRecord::from_signed_envelope(envelope).ok()?;
            Some(Asked::Register(rendezvous::Namespace::new(ns?).ok()?, record.addresses().to_vec()))
        }
        Message { discover: Some(Discover { ns: None }), .. } => Some(Asked::DiscoverAll),
        _ => Some(Asked::Else),
    }
}

/// The answer that refuses what was asked; `None` for what has no answer.
fn refusal<C>(asked: &Asked, why: ErrorCode) -> Option<C::Response>
where
    C: rr::Codec<Protocol = StreamProtocol> + Default,
{
    let status = Some(status(why));
    let message = match asked {
        Asked::Register(..) => Message { kind: Some(1), register_response: Some(RegisterResponse { status }), ..Message::default() },
        Asked::DiscoverAll => Message { kind: Some(4), discover_response: Some(DiscoverResponse { status }), ..Message::default() },
        Asked::Else => return None,
    };
    let mut bytes = Cursor::new(message.encode_length_delimited_to_vec());
    C::default().read_response(&PROTOCOL, &mut bytes).now_or_never()?.ok()
}

/// The number of a reason on the wire.
fn status(why: ErrorCode) -> i32 {
    match why {
        ErrorCode::InvalidNamespace => 100,
        ErrorCode::InvalidSignedPeerRecord => 101,
        ErrorCode::InvalidTtl => 102,
        ErrorCode::InvalidCookie => 103,
        ErrorCode::NotAuthorized => 200,
        ErrorCode::InternalError => 300,
        ErrorCode::Unavailable => 400,
    }
}

/// A message of the protocol (libp2p specs, rendezvous), of which only what is looked at here and what refuses is named.
#[derive(Clone, PartialEq, prost::Message)]
struct Message {
    #[prost(int32, optional, tag = "1")]
    kind: Option<i32>,
    #[prost(message, optional, tag = "2")]
    register: Option<Register>,
    #[prost(message, optional, tag = "3")]
    register_response: Option<RegisterResponse>,
    #[prost(message, optional, tag = "5")]
    discover: Option<Discover>,
    #[prost(message, optional, tag = "6")]
    discover_response: Option<DiscoverResponse>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Register {
    #[prost(string, optional, tag = "1")]
    ns: Option<String>,
    #[prost(bytes = "vec", optional, tag = "2")]
    signed_peer_record: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RegisterResponse {
    #[prost(int32, optional, tag = "1")]
    status: Option<i32>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Discover {
    #[prost(string, optional, tag = "1")]
    ns: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct DiscoverResponse {
    #[prost(int32, optional, tag = "3")]
    status: Option<i32>,
}
