//! What both sides of a potluck swarm agree on.
//!
//! Placeholder for the code map.

pub mod buffer;
pub mod codec;
pub mod content_id;
pub mod escape;
pub mod geometry;
pub mod identity;
pub mod link;
pub mod muxer;
pub mod namespace;
pub mod peer;
pub mod search;
pub mod share_path;
pub mod transport;
pub mod wire;
