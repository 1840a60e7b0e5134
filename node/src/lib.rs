//! A node of a potluck swarm. Placeholder for the code map.

mod asking;
mod browse;
mod clock;
mod commands;
pub mod config;
mod contacts;
pub mod core;
mod downloads;
pub mod error;
mod indexer;
pub mod net;
pub mod node;
mod refs;
mod shares;
pub mod store;
mod trackers;
pub mod types;
mod uploads;
