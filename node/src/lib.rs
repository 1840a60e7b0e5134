//! A node of a potluck swarm: shares folders, searches everybody's, downloads from all who have a file.
//!
//! # Code map
//!
//! | module | what |
//! |---|---|
//! | [`cli`], [`run`] | what can be typed; one run of the program, from arguments to the end |
//! | [`shell`], [`control`] | the prompt; the socket by which another terminal speaks to a running node |
//! | `api` | the page: HTTP on loopback, for a browser and for programs |
//! | [`executor`] | who executes a command: the node in this process, or the one behind the socket |
//! | [`output`], `progress`, `human`, [`console`] | the one place that words what is printed; bars; figures; the two streams |
//! | [`node`], `commands` | **the facade**: start, execute a command, shut down. Every face calls only this |
//! | [`types`], [`error`], [`config`], [`limits`] | what goes in and out of the facade; what remotes may cost |
//! | `settings`, `doctor` | what the node runs with, taken over again while it runs; what keeps it from others |
//! | `membership` | joining a private swarm; which swarm a node is in |
//! | `trackers` | a task a tracker: keeps the registration, publishes what changes; finds trackers where none is named |
//! | `shares`, `indexer`, `browse`, `sharing` | what the node offers and to whom, its downloads with it; the threads that list and hash it; answers about it; the verbs of `share` |
//! | `downloads` | a task that glues the scheduler to network and disk; the verbs `download` and `verify` |
//! | `uploads` | a task that glues the upload slots to disk and network |
//! | `folders`, `reading` | a peer's folders a level at a time; a download's bytes while they come |
//! | `dialling` | which addresses are dialled that a tracker or a peer told |
//! | `asking`, `contacts`, `refs` | asking trackers and peers and joining their answers; whom we know; what a user can name |
//! | `whereabouts` | where the last searches found what |
//! | [`core`] | pure state machines: piece scheduler, upload slots, registration, journal, admission |
//! | [`net`] | the network shell: the only code that names libp2p's swarm |
//! | [`store`] | the disk shell: the only code that opens files and the database |
//! | `clock` | the only code that reads a clock |
//!
//! Arrows run downward: faces → facade → tasks → {net, store} → core → `potluck_common`.
//!
//! # A download, file by file
//!
//! 1. `node.rs`, `commands.rs`: a face hands over [`types::Command::Download`].
//! 2. `downloads/verb.rs`: references become wishes — content id, size, target, who has it — by asking trackers and peers
//!    (`asking.rs`).
//! 3. `downloads/engine.rs`, `begin.rs`: the target is looked at, the wish is remembered in the database, the scheduler
//!    ([`core::scheduler`]) is told.
//! 4. `core/scheduler.rs` decides who is asked for which piece; each request runs in a task of `downloads/fetch.rs`.
//! 5. `net/handle.rs`, `net/event_loop.rs`, `net/piece/`: the request goes to the peer by the connection that will be through with it
//!    first ([`core::load`]), on a stream that was used before if one is idle, and its answer comes back.
//! 6. `downloads/fetch.rs`: the piece is hashed and compared; only then `store/part_file.rs` writes it.
//! 7. `downloads/finish.rs`: every 64 MiB or five seconds the file is synced, then the bitmap of verified pieces is
//!    committed; at the end it is renamed into its place without replacing anything.
//!
//! With `-o -` nothing is renamed: `downloads/stream.rs` reads the pieces back in order and hands them to the face that asked.
//!
//! # Serving a piece
//!
//! `net/piece/` → `net/event_loop.rs` → `node.rs` (router) → `uploads.rs`: [`core::upload_slots`] decides when; the content id is looked
//! up in `shares.rs` — among files of shares, and downloads, which are offered as they grow — read beneath the share's open handle (`store/share_dir.rs`) and sent, unless the file is not what
//! was hashed: then the asker is told `Changed`, and the share is listed again.
//!
//! # Deliberately absent
//!
//! A store of our own for shared files (they are served in place), writing into shares, following symbolic links, and
//! any way for a remote to name a local path.

pub mod again;
mod api;
mod asking;
mod browse;
pub mod cli;
mod clock;
mod commands;
pub mod config;
pub mod console;
mod contacts;
pub mod control;
pub mod core;
mod dialling;
mod disk_threads;
mod doctor;
mod downloads;
pub mod error;
pub mod executor;
pub mod fast_copies;
mod folders;
mod human;
mod indexer;
pub mod limits;
mod membership;
pub mod net;
pub mod node;
pub mod one_arena;
pub mod output;
mod progress;
mod reading;
mod refs;
pub mod run;
mod settings;
mod shares;
mod sharing;
pub mod shell;
mod signals;
pub mod store;
mod trackers;
pub mod types;
mod uploads;
mod watching;
mod whereabouts;
