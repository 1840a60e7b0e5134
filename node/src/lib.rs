//! A node of a potluck swarm. Placeholder for the code map.

mod asking;
pub mod config;
mod contacts;
pub mod error;
pub mod net;
mod refs;
pub mod types;
