//! The harness: real swarms on one machine, and peers that lie.
//!
//! For: playing what users live through, with the programs that users run. A scenario starts a [`Town`](town::Town) of
//! trackers and nodes as processes on free ports, types the verbs that a person would type, reads the JSON that scripts
//! read, and kills what should be killed. It is a library so that a scenario is about 25 lines and reads as a story.
//!
//! | module | what |
//! |---|---|
//! | [`town`] | a folder with trackers and nodes in it |
//! | [`process`] | one running program: its events, its end, its memory |
//! | [`programs`] | where the programs are; builds them once |
//! | [`tree`] | folders with content from a seed, hashes that our own code did not make |
//! | [`hostile`] | a peer that publishes what it likes and serves lies |
//! | [`publisher`] | a peer that speaks the index protocol, and a story that it publishes |
//! | [`conformance`] | what every tracker's index does, whoever keeps it |
//! | [`film`] | a video that browsers play |
//! | [`postgres`] | a real database server in a temporary folder |
//! | [`disk`] | a file system whose power can be cut |
//! | [`stranger`] | one that throws bytes at a tracker or a node |
//! | [`negotiation`] | one that never settles on a protocol |
//! | [`victim`] | one who has nothing to do with a swarm |
//! | [`network`] | networks in which public addresses are this machine's |
//! | [`caller`] | a QUIC client that shows whatever certificate it is told to |
//! | [`elsewhere`] | connections that come from thousands of addresses |
//! | [`grammar`] | what can be typed, as the help tells it |
//! | [`schema`] | what lines of JSON look like |
//! | [`siege`] | what must hold after every attack |
//! | [`trend`] | whether what is measured again and again grows |
//! | [`http`] | a client that sends exactly what a test says |
//! | [`browser`] | Chromium, driven as a person would |
//! | [`arrows`] | what may name what: the checker of the architecture |
//! | [`supply`] | what we may be built from: the checker of dependencies |
//! | [`clock`] | waiting for a condition with a deadline; the only clock of the harness |
//! | [`failure`] | why a step could not be done |
//!
//! Absent on purpose: fixed ports, waiting for a fixed time, containers, the Internet, fakes of our own programs.
#![allow(clippy::print_stdout, reason = "demo and benchmark live on what they print")]

pub mod arrows;
pub mod browser;
pub mod caller;
pub mod clock;
pub mod conformance;
pub mod disk;
pub mod elsewhere;
pub mod failure;
pub mod film;
pub mod grammar;
pub mod hostile;
pub mod http;
pub mod negotiation;
pub mod network;
pub mod postgres;
pub mod process;
pub mod programs;
pub mod publisher;
pub mod schema;
pub mod siege;
pub mod stranger;
pub mod supply;
pub mod town;
pub mod tree;
pub mod trend;
pub mod victim;

mod raw;

pub use failure::{Failure, Result};
