//! What both sides of a potluck swarm agree on: the validated types, the wire messages, how they become bytes, the one
//! transport, and the file index with its search.
//!
//! # Goals, in order
//!
//! 1. A remote cannot hurt us: bytes from a peer become a type that cannot be wrong before anything else happens; every
//!    message and collection has a most ([`wire`]); memory is never taken from a length that a remote names ([`codec`]).
//! 2. What is fetched is right: a file is named by its BLAKE3 hash, and each piece is verified on its own
//!    ([`content_id`], [`geometry`]).
//! 3. It is fast: bodies are raw bytes in reused buffers ([`buffer`]), frames fill what the encryption takes at once
//!    ([`muxer`]).
//!
//! # Code map
//!
//! | module | what |
//! |---|---|
//! | [`namespace`], [`peer`], [`share_path`], [`content_id`], [`geometry`], [`link`], [`invitation`] | one validated type each: the only way remote text or bytes come in |
//! | [`escape`] | remote text made safe for a terminal or a log line |
//! | [`wire`] | the messages of our protocols, one file each, and every limit |
//! | [`search`] | the file index: pure, used by the tracker over all peers and by a node over its own shares |
//! | [`buffer`] | bodies of answers, used again |
//! | [`limits`], [`rate`], [`conduct`], [`nearness`] | what remotes may cost, and who is cut off for it; what an address can mean |
//! | [`certificate`], [`gate`], [`host_limits`], [`handshakes`] | what a private tracker signs; protocols that are not spoken to a stranger; connections by where they come from; ending those that are not through |
//! | [`failure`], [`accept`], [`web`], [`qr`] | exit codes; clients of a listener, a bounded number; what the pages of both programs share; QR codes |
//! | [`codec`], [`muxer`], [`identity`], [`transport`] | messages to bytes, streams to frames, the key on disk, the swarm: with the four above the only modules that name libp2p |
//! | `halves` | two halves of one search at the same time, where a core is idle |
//!
//! # Participants
//!
//! A **tracker** serves libp2p's rendezvous protocol and `/potluck/index/1` over the files of all registered peers. A
//! **node** publishes to trackers and asks them, serves `/potluck/index/1` over its own shares, and serves and asks
//! `/potluck/piece/1`. Both are authenticated by the connection: a PeerId is proven before the first message. In a private
//! swarm neither speaks any of these before `/potluck/admit/1` has shown that the other is a member.
//! `docs/PROTOCOL.md` has the messages byte by byte.
//!
//! # Deliberately absent
//!
//! Tasks of their own (the programs have them; one search in two halves is all that is done at once), clocks (time is an argument), and any cryptography of our own.

pub mod accept;
pub mod buffer;
pub mod certificate;
pub mod codec;
pub mod conduct;
pub mod content_id;
pub mod escape;
pub mod failure;
pub mod gate;
pub mod geometry;
mod halves;
pub mod handshakes;
pub mod host_limits;
pub mod identity;
pub mod invitation;
pub mod limits;
pub mod link;
pub mod muxer;
pub mod namespace;
pub mod nearness;
pub mod peer;
pub mod qr;
pub mod rate;
pub mod search;
pub mod share_path;
pub mod transport;
pub mod web;
pub mod wire;
