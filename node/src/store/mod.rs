//! The only code of the node that opens files or a database.
//!
//! Everything here blocks: callers run it on threads of their own or `tokio::task::spawn_blocking`. Nothing here knows a network, a runtime or a
//! clock. What comes in from a remote is a type that cannot name a place outside the folder it is resolved in
//! ([`SharePath`](potluck_common::share_path::SharePath), [`TargetPath`]), and is opened beneath a held directory handle.
//!
//! * `beneath`: opening below a directory handle, without following a symbolic link anywhere.
//! * [`ShareDir`], [`SharedFile`]: a share, and a file of it that is served or hashed.
//! * [`scan`]: what is in a share.
//! * [`Watcher`]: what changes in a share, as far as the system tells.
//! * [`hash_file`]: a file's content id and piece hashes.
//! * [`DownloadDir`], [`PartFile`]: a download that grows beside its target.
//! * [`open_whole`]: a finished download, opened again.
//! * [`salvage`]: takes the right pieces out of a file that is there; `replace`: how a repaired file takes its place.
//! * [`FinishedRecord`]: a download that is in its place.
//! * [`LocalName`]: what a remote name is called on this disk.
//! * [`examine`], [`read_config`]: how the folders of a node are; its configuration file.
//! * `processor`: what the kernel says of the machine.
//! * [`State`]: the embedded database.
//! * [`KnownFilesWriter`], [`KnownFilesReader`]: what the shares held when the node last ran.

mod beneath;
mod config_file;
mod database;
mod download_dir;
mod download_record;
mod examine;
#[cfg(test)]
mod figures;
mod finished;
mod hasher;
mod known_files;
mod local_name;
mod memberships;
mod part_file;
mod processor;
mod replace;
mod rules;
mod salvage;
mod scanner;
mod share_dir;
mod state;
#[cfg(test)]
mod test_tree;
mod watcher;
mod whole_file;

pub use config_file::{config_path, read_config, write_config};
pub use database::StateError;
pub use download_dir::{DownloadDir, StoreError, TargetPath, already_there, clear_parts};
pub use download_record::{Choice, DownloadRecord, Phase, SourceHint};
pub use examine::{Findings, Owned, examine};
pub use finished::{FinishedRecord, look_at};
pub use hasher::{Hashed, hash_file};
pub use known_files::{Ending, KnownFilesReader, KnownFilesWriter, KnownShare, Record};
pub use local_name::LocalName;
pub use memberships::MembershipRecord;
pub use part_file::{Extent, Finished, OnConflict, PART_SUFFIX, PartFile};
pub(crate) use processor::processors;
pub use salvage::{hashes_of, salvage};
pub use scanner::{HardLinks, ScanEvent, ScanSummary, SkipReason, scan};
pub use share_dir::{RootId, ServeError, ShareDir, ShareError, SharedFile};
pub use state::{ShareRecord, State};

pub use crate::core::stamp::Stamp;
pub use watcher::{WatchError, Watcher};
pub use whole_file::open_whole;
