//! The private side of a tracker: its ledger with what has to be kept true around it — who is let in, what is on the disk,
//! what is signed. `on_admit.rs` calls it for what comes over the network and over the control socket.

use std::io;
use std::mem;
use std::time::Duration;

use libp2p::identity::Keypair;
use potluck_common::certificate;
use potluck_common::gate::Doorkeeper;
use potluck_common::namespace::Namespace;
use potluck_common::peer::PeerKey;
use potluck_common::transport::{key_of, peer_of};
use potluck_common::wire::Bounded;
use potluck_common::wire::admit::{Claims, DenyListBytes, Grant, SALT_BYTES, Welcome};
use tokio::task::JoinHandle;

use crate::admin::{AdminAnswer, AdminRequest, Consequence, Office};
use crate::ledger_file::LedgerFile;
use crate::lobby::Lobby;
use crate::members::Ledger;
use crate::rooms::Seating;

/// The private side of a tracker. `P` is an answer that waits until what it tells of is on the disk.
pub(crate) struct Membership<P> {
    pub(crate) ledger: Ledger,
    pub(crate) lobby: Lobby,
    doorkeeper: Doorkeeper,
    seating: Seating,
    key: Keypair,
    tracker: PeerKey,
    /// How long a certificate holds.
    life: Duration,
    file: LedgerFile,
    saving: Option<JoinHandle<io::Result<()>>>,
    /// Answers that wait for the save that runs, and for the one after it.
    being_saved: Vec<P>,
    unsaved: Vec<P>,
    /// Whether something has changed since the save that runs was begun.
    is_dirty: bool,
}

impl<P> Membership<P> {
    pub(crate) fn new(
        ledger: Ledger,
        file: LedgerFile,
        doors: (Doorkeeper, Seating),
        key: Keypair,
        life: Duration,
        lobby: Lobby,
    ) -> Option<Self> {
        let (doorkeeper, seating) = doors;
        let membership = Self {
            tracker: key_of(&key.public().to_peer_id())?,
            ledger,
            lobby,
            doorkeeper,
            seating,
            key,
            life,
            file,
            saving: None,
            being_saved: Vec::new(),
            unsaved: Vec::new(),
            is_dirty: false,
        };
        membership.ledger.members().for_each(|(peer, _)| membership.seat(peer));
        Some(membership)
    }

    /// Lets a member in, from its next connection on by rendezvous and at once by all else; or shows out who is none.
    fn seat(&self, peer: &PeerKey) {
        let Some(id) = peer_of(peer) else { return };
        let member = self.ledger.member(peer);
        self.seating.seat(id, member.map(|member| member.namespaces()).unwrap_or_default());
        if member.is_some() { self.doorkeeper.admit(id) } else { self.doorkeeper.dismiss(&id) }
    }

    /// Whether a peer is a member.
    pub(crate) fn is_member(&self, peer: &PeerKey) -> bool {
        self.ledger.member(peer).is_some()
    }

    /// What a peer may do in a namespace; `None`: nothing, and it is not told whether there is such a namespace.
    pub(crate) fn grant(&self, peer: &PeerKey, namespace: &Namespace) -> Option<&Grant> {
        self.ledger.grant(peer, namespace)
    }

    /// A peer has become a member.
    pub(crate) fn handle_joined(&mut self, peer: &PeerKey) {
        self.lobby.handle_gone(peer);
        self.seat(peer);
    }

    /// Carries out what whoever runs the tracker asks.
    pub(crate) fn execute(&mut self, request: AdminRequest, unix_now: i64) -> (AdminAnswer, Consequence) {
        let mut office = Office { ledger: &mut self.ledger, tracker: self.tracker, life: self.life, unix_now };
        let (answer, consequence) = office.execute(request);
        if let Consequence::CutOff(peer) = consequence {
            self.seat(&peer);
        }
        (answer, consequence)
    }

    /// A new certificate for a member, with what it grants; `None` for who is none.
    pub(crate) fn welcome(&self, peer: &PeerKey, unix_now: i64) -> Option<Welcome> {
        let member = self.ledger.member(peer)?;
        let expires = unix_now.saturating_add_unsigned(self.life.as_secs());
        let claims = Claims::new(*peer, &member.grants, rand::random::<[u8; SALT_BYTES]>(), unix_now, expires);
        let certificate = certificate::issue(&self.key, &claims)?;
        Some(Welcome {
            certificates: Bounded::truncated([certificate]),
            grants: Bounded::truncated(member.grants.iter().cloned()),
            denied: self.deny_list(unix_now),
        })
    }

    /// Whose certificates are void, signed.
    pub(crate) fn deny_list(&self, unix_now: i64) -> Option<DenyListBytes> {
        certificate::sign_list(&self.key, &self.ledger.deny_list(unix_now))
    }

    /// Saves the ledger on another thread; `answer` is handed back by [`handle_saved`](Self::handle_saved) when this change
    /// is on the disk.
    pub(crate) fn save(&mut self, answer: Option<P>) {
        self.unsaved.extend(answer);
        self.is_dirty = true;
        if self.saving.is_none() {
            self.start_saving();
        }
    }

    fn start_saving(&mut self) {
        self.is_dirty = false;
        let (file, ledger) = (self.file.clone(), self.ledger.clone());
        self.being_saved = mem::take(&mut self.unsaved);
        self.saving = Some(tokio::task::spawn_blocking(move || file.write(&ledger)));
    }

    /// The save that runs.
    pub(crate) fn saving(&mut self) -> Option<&mut JoinHandle<io::Result<()>>> {
        self.saving.as_mut()
    }

    /// The save is done. Returns the answers that waited for it.
    pub(crate) fn handle_saved(&mut self) -> Vec<P> {
        let saved = mem::take(&mut self.being_saved);
        self.saving = None;
        if self.is_dirty {
            self.start_saving();
        }
        saved
    }
}
