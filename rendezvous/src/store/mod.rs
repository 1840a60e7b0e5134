//! What peers published, on the disk: after a crash or a power cut the tracker knows again what it has acknowledged.
//!
//! The catalog decides and is in memory; the store follows it. A `Publish` with changes goes into the catalog, where it is
//! found at once, and to the [`Keeper`]'s thread, which writes whatever has come meanwhile as one transaction, waits until
//! the disk has it, and only then lets the answers go. So an answer promises: this revision survives a power cut.
//!
//! What a peer offers in a namespace stands on a *shelf*. Who starts anew gets a new one, so that dropping the old is one
//! row; its files are swept away later, some thousand at a time.
//!
//! Not on the disk: names, addresses and presence of peers, which they bring when they come back; registrations by
//! rendezvous; leases, which count anew from the restart. A peer that does not come back within one is forgotten, here and
//! on the disk.
//!
//! When the disk is full or fails, changes are refused and everything else goes on. What was in the catalog but did not
//! reach the disk stays findable (the peer does have these files), under revision 0: the peer publishes it anew when there
//! is room again.
//!
//! | file | what it is |
//! |---|---|
//! | `table.rs` | the database: registrations, files, sweeping |
//! | `keeper.rs` | its thread: groups what comes, commits, waits for a better time when the disk fails |
//! | `restore.rs` | the catalog, made again of the database |

mod keeper;
mod restore;
mod table;

pub(crate) use keeper::{Group, Keeper, Told};

use potluck_common::peer::PeerKey;
use potluck_common::wire::index::Publish;

use crate::catalog::ShelfNo;

/// A `Publish` to be saved.
#[derive(Debug)]
pub(crate) struct Save {
    /// Where.
    pub(crate) shelf: ShelfNo,
    /// Whose.
    pub(crate) peer: PeerKey,
    /// What.
    pub(crate) publish: Publish,
}

/// The database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It is damaged.
    #[error("it is damaged: {0}")]
    Damaged(String),
    /// A later version of the program wrote it.
    #[error("a newer version of the tracker wrote it (format {0}); run that version, or name another folder with --data-dir DIR")]
    Newer(u64),
    /// The disk is full.
    #[error("no room is left on its disk; free some")]
    NoSpace,
    /// The disk failed, or the permissions forbid it.
    #[error("it cannot be read or written: {0}; check the disk and the permissions")]
    Disk(String),
}
