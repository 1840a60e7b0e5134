//! Routes events of swarm, time and shutdown to who handles them. Decides nothing.

use std::collections::HashMap;
use std::future::Future;
use std::net::IpAddr;
use std::pin::pin;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::future::OptionFuture;
use libp2p::core::transport::ListenerId;
use libp2p::multiaddr::Protocol;
use libp2p::request_response::ResponseChannel;
use libp2p::swarm::{ConnectionId, SwarmEvent};
use libp2p::{Multiaddr, Swarm, TransportError};
use potluck_common::conduct::Conduct;
use potluck_common::gate::Doorkeeper;
use potluck_common::host_limits::stop_of;
use potluck_common::invitation::Place;
use potluck_common::limits::Tally;
use potluck_common::namespace::Namespace;
use potluck_common::transport::{build_swarm, ip_of, is_taken};
use potluck_common::web::Door;
use potluck_common::wire::index::Answer;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use crate::behaviour::{Behaviour, BehaviourEvent};
use crate::clock::{Clock, unix_seconds};
use crate::config::Config;
use crate::control::Ask;
use crate::data_dir::DataDir;
use crate::figures::Figures;
use crate::index::{Embedded, Index, Shared, Told};
use crate::ledger_file::LedgerFile;
use crate::liveness::Liveness;
use crate::lobby::Lobby;
use crate::members::Ledger;
use crate::membership::Membership;
use crate::on_admit::Pending;
use crate::reach::Reach;
use crate::rooms::Seating;
use crate::watches::Watches;
use crate::{Event, TrackerError};

/// How often leases, grace and silence are looked at: how late any of them may be noticed.
const TICK: Duration = Duration::from_millis(500);
/// How long closing may take. Whoever does not take part is cut off.
const CLOSING: Duration = Duration::from_secs(2);
/// How long a start waits for what is saved before it goes on without: some hundred thousand files are there by then.
const RESTORING: Duration = Duration::from_millis(250);

/// A running tracker.
pub(crate) struct EventLoop<F> {
    pub(crate) swarm: Swarm<Behaviour>,
    /// Who offers what.
    pub(crate) index: Index<ResponseChannel<Answer>>,
    pub(crate) liveness: Liveness,
    /// Where each connection comes from; the number of connections bounds it.
    pub(crate) origins: HashMap<ConnectionId, IpAddr>,
    /// Where peers were reached that are not seen there.
    pub(crate) reach: Reach<Multiaddr>,
    /// Who waits for what to be published.
    pub(crate) watches: Watches<ResponseChannel<Answer>>,
    pub(crate) conduct: Conduct,
    /// How often each limit stopped somebody.
    pub(crate) tally: Tally,
    /// What it has done.
    pub(crate) figures: Figures,
    /// The door of its page, if it has one.
    pub(crate) page: Option<Door>,
    /// Of a private tracker.
    pub(crate) membership: Option<Membership<Pending>>,
    /// What whoever runs the tracker asks.
    admin: mpsc::Receiver<Ask>,
    /// Where others reach the tracker that it does not see itself.
    external: Vec<Place>,
    /// What the first invitation is for.
    namespace: Namespace,
    clock: Clock,
    pub(crate) on_event: F,
    told_ready: bool,
    /// How far restoring is: told after the addresses, which come first of all.
    to_tell: Option<Event>,
}

impl<F: FnMut(Event)> EventLoop<F> {
    /// Makes the swarm and listens. With a ledger the tracker is private.
    pub(crate) async fn start(
        config: &Config,
        data: &DataDir,
        ledger: Option<(Ledger, LedgerFile)>,
        admin: mpsc::Receiver<Ask>,
        page: Option<Door>,
        on_event: F,
    ) -> Result<Self, TrackerError> {
        let doors = match ledger {
            Some(_) => (Doorkeeper::guarded(), Seating::by_circle()),
            None => (Doorkeeper::open_house(), Seating::open()),
        };
        let (swarm_doors, tally) = (doors.clone(), Tally::default());
        let swarm_tally = tally.clone();
        let mut swarm = build_swarm(data.key.clone(), |key, handshakes| Behaviour::new(key, config, swarm_doors, swarm_tally, handshakes))?;
        listen(&mut swarm, config)?;
        let life = config.certificate_life;
        let lobby = || Lobby::new(u32::try_from(config.limits.bad_invitations).unwrap_or(u32::MAX));
        let membership = ledger.and_then(|(ledger, file)| Membership::new(ledger, file, doors, data.key.clone(), life, lobby()));
        let mut clock = Clock::start();
        let index = match &config.database {
            Some(url) => Index::Shared(Shared::start(url, config.limits.index, config.lease, clock.now()).await?),
            None => Embedded::start(data.index.clone(), config.limits.index, config.lease, clock.now())
                .map(Index::Embedded)
                .map_err(|source| TrackerError::DataDir { path: config.data_dir.clone(), source })?,
        };
        let mut this = Self {
            swarm,
            index,
            liveness: Liveness::default(),
            origins: HashMap::new(),
            reach: Reach::default(),
            watches: Watches::default(),
            conduct: Conduct::new(config.limits.rates(), tally.clone()),
            tally,
            figures: Figures::default(),
            page,
            membership,
            admin,
            external: config.external.clone(),
            namespace: config.namespace.clone(),
            clock,
            on_event,
            told_ready: false,
            to_tell: None,
        };
        if this.index.is_restoring()
            && let Ok(told) = tokio::time::timeout(RESTORING, this.index.told()).await
        {
            this.on_told(told?);
        }
        Ok(this)
    }

    /// Runs until `shutdown` is ready or the last listener is gone.
    pub(crate) async fn run(&mut self, shutdown: impl Future<Output = ()>) -> Result<(), TrackerError> {
        let mut shutdown = pin!(shutdown);
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tick.tick().await; // the first is at once
        loop {
            tokio::select! {
                event = self.swarm.select_next_some() => self.on_swarm(event)?,
                _ = tick.tick() => self.on_tick(),
                told = self.index.told() => self.on_told(told?),
                Some(saved) = OptionFuture::from(self.membership.as_mut().and_then(Membership::saving)) => self.on_saved(saved.unwrap_or_else(|error| Err(error.into()))),
                Some(ask) = self.admin.recv() => self.on_admin(ask),
                () = &mut shutdown => return Ok(()),
            }
        }
    }

    /// Closes all connections, so that nodes notice at once, and the database.
    pub(crate) async fn close(mut self) {
        let peers: Vec<_> = self.swarm.connected_peers().copied().collect();
        for peer in peers {
            let _already_gone = self.swarm.disconnect_peer_id(peer);
        }
        let all_closed = async {
            while self.swarm.network_info().num_peers() > 0 {
                self.swarm.next().await;
            }
        };
        let _cut_off = tokio::time::timeout(CLOSING, all_closed).await;
        self.index.close().await;
    }

    /// The time, to be handed on.
    pub(crate) fn now(&mut self) -> Instant {
        self.clock.now()
    }

    fn on_swarm(&mut self, event: SwarmEvent<BehaviourEvent>) -> Result<(), TrackerError> {
        match event {
            SwarmEvent::Behaviour(event) => self.on_behaviour(event),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, num_established, .. } => {
                self.note_origin(connection_id, ip_of(endpoint.get_remote_address()));
                self.on_connected(&peer_id, num_established.get());
                if endpoint.is_dialer() {
                    self.on_reached(&peer_id, connection_id);
                }
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, num_established, .. } => {
                self.note_origin(connection_id, None);
                self.on_closed(&peer_id, num_established);
            }
            SwarmEvent::IncomingConnectionError { error, .. } => {
                stop_of(&error).into_iter().for_each(|stop| self.tally.count(stop));
            }
            SwarmEvent::NewListenAddr { address, .. } => self.on_listening(address),
            SwarmEvent::ListenerClosed { listener_id, reason, .. } => return self.on_listener_closed(listener_id, &reason),
            other => tracing::trace!(?other, "not of interest"),
        }
        Ok(())
    }

    fn on_behaviour(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Admit(event) => self.on_admit(event),
            BehaviourEvent::Index(event) => self.on_index(event),
            BehaviourEvent::Rendezvous(event) => self.on_rendezvous(event),
            BehaviourEvent::Ping(event) => self.on_ping(event),
            BehaviourEvent::Identify(_) | BehaviourEvent::Mdns(_) => {} // for the others to find us
        }
    }

    fn on_tick(&mut self) {
        if !std::mem::replace(&mut self.told_ready, true) {
            let external = std::mem::take(&mut self.external);
            let namespace = self.namespace.clone();
            self.prepare_invitations(&external, namespace);
            if let Some(door) = &self.page {
                (self.on_event)(Event::Page(door.address()));
            }
            (self.on_event)(Event::Ready { is_private: self.membership.is_some() });
        }
        if let Some(event) = self.to_tell.take() {
            (self.on_event)(event);
        }
        let now = self.now();
        for peer in self.liveness.handle_tick(now) {
            tracing::info!(%peer, "silent: out of all answers");
            self.figures.note(unix_seconds(), "is silent", &peer);
            self.index.handle_silent(&peer);
        }
        self.show_out();
        self.try_to_reach();
        self.index.handle_tick(now, unix_seconds());
        self.figures.handle_tick(now);
        for (channel, answer) in self.watches.handle_tick(now, unix_seconds()) {
            self.respond(channel, answer);
        }
    }

    fn on_told(&mut self, told: Told<ResponseChannel<Answer>>) {
        match told {
            Told::Answers(answers) => answers.into_iter().for_each(|(channel, answer)| self.respond(channel, answer)),
            Told::Published(channel, answer, news) => {
                let now = self.now();
                let (peer, publish) = *news;
                self.watches.handle_published(peer, &publish, now);
                self.respond(channel, answer);
            }
            Told::Progress(event) => self.to_tell = Some(event),
            Told::Nothing => {}
        }
    }

    fn on_listening(&mut self, address: Multiaddr) {
        let address = address.with(Protocol::P2p(*self.swarm.local_peer_id()));
        (self.on_event)(Event::Listening(address));
    }

    fn on_listener_closed(&mut self, listener: ListenerId, reason: &Result<(), std::io::Error>) -> Result<(), TrackerError> {
        tracing::warn!(?listener, ?reason, "an address is no longer listened on");
        if self.swarm.listeners().next().is_none() { Err(TrackerError::Unreachable) } else { Ok(()) }
    }
}

fn listen(swarm: &mut Swarm<Behaviour>, config: &Config) -> Result<(), TrackerError> {
    let all = || config.listen.iter().chain(&config.listen_if_possible);
    if let Some(address) = all().find(|address| is_taken(address)) {
        return Err(TrackerError::Taken { address: address.clone() });
    }
    for address in &config.listen {
        let failed = |error| TrackerError::Listen { address: address.clone(), reason: reason(error) };
        swarm.listen_on(address.clone()).map_err(failed)?;
    }
    let mut listening = !config.listen.is_empty();
    for address in &config.listen_if_possible {
        match swarm.listen_on(address.clone()) {
            Ok(_) => listening = true,
            Err(error) => tracing::info!(%address, %error, "not listened on"),
        }
    }
    if listening { Ok(()) } else { Err(TrackerError::Unreachable) }
}

fn reason(error: TransportError<std::io::Error>) -> String {
    match error {
        TransportError::MultiaddrNotSupported(_) => "it is neither /ip4|ip6/…/tcp/PORT nor /ip4|ip6/…/udp/PORT/quic-v1".to_owned(),
        TransportError::Other(error) => error.to_string(),
    }
}
