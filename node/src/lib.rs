//! A node of a potluck swarm. Placeholder for the code map.

pub mod config;
pub mod error;
pub mod types;
