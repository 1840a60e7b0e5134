//! Admission on the network: whoever dialled says hello, and only who is admitted is told of above, or spoken to by any
//! other protocol. core/admission.rs decides. A node that is in no private swarm admits everybody, and none of this runs.

use libp2p::request_response::{self as rr, ResponseChannel};
use libp2p::{Multiaddr, PeerId};
use potluck_common::codec::Malformed;
use potluck_common::peer::PeerKey;
use potluck_common::transport::{key_of, peer_of};
use potluck_common::wire::admit::{Answer, CertificateBytes, Request, Welcome};
use potluck_common::wire::{Bounded, Refusal};
use tokio::sync::oneshot;

use super::event_loop::{EventLoop, ask_error};
use super::handle::{AskError, DialError, NetEvent};
use crate::clock::{now, unix_seconds};
use crate::core::admission::{Due, Renewal, Verdict};

impl EventLoop {
    /// There is a connection. In an open swarm the peer is admitted by that.
    pub(super) async fn on_connected(&mut self, peer: PeerId, address: Multiaddr, we_dialled: bool, is_first: bool) {
        let is_admitted = self.doorkeeper.is_admitted(&peer);
        if is_admitted {
            self.waiting.dials.settle_peer(peer, &Ok(peer));
            if is_first {
                self.tell(NetEvent::Connected(peer, address.clone())).await;
            }
        }
        let Some((admission, key)) = self.admission.as_mut().zip(key_of(&peer)) else { return };
        admission.handle_connected(key, now());
        if !is_admitted {
            self.waiting.arriving.entry(peer).or_insert(address);
        }
        if we_dialled {
            self.say_hello(peer, &key); // also to one that is admitted: it may have been started anew
        }
    }

    /// A peer's last connection is gone.
    pub(super) async fn on_disconnected(&mut self, peer: PeerId) {
        let was_told = self.waiting.arriving.remove(&peer).is_none();
        key_of(&peer).inspect(|key| self.conduct.handle_lost(key));
        if let Some((admission, key)) = self.admission.as_mut().zip(key_of(&peer)) {
            admission.handle_disconnected(&key);
            self.doorkeeper.dismiss(&peer);
            self.waiting.dials.settle_peer(peer, &Err(DialError::NotAdmitted));
        }
        if was_told {
            self.tell(NetEvent::Disconnected(peer)).await;
        }
    }

    /// Asks a tracker that we want to be a member of.
    pub(super) fn ask_admit(&mut self, peer: PeerId, request: Request, reply: oneshot::Sender<Result<Answer, AskError>>) {
        if !self.swarm.is_connected(&peer) {
            let _ = reply.send(Err(AskError::NotConnected));
            return;
        }
        let id = self.swarm.behaviour_mut().admit.send_request(&peer, Ok(request));
        self.waiting.admit.wait(id, reply);
    }

    pub(super) async fn on_admit(&mut self, event: rr::Event<Result<Request, Malformed>, Answer>) {
        match event {
            rr::Event::Message { peer, message: rr::Message::Request { request, channel, .. }, .. } => {
                let Some(key) = key_of(&peer) else { return };
                match request {
                    Ok(Request::Hello { certificates }) => self.on_hello(peer, key, &certificates, channel).await,
                    Ok(Request::Deny { list }) => {
                        let renewal = self.admission.as_mut().and_then(|admission| admission.handle_deny_list(&key, list));
                        let answer = if renewal.is_some() { Answer::Noted {} } else { refuse(Refusal::NotPermitted) };
                        self.answer_admit(channel, answer);
                        self.remember(renewal).await;
                    }
                    Ok(Request::Join(_)) | Err(_) => self.answer_admit(channel, refuse(Refusal::Unsupported)),
                }
            }
            rr::Event::Message { peer, message: rr::Message::Response { request_id, response }, .. } => {
                if let Some(answer) = self.waiting.admit.settle_or_return(&request_id, Ok(response)) {
                    self.on_answer(peer, answer.ok()).await;
                }
            }
            rr::Event::OutboundFailure { peer, request_id, error, .. } => {
                tracing::debug!(%peer, %error, "no answer to our hello");
                if self.waiting.admit.settle_or_return(&request_id, Err(ask_error(error))).is_some() {
                    self.on_answer(peer, None).await;
                }
            }
            rr::Event::InboundFailure { .. } | rr::Event::ResponseSent { .. } => {}
        }
    }

    /// Time has passed: who waited too long, or whose certificate expired, is dropped; ours is renewed.
    pub(super) fn on_tick(&mut self) {
        let due = self.admission.as_mut().map(|admission| admission.handle_tick(unix_seconds(), now()));
        for due in due.unwrap_or_default() {
            match due {
                Due::Drop(peer) => self.drop_peer(&peer),
                Due::Renew(tracker) => {
                    if let Some(peer) = peer_of(&tracker) {
                        self.say_hello(peer, &tracker);
                    }
                }
            }
        }
    }

    /// Certificates are shown to peers; a tracker of ours knows us.
    fn say_hello(&mut self, peer: PeerId, key: &PeerKey) {
        let Some(admission) = &self.admission else { return };
        let certificates = if admission.is_tracker(key) { Bounded::default() } else { admission.certificates() };
        self.swarm.behaviour_mut().admit.send_request(&peer, Ok(Request::Hello { certificates }));
    }

    /// A peer that dialled us shows its certificates.
    async fn on_hello(&mut self, peer: PeerId, key: PeerKey, certificates: &[CertificateBytes], channel: ResponseChannel<Answer>) {
        let Some(admission) = &mut self.admission else { return };
        match admission.handle_certificates(key, certificates, unix_seconds()) {
            Verdict::Admit => {
                let welcome = Welcome { certificates: admission.certificates(), ..Welcome::default() };
                self.admit(peer).await; // before the answer: its next stream may come right behind
                self.answer_admit(channel, Answer::Welcome(Box::new(welcome)));
            }
            Verdict::Refuse => {
                tracing::debug!(%peer, "event=not_admitted");
                self.answer_admit(channel, refuse(Refusal::NotPermitted));
            }
        }
    }

    /// What came to our hello; `None`: nothing.
    async fn on_answer(&mut self, peer: PeerId, answer: Option<Answer>) {
        let Some((admission, key)) = self.admission.as_mut().zip(key_of(&peer)) else { return };
        let admitted = match answer {
            Some(Answer::Welcome(welcome)) if admission.is_tracker(&key) => {
                let renewal = admission.handle_tracker_welcome(key, *welcome, unix_seconds(), now());
                let is_admitted = renewal.is_some();
                self.remember(renewal).await;
                is_admitted
            }
            Some(Answer::Welcome(welcome)) => admission.handle_certificates(key, &welcome.certificates, unix_seconds()) == Verdict::Admit,
            _ => false,
        };
        if admitted {
            self.admit(peer).await;
        } else if !self.doorkeeper.is_admitted(&peer) {
            self.drop_peer(&key);
        }
    }

    async fn admit(&mut self, peer: PeerId) {
        self.doorkeeper.admit(peer);
        self.waiting.dials.settle_peer(peer, &Ok(peer));
        if let Some(address) = self.waiting.arriving.remove(&peer) {
            self.tell(NetEvent::Connected(peer, address)).await;
        }
    }

    /// Has new papers remembered, and drops who is denied by them.
    async fn remember(&mut self, renewal: Option<Renewal>) {
        let Some(renewal) = renewal else { return };
        let is_denied = renewal.denied.is_some();
        self.tell(NetEvent::Renewed(Box::new(renewal))).await;
        let denied = self.admission.as_ref().filter(|_| is_denied).map(|admission| admission.denied());
        for peer in denied.unwrap_or_default() {
            tracing::info!(%peer, "event=revoked");
            self.drop_peer(&peer);
        }
    }

    /// Nothing more goes to a peer or comes from it. What it is owed ends with its connections.
    fn drop_peer(&mut self, key: &PeerKey) {
        let Some(peer) = peer_of(key) else { return };
        self.doorkeeper.dismiss(&peer);
        let _ = self.swarm.disconnect_peer_id(peer);
    }

    fn answer_admit(&mut self, channel: ResponseChannel<Answer>, answer: Answer) {
        let _ = self.swarm.behaviour_mut().admit.send_response(channel, answer);
    }
}

fn refuse(why: Refusal) -> Answer {
    Answer::Refused { why }
}
