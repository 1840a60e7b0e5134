//! What the page and `potluck-tracker status` are told.

use crate::Event;
use crate::admin::{AdminAnswer, AdminError, EventLine, StatusLine, rfc3339};
use crate::event_loop::EventLoop;

/// Most peers that are told at once.
const MAX_PEERS: u32 = 1000;

impl<F: FnMut(Event)> EventLoop<F> {
    pub(crate) fn status(&self) -> AdminAnswer {
        let event =
            |event: &crate::figures::Happened| EventLine { at: rfc3339(event.at), event: event.what.to_owned(), peer: event.peer.clone() };
        let me = self.swarm.local_peer_id();
        let namespaces = self.index.namespaces();
        let shares_index = self.index.is_shared();
        AdminAnswer::Status(Box::new(StatusLine {
            peer_id: me.to_string(),
            addresses: self.swarm.listeners().map(|address| format!("{address}/p2p/{me}")).collect(),
            private: self.membership.is_some(),
            ready: self.index.is_ready(),
            shares_index,
            peers: namespaces.iter().map(|line| line.peers).sum(),
            files: (!shares_index).then(|| namespaces.iter().filter_map(|line| line.files).sum()),
            connections: self.swarm.network_info().num_peers() as u64,
            members: self.membership.as_ref().map(|membership| membership.ledger.members().count() as u64),
            searches: self.figures.searches,
            searches_per_second: self.figures.search_rate(),
            publishes: self.index.taken(),
            refused: self.figures.refused,
            stopped: self.tally.counts().into_iter().map(|(limit, count)| (limit.to_owned(), count)).collect(),
            page: self.page.as_ref().map(|door| door.address()),
            namespaces,
            events: self.figures.events().map(event).collect(),
        }))
    }

    pub(crate) fn peers_page(&self, offset: u64, limit: u32) -> AdminAnswer {
        AdminAnswer::Peers(self.index.registered(offset, limit.min(MAX_PEERS)))
    }

    /// A link to the page that signs in once.
    pub(crate) fn page_link(&mut self) -> AdminAnswer {
        let Some(door) = &self.page else {
            let message = "the tracker has no page; start it without `--page off`".to_owned();
            return AdminAnswer::Failed(AdminError { exit_code: 8, message });
        };
        let key = door.new_key(rand::random());
        AdminAnswer::Page(format!("{}#key={key}", door.address()))
    }
}
