//! Membership: what strangers and members ask by the admit protocol, and what whoever runs the tracker asks by the control
//! socket.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use libp2p::PeerId;
use libp2p::request_response::{Event as Exchange, Message, ResponseChannel};
use libp2p::swarm::ConnectionId;
use potluck_common::codec::Malformed;
use potluck_common::invitation::Place;
use potluck_common::limits::Stop;
use potluck_common::namespace::Namespace;
use potluck_common::peer::PeerKey;
use potluck_common::transport::{key_of, peer_of};
use potluck_common::wire::Refusal;
use potluck_common::wire::admit::{Answer, Invalid, Join, Request};
use tokio::sync::oneshot;

use crate::Event;
use crate::admin::{AdminAnswer, AdminError, AdminRequest, Consequence};
use crate::clock::unix_seconds;
use crate::control::Ask;
use crate::event_loop::EventLoop;

/// How many may join by the invitation that a new private tracker prints: whoever starts it, and the first to be asked.
const FIRST_USES: u32 = 5;
/// How long it holds.
const FIRST_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);

/// An answer that waits until what it tells of is on the disk.
pub(crate) enum Pending {
    /// To a peer that has joined.
    Joined { channel: ResponseChannel<Answer>, answer: Answer },
    /// To whoever runs the tracker.
    Done { reply: oneshot::Sender<AdminAnswer>, answer: AdminAnswer },
}

impl<F: FnMut(Event)> EventLoop<F> {
    pub(crate) fn on_admit(&mut self, event: Exchange<Result<Request, Malformed>, Answer>) {
        match event {
            Exchange::Message { peer, connection_id, message: Message::Request { request, channel, .. } } => {
                let Some(key) = key_of(&peer) else { return };
                match request {
                    Ok(Request::Hello { .. }) => self.on_hello(key, channel),
                    Ok(Request::Join(join)) => self.on_join(key, connection_id, &join, channel),
                    Ok(Request::Deny { .. }) | Err(_) => self.answer_admit(channel, refuse(Refusal::Unsupported)),
                }
            }
            Exchange::InboundFailure { peer, error, .. } => tracing::debug!(%peer, %error, "an answer of admission did not arrive"),
            Exchange::OutboundFailure { peer, error, .. } => tracing::debug!(%peer, %error, "the deny list did not arrive"),
            Exchange::Message { .. } | Exchange::ResponseSent { .. } => {}
        }
    }

    /// Whether a peer may do something in a namespace: on an open tracker, always.
    pub(crate) fn may(&self, peer: &PeerKey, namespace: &Namespace, needs_writing: bool) -> bool {
        let Some(membership) = &self.membership else { return true };
        membership.grant(peer, namespace).is_some_and(|grant| !(needs_writing && grant.read_only))
    }

    /// Whether a peer is only here to redeem an invitation.
    pub(crate) fn is_stranger(&self, peer: &PeerKey) -> bool {
        self.membership.as_ref().is_some_and(|membership| !membership.is_member(peer))
    }

    /// A member publishes under a name: it is the one by which it is listed. It is saved with the next change that matters,
    /// so that who renames itself without end does not wear out the disk.
    pub(crate) fn note_nickname(&mut self, peer: &PeerKey, nickname: &str) {
        if let Some(membership) = &mut self.membership {
            membership.ledger.rename(peer, nickname);
        }
    }

    /// Strangers that stayed too long are shown out.
    pub(crate) fn show_out(&mut self) {
        let now = self.now();
        let Some(membership) = &mut self.membership else { return };
        for peer in membership.lobby.handle_tick(now).iter().filter_map(peer_of) {
            tracing::debug!(%peer, "event=not_admitted: a stranger stayed too long");
            let _already_gone = self.swarm.disconnect_peer_id(peer);
        }
    }

    fn on_hello(&mut self, peer: PeerKey, channel: ResponseChannel<Answer>) {
        let welcome = self.membership.as_ref().and_then(|membership| membership.welcome(&peer, unix_seconds()));
        let answer = welcome.map_or_else(|| refuse(Refusal::NotPermitted), |welcome| Answer::Welcome(Box::new(welcome)));
        self.answer_admit(channel, answer);
    }

    fn on_join(&mut self, peer: PeerKey, connection: ConnectionId, join: &Join, channel: ResponseChannel<Answer>) {
        let now = self.now();
        let unix_now = unix_seconds();
        let address = self.origins.get(&connection).copied();
        let Some(membership) = &mut self.membership else { return };
        let why = if membership.lobby.may_try(peer, address, now) {
            match membership.ledger.redeem(&join.secret, peer, &join.nickname, unix_now) {
                Ok(_) => {
                    membership.handle_joined(&peer);
                    tracing::info!(%peer, "event=joined");
                    self.figures.note(unix_now, "became a member", &peer);
                    let welcome = membership.welcome(&peer, unix_now).unwrap_or_default();
                    membership.save(Some(Pending::Joined { channel, answer: Answer::Welcome(Box::new(welcome)) }));
                    return;
                }
                Err(why) => {
                    membership.lobby.handle_failure(peer, address, now);
                    why
                }
            }
        } else {
            Invalid::TooManyTries
        };
        self.tally.count(Stop::BadInvitation);
        let ip = address.map_or_else(|| "?".to_owned(), |ip| ip.to_string());
        tracing::warn!("event=bad_invitation peer={peer} ip={ip} reason={why:?}");
        self.figures.note(unix_now, "came with an invitation that does not hold", &peer);
        self.answer_admit(channel, Answer::NotJoined { why });
    }

    fn answer_admit(&mut self, channel: ResponseChannel<Answer>, answer: Answer) {
        if self.swarm.behaviour_mut().admit.send_response(channel, answer).is_err() {
            tracing::debug!("a stranger asked and left");
        }
    }

    /// Whoever runs the tracker asks something.
    pub(crate) fn on_admin(&mut self, (request, reply): Ask) {
        let told = match request {
            AdminRequest::Status => Some(self.status()),
            AdminRequest::Peers { offset, limit } => Some(self.peers_page(offset, limit)),
            AdminRequest::Page => Some(self.page_link()),
            _ => None,
        };
        if let Some(answer) = told {
            return drop(reply.send(answer));
        }
        let Some(membership) = &mut self.membership else {
            let message = "this tracker is open: everybody may join; stop it and start it with --private for one that admits members only";
            let _gone = reply.send(AdminAnswer::Failed(AdminError { exit_code: 2, message: message.to_owned() }));
            return;
        };
        let (answer, consequence) = membership.execute(request, unix_seconds());
        match consequence {
            Consequence::Nothing => drop(reply.send(answer)),
            Consequence::Save => membership.save(Some(Pending::Done { reply, answer })),
            Consequence::CutOff(peer) => {
                membership.save(Some(Pending::Done { reply, answer }));
                self.cut_off(&peer);
            }
        }
    }

    /// Nobody speaks to a peer any more: its registrations and connections end here, and all members are told.
    fn cut_off(&mut self, peer: &PeerKey) {
        tracing::info!(%peer, "event=revoked");
        self.figures.note(unix_seconds(), "is a member no longer", peer);
        self.index.withdraw_all(peer);
        if let Some(id) = peer_of(peer) {
            let _not_here = self.swarm.disconnect_peer_id(id);
        }
        let list = self.membership.as_ref().and_then(|membership| membership.deny_list(unix_seconds()));
        let Some(list) = list else { return };
        let is_member = |id: &&PeerId| key_of(id).is_some_and(|key| !self.is_stranger(&key));
        let members: Vec<PeerId> = self.swarm.connected_peers().filter(is_member).copied().collect();
        for member in members {
            self.swarm.behaviour_mut().admit.send_request(&member, Ok(Request::Deny { list: list.clone() }));
        }
    }

    /// The ledger is on the disk, or could not be written.
    pub(crate) fn on_saved(&mut self, saved: io::Result<()>) {
        let Some(membership) = &mut self.membership else { return };
        let pending = membership.handle_saved();
        if let Err(error) = &saved {
            tracing::error!("the members could not be saved: {error}; free some space, or restart the tracker to lose the last change");
        }
        for one in pending {
            match one {
                Pending::Joined { channel, answer } => {
                    let answer = if saved.is_ok() { answer } else { refuse(Refusal::Unavailable) };
                    self.answer_admit(channel, answer);
                }
                Pending::Done { reply, answer } => {
                    let failed = |error: &io::Error| {
                        let message = format!("it is done, but could not be saved ({error}): it lasts until the tracker stops");
                        AdminAnswer::Failed(AdminError { exit_code: 7, message })
                    };
                    drop(reply.send(saved.as_ref().err().map_or(answer, failed)));
                }
            }
        }
    }

    /// All addresses are known: they are what invitations name. A tracker that nobody was ever invited to prints the first.
    pub(crate) fn prepare_invitations(&mut self, external: &[Place], namespace: Namespace) {
        let own: Vec<Place> = self.swarm.listeners().filter_map(|address| address.to_string().parse().ok()).collect();
        let from_outside = own.iter().any(|place| !place.is_loopback());
        let own = own.iter().filter(|place| !(from_outside && place.is_loopback()));
        let places: Vec<String> = external.iter().chain(own).map(ToString::to_string).collect();
        let Some(membership) = &mut self.membership else { return };
        let is_blank = membership.ledger.is_blank();
        membership.ledger.places = places;
        if is_blank {
            let request = AdminRequest::Invite {
                uses: FIRST_USES,
                expires_in: Some(FIRST_LIFE.as_secs()),
                namespace,
                read_only: false,
                addresses: Vec::new(),
            };
            match membership.execute(request, unix_seconds()).0 {
                AdminAnswer::Invitations(lines) => lines.into_iter().for_each(|line| (self.on_event)(Event::Invited(Box::new(line)))),
                other => tracing::warn!(?other, "no first invitation"),
            }
        }
        membership.save(None);
    }

    /// Where a connection comes from; `None`: no longer needed.
    pub(crate) fn note_origin(&mut self, connection: ConnectionId, ip: Option<IpAddr>) {
        match ip {
            Some(ip) => drop(self.origins.insert(connection, ip)),
            None => drop(self.origins.remove(&connection)),
        }
    }
}

fn refuse(why: Refusal) -> Answer {
    Answer::Refused { why }
}
