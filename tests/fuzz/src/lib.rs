//! What must hold for any bytes that come from a remote, a disk, or a person: one function a target.
//!
//! A target takes bytes and panics when something does not hold. The same functions run in two ways: under libFuzzer, which
//! looks for bytes that make one panic, take over a second or over 256 MiB (`just fuzz`, `tests/fuzz/run`), and over the committed seeds and
//! regressions in every test run (`tests/fuzz/tests/seeds.rs`). Whatever a fuzzer finds is fixed and its input kept in `seeds/TARGET/`, with
//! a name that says what it was.
//!
//! | target | bytes | what holds |
//! |---|---|---|
//! | [`messages`] | one CBOR message of any protocol of ours | decoding ends; what is decoded is encoded to the same message |
//! | [`frames`] | a stream of a request or an answer, cut anywhere | reading ends within its limits; a body is as long as its header says |
//! | [`muxer`] | what comes after encryption | no panic, no stream beyond the most |
//! | [`signed`] | a certificate or deny list | nothing is taken for signed that is not |
//! | [`hashes`] | piece hashes of a file | only the hashes of a file combine to its content id |
//! | [`share_path`] | a remote name | stays inside any folder, also as a local name, which leads back to it |
//! | [`escape`] | any text | acts on no terminal |
//! | [`query`] | a search and the names to search | the index finds what looking at every name finds |
//! | [`tickets`] | what people paste | is read again as the same when it is printed |
//! | [`resume`] | what a damaged disk says of a download | is refused or harmless |

mod bytes;
mod texts;

pub use bytes::{frames, hashes, messages, muxer, resume, signed};
pub use texts::{escape, query, share_path, tickets};

/// A target: panics when something does not hold for these bytes.
pub type Target = fn(&[u8]);

/// All targets by name.
pub const TARGETS: [(&str, Target); 10] = [
    ("messages", messages),
    ("frames", frames),
    ("muxer", muxer),
    ("signed", signed),
    ("hashes", hashes),
    ("share_path", share_path),
    ("escape", escape),
    ("query", query),
    ("tickets", tickets),
    ("resume", resume),
];

/// The target of this name.
#[must_use]
pub fn target(name: &str) -> Option<Target> {
    TARGETS.iter().find(|(known, _)| *known == name).map(|(_, target)| *target)
}
