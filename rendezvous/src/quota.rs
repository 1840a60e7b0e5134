//! How much a peer may have in the index.

use potluck_common::limits::Field;

/// Most that the catalog holds. What is over it is refused; nothing that is held is dropped for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Namespaces in all. An empty one is forgotten, so that these are groups in use.
    pub namespaces: u64,
    /// Peers in one namespace.
    pub peers_per_namespace: u64,
    /// Namespaces in which one peer is registered.
    pub namespaces_per_peer: u64,
    /// Files that one peer offers in one namespace.
    pub files_per_peer: u64,
    /// Bytes of the paths of those files.
    pub path_bytes_per_peer: u64,
    /// Files in all.
    pub files: u64,
    /// Bytes of all paths.
    pub path_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            namespaces: 1024,
            peers_per_namespace: 10_000, // as many as can be connected
            namespaces_per_peer: 8,
            files_per_peer: 2_000_000,      // the tree of a large file server
            path_bytes_per_peer: 256 << 20, // 128 bytes a file at the limit above
            files: 20_000_000,              // with 100 bytes a path and as much again around it: 4 GiB
            path_bytes: 2 << 30,
        }
    }
}

impl Limits {
    /// All of them, to be set and shown.
    pub fn fields(&mut self) -> Vec<Field<'_>> {
        vec![
            ("namespaces", "namespaces in all", &mut self.namespaces),
            ("peers-per-namespace", "peers in one namespace", &mut self.peers_per_namespace),
            ("namespaces-per-peer", "namespaces in which one peer is registered", &mut self.namespaces_per_peer),
            ("files-per-peer", "files that one peer offers in one namespace", &mut self.files_per_peer),
            ("path-bytes-per-peer", "bytes of the paths of those files", &mut self.path_bytes_per_peer),
            ("files", "files in all", &mut self.files),
            ("path-bytes", "bytes of all paths", &mut self.path_bytes),
        ]
    }
}
