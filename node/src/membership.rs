//! Membership of private swarms: the verb `join`, which swarm a node is in, and keeping what trackers renew.
//!
//! A data folder that has joined is in a private swarm from then on: it finds its tracker without being told, and speaks
//! to members only. `--tracker` with another tracker's address leaves that aside for one run.

use std::sync::Arc;
use std::time::Duration;

use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};
use potluck_common::buffer::BufferPool;
use potluck_common::certificate;
use potluck_common::invitation::Invitation;
use potluck_common::namespace::Namespace;
use potluck_common::transport::{peer_of, split_peer};
use potluck_common::wire::admit::{Answer, Grant, Invalid, Join, Request, Welcome};
use potluck_common::wire::{Refusal, Text};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use crate::clock::{rfc3339, unix_seconds};
use crate::config::{Config, Listen};
use crate::core::admission::{Papers, Renewal};
use crate::error::{CommandError, Failure};
use crate::net::{self, AskError, DialError, Guard, Net, NetEvent};
use crate::store::{MembershipRecord, State};

/// How long joining may take, over all addresses of the invitation.
const JOIN_PATIENCE: Duration = Duration::from_secs(15);

/// The swarm that a node is in.
#[derive(Debug)]
pub(crate) struct Party {
    /// Where it registers, shares and searches.
    pub(crate) namespace: Namespace,
    /// Its trackers, as far as they are known.
    pub(crate) trackers: Vec<Multiaddr>,
    /// What it shows and trusts; `None`: the swarm is open.
    pub(crate) papers: Option<Vec<Papers>>,
    /// Whether it may search and download, but offer nothing.
    pub(crate) is_read_only: bool,
}

impl Party {
    /// Decides which swarm a node is in, from what it was told and what it has joined.
    ///
    /// # Errors
    /// When it was told a namespace of which it is no member.
    pub(crate) fn choose(config: &Config, records: Vec<MembershipRecord>) -> Result<Self, CommandError> {
        let named: Vec<PeerId> = config.trackers.iter().filter_map(|address| split_peer(address.clone()).1).collect();
        let is_meant =
            |record: &MembershipRecord| config.trackers.is_empty() || peer_of(&record.tracker).is_some_and(|id| named.contains(&id));
        let meant: Vec<MembershipRecord> = records.into_iter().filter(is_meant).collect();
        let first = meant.first().and_then(|record| record.grants.first()).map(|grant| grant.namespace.clone());
        let Some(first) = first else {
            let namespace = config.namespace.clone().unwrap_or_default();
            return Ok(Self { namespace, trackers: config.trackers.clone(), papers: None, is_read_only: false });
        };
        let namespace = config.namespace.clone().unwrap_or(first);
        let granted = |record: &MembershipRecord| record.grants.iter().find(|grant| grant.namespace == namespace).cloned();
        let grants: Vec<_> = meant.iter().filter_map(|record| Some((record, granted(record)?))).collect();
        if grants.is_empty() {
            let known: Vec<String> = meant.iter().flat_map(|record| &record.grants).map(|grant| grant.namespace.to_string()).collect();
            let message = format!(
                "this node is no member of the namespace {namespace}; it is one of {}: leave --namespace out, join {namespace} with an invitation, or take another --data-dir",
                known.join(", ")
            );
            return Err(CommandError::new(Failure::NotPermitted, message));
        }
        let mut trackers = config.trackers.clone();
        if trackers.is_empty() {
            trackers = grants.iter().flat_map(|(record, _)| addresses(record)).collect();
        }
        let papers = |record: &MembershipRecord| Papers {
            tracker: record.tracker,
            certificate: record.certificate.clone(),
            denied: record.denied.clone(),
        };
        let is_read_only = grants.iter().all(|(_, grant)| grant.read_only);
        let papers = Some(grants.iter().map(|(record, _)| papers(record)).collect());
        Ok(Self { trackers, papers, is_read_only, namespace })
    }
}

/// Where a tracker listens, with its PeerId.
fn addresses(record: &MembershipRecord) -> Vec<Multiaddr> {
    let Some(peer) = peer_of(&record.tracker) else { return Vec::new() };
    record.addresses.iter().filter_map(|text| text.parse::<Multiaddr>().ok()).map(|address| address.with(Protocol::P2p(peer))).collect()
}

/// Redeems an invitation, by a connection of its own: the node may be in another swarm meanwhile. Dropping the future
/// leaves it open whether the tracker has admitted us; the same invitation can be redeemed again.
///
/// # Errors
/// One sentence for each way in which an invitation can be of no use.
pub(crate) async fn redeem(key: Keypair, line: &str, nickname: &str) -> Result<MembershipRecord, CommandError> {
    let refused = |message: String| CommandError::new(Failure::NotPermitted, message);
    let invitation: Invitation = line.parse().map_err(|error| refused(format!("{error}")))?;
    if let Some(expires) = invitation.expires.map(i64::from).filter(|expires| *expires <= unix_seconds()) {
        return Err(refused(format!("this invitation has expired (on {}); ask for another", rfc3339(expires))));
    }
    let joining = join_at(key, &invitation, nickname);
    let answer = tokio::time::timeout(JOIN_PATIENCE, joining).await;
    match answer.map_err(|_| CommandError::new(Failure::Unreachable, "the tracker did not answer in time; try again"))?? {
        Answer::Welcome(welcome) => {
            record(&invitation, *welcome).ok_or_else(|| refused("the tracker gave no valid certificate; ask whoever runs it".to_owned()))
        }
        Answer::NotJoined { why: why @ Invalid::TooManyTries } => Err(refused(format!("{why}; try again later"))),
        Answer::NotJoined { why } => Err(refused(format!("{why}; ask for another"))),
        Answer::Refused { why: Refusal::Unavailable } => {
            Err(CommandError::new(Failure::Unreachable, "the tracker cannot admit anybody at the moment; try again"))
        }
        Answer::Refused { .. } | Answer::Noted {} => Err(refused("the tracker does not admit us; ask for another invitation".to_owned())),
    }
}

/// Asks the tracker, and nobody else: the connection proves that it is the one that made the invitation.
async fn join_at(key: Keypair, invitation: &Invitation, nickname: &str) -> Result<Answer, CommandError> {
    let unreachable = |message: String| CommandError::new(Failure::Unreachable, message);
    let tracker = peer_of(&invitation.tracker);
    let places = invitation.places.iter().filter_map(|place| place.to_string().parse::<Multiaddr>().ok()).collect();
    let Net { handle, .. } = net::spawn(key, &Listen::Nowhere, false, BufferPool::new(0), None, &Guard::default())
        .map_err(|error| unreachable(error.to_string()))?;
    let tracker = handle.connect(tracker, places).await.map_err(|error| match error {
        DialError::WrongPeer { .. } => {
            CommandError::new(Failure::Verification, "another tracker answers there, and was told nothing; ask for a new invitation")
        }
        DialError::Myself => CommandError::new(Failure::Usage, "this is an invitation of this node itself"),
        other => unreachable(format!("the tracker cannot be reached: {other}; try again, or ask whether it runs")),
    })?;
    let join = Join { secret: invitation.secret.clone(), nickname: Text::truncated(nickname) };
    handle.ask_admit(tracker, Request::Join(join)).await.map_err(|error| match error {
        AskError::Unsupported => CommandError::new(
            Failure::NotPermitted,
            "that tracker is open to everybody now: no invitation is needed, name it with --tracker",
        ),
        other => unreachable(format!("the tracker did not answer: {other}; try again")),
    })
}

/// What is remembered of a welcome, if it holds.
fn record(invitation: &Invitation, welcome: Welcome) -> Option<MembershipRecord> {
    let certificate = welcome.certificates.into_iter().next()?;
    let (signer, _) = certificate::open(&certificate).ok()?;
    let addresses = invitation.places.iter().map(ToString::to_string).collect();
    let grants = welcome.grants.into_vec();
    let holds = signer == invitation.tracker && !grants.is_empty();
    holds.then_some(MembershipRecord { tracker: signer, addresses, grants, certificate, denied: welcome.denied })
}

/// Keeps in the database what trackers renew, until the node ends.
pub(crate) async fn keep(state: Arc<State>, mut events: broadcast::Receiver<NetEvent>) {
    loop {
        let renewal = match events.recv().await {
            Ok(NetEvent::Renewed(renewal)) => renewal,
            Ok(_) | Err(RecvError::Lagged(_)) => continue,
            Err(RecvError::Closed) => return,
        };
        let (state, Renewal { tracker, certificate, denied }) = (Arc::clone(&state), *renewal);
        let kept = tokio::task::spawn_blocking(move || {
            state.edit_membership(&tracker, |record| {
                if let Some((certificate, grants)) = certificate {
                    record.certificate = certificate;
                    record.grants = in_the_order_of(&record.grants, grants);
                }
                record.denied = denied.or(record.denied.take());
            })
        });
        if let Ok(Err(error)) = kept.await {
            tracing::warn!(%error, "the renewed membership could not be saved");
        }
    }
}

/// New grants, those first that were there before, in their order: the first is the namespace of a node that is told none.
fn in_the_order_of(known: &[Grant], mut grants: Vec<Grant>) -> Vec<Grant> {
    grants.sort_by_key(|grant| known.iter().position(|held| held.namespace == grant.namespace).unwrap_or(usize::MAX));
    grants
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use potluck_common::peer::PeerKey;
    use potluck_common::wire::admit::CertificateBytes;

    use super::*;
    use crate::config::{PagePlan, Settings};
    use crate::limits::NodeLimits;

    fn namespace(name: &str) -> Namespace {
        Namespace::new(name).unwrap()
    }

    fn record(number: u8, grants: &[(&str, bool)]) -> MembershipRecord {
        MembershipRecord {
            tracker: PeerKey::from_ed25519(&[number; 32]),
            addresses: vec![format!("/ip4/192.0.2.{number}/tcp/9470"), format!("/ip4/192.0.2.{number}/udp/9470/quic-v1")],
            grants: grants.iter().map(|(name, read_only)| Grant { namespace: namespace(name), read_only: *read_only }).collect(),
            certificate: CertificateBytes::truncated(&[number; 4]),
            denied: None,
        }
    }

    fn config(trackers: &[String], name: Option<&str>) -> Config {
        Config {
            data_dir: PathBuf::new(),
            download_dir: PathBuf::new(),
            shares: Vec::new(),
            share_for: Vec::new(),
            trackers: trackers.iter().map(|text| text.parse().unwrap()).collect(),
            dial: Vec::new(),
            namespace: name.map(namespace),
            nickname: String::new(),
            listen: Listen::Nowhere,
            reject_hardlinks: false,
            mdns: false,
            limit_up: None,
            limits: NodeLimits::default(),
            page: PagePlan::Off,
            page_hosts: Vec::new(),
            one_shot: true,
            settings: Settings::default(),
            reread: None,
        }
    }

    #[test]
    fn a_folder_that_never_joined_is_open() {
        let party = Party::choose(&config(&[], None), Vec::new()).unwrap();
        assert!(party.papers.is_none() && party.trackers.is_empty());
        assert_eq!(party.namespace, Namespace::default());
    }

    #[test]
    fn a_folder_that_has_joined_knows_tracker_and_namespace() {
        let party = Party::choose(&config(&[], None), vec![record(1, &[("family", true), ("friends", false)])]).unwrap();
        assert_eq!((party.namespace, party.trackers.len(), party.is_read_only), (namespace("family"), 2, true));
        assert!(party.trackers.iter().all(|address| address.to_string().contains("/p2p/12D3Koo")));
        assert_eq!(party.papers.map(|papers| papers.len()), Some(1));
        let party = Party::choose(&config(&[], Some("friends")), vec![record(1, &[("family", true), ("friends", false)])]).unwrap();
        assert_eq!((party.namespace, party.is_read_only), (namespace("friends"), false));
    }

    #[test]
    fn another_tracker_is_an_open_swarm_and_another_namespace_an_error() {
        let other = format!("/ip4/192.0.2.9/tcp/9470/p2p/{}", PeerKey::from_ed25519(&[9; 32]));
        let party = Party::choose(&config(std::slice::from_ref(&other), Some("x")), vec![record(1, &[("family", false)])]).unwrap();
        assert!(party.papers.is_none());
        assert_eq!((party.namespace, party.trackers.len()), (namespace("x"), 1));

        let error = Party::choose(&config(&[], Some("x")), vec![record(1, &[("family", false)])]).unwrap_err();
        assert_eq!(error.failure, Failure::NotPermitted);
        assert!(error.message.contains("family"), "{error}");

        let ours = format!("/ip4/198.51.100.1/tcp/1/p2p/{}", PeerKey::from_ed25519(&[1; 32]));
        let party =
            Party::choose(&config(&[ours, other], None), vec![record(1, &[("family", false)]), record(2, &[("choir", false)])]).unwrap();
        assert_eq!((party.namespace, party.trackers.len()), (namespace("family"), 2), "the address that was told counts");
        assert_eq!(party.papers.map(|papers| papers.len()), Some(1));
    }
}
