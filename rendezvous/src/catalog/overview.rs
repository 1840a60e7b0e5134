//! What whoever runs the tracker sees of the catalog.

use potluck_common::namespace::Namespace;
use potluck_common::peer::PeerKey;

use super::{Catalog, Group, Registration, Totals};
use crate::admin::{NamespaceLine, PeerLine, PeersPage};

impl Catalog {
    /// The namespaces by name, with what is told in each.
    #[must_use]
    pub fn namespaces(&self) -> Vec<NamespaceLine> {
        let mut lines: Vec<NamespaceLine> = self
            .groups
            .iter()
            .map(|(namespace, group)| {
                let (mut peers, mut parked) = (0, 0);
                let mut sum = Totals::default();
                for registration in group.registrations.values() {
                    if registration.presence.is_told() {
                        let Totals { files, bytes } = group.index.totals(registration.no);
                        peers += 1;
                        sum = Totals { files: sum.files + files, bytes: sum.bytes.saturating_add(bytes) };
                    } else {
                        parked += 1;
                    }
                }
                NamespaceLine {
                    namespace: namespace.to_string(),
                    peers,
                    parked: Some(parked),
                    files: Some(sum.files),
                    bytes: Some(sum.bytes),
                }
            })
            .collect();
        lines.sort_by(|one, other| one.namespace.cmp(&other.namespace));
        lines
    }

    /// Some of the registrations, in the order of namespaces and PeerIds, and how many there are.
    #[must_use]
    pub fn registered(&self, offset: u64, limit: u32) -> PeersPage {
        let mut groups: Vec<_> = self.groups.iter().collect();
        groups.sort_by_key(|(namespace, _)| *namespace);
        let total = groups.iter().map(|(_, group)| group.registrations.len() as u64).sum();
        let all = groups.into_iter().flat_map(|(namespace, group)| group.registrations.iter().map(move |pair| (namespace, group, pair)));
        let wanted = all.skip(usize::try_from(offset).unwrap_or(usize::MAX)).take(limit as usize);
        let line = |(namespace, group, (peer, registration)): (&Namespace, &Group, (&PeerKey, &Registration))| {
            let Totals { files, bytes } = group.index.totals(registration.no);
            PeerLine {
                peer_id: peer.to_string(),
                nickname: Some(registration.nickname.as_str().to_owned()),
                namespace: namespace.to_string(),
                addresses: registration.addresses.iter().map(|address| address.as_str().to_owned()).collect(),
                files: Some(files),
                bytes: Some(bytes),
                online: registration.presence.is_told(),
            }
        };
        PeersPage { items: wanted.map(line).collect(), total }
    }
}
