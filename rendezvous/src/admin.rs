//! What whoever runs a private tracker asks of it: invitations and members. The same requests go to the running tracker
//! over its control socket, and to the ledger itself while none runs.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use potluck_common::invitation::{Invitation, Place};
use potluck_common::namespace::Namespace;
use potluck_common::peer::PeerKey;
use potluck_common::wire::admit::{Grant, SECRET_BYTES, Secret};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::members::{InvitationRecord, Ledger, LedgerError, Member, Terms};

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum AdminRequest {
    /// A new invitation.
    Invite {
        /// How many may join by it.
        uses: u32,
        /// Seconds that it holds; `None`: until it is used up or revoked.
        expires_in: Option<u64>,
        /// What it is for.
        namespace: Namespace,
        /// Whether who joins by it may only search and download.
        read_only: bool,
        /// Where the tracker can be reached, before what it knows itself.
        addresses: Vec<String>,
    },
    /// All invitations.
    Invitations,
    /// Take an invitation back.
    RevokeInvitation {
        /// The first digits of its hash.
        id: String,
    },
    /// All members.
    Members,
    /// End a membership.
    RevokeMember {
        /// A PeerId, its last letters, or a nickname.
        name: String,
    },
    /// How the tracker is.
    Status,
    /// Some of the peers that are registered.
    Peers {
        /// Peers to skip.
        offset: u64,
        /// Most of them.
        limit: u32,
    },
    /// A link to the page, for once.
    Page,
}

impl AdminRequest {
    /// Whether only a running tracker can answer it.
    pub(crate) fn is_of_running(&self) -> bool {
        matches!(self, Self::Status | Self::Peers { .. } | Self::Page)
    }
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdminAnswer {
    /// Invitations: the new one, the one that was revoked, or all.
    Invitations(Vec<InvitationLine>),
    /// Members: the one that was revoked, or all.
    Members(Vec<MemberLine>),
    /// How the tracker is.
    Status(Box<StatusLine>),
    /// Some of the peers.
    Peers(PeersPage),
    /// A link to the page, for once.
    Page(String),
    /// It was not done.
    Failed(AdminError),
}

/// Why a request was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct AdminError {
    /// The program's exit code.
    pub exit_code: u8,
    /// One sentence, with the next step.
    pub message: String,
}

/// An invitation as it is printed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InvitationLine {
    /// What to send; only of a new one, because the tracker forgets it.
    pub invitation: Option<String>,
    /// What it is called here.
    pub id: String,
    /// What it is for.
    pub namespace: String,
    /// Whether who joins by it may only search and download.
    pub read_only: bool,
    /// How many may join by it.
    pub uses: u32,
    /// How many have.
    pub used: u32,
    /// When it was made, RFC 3339.
    pub created: String,
    /// Until when it holds, RFC 3339; `null`: no such time.
    pub expires: Option<String>,
    /// `open`, `used_up`, `expired` or `revoked`.
    pub state: String,
}

/// A member as it is printed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MemberLine {
    /// Who.
    pub peer_id: String,
    /// What it calls itself.
    pub nickname: String,
    /// Where it may share, search and download.
    pub namespaces: Vec<String>,
    /// Where it may only search and download.
    pub read_only: Vec<String>,
    /// When it joined, RFC 3339.
    pub joined: String,
    /// `member` or `revoked`.
    pub state: String,
}

/// How a tracker is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StatusLine {
    /// Its PeerId.
    pub peer_id: String,
    /// Where it listens, each with the PeerId.
    pub addresses: Vec<String>,
    /// Whether it admits members only.
    pub private: bool,
    /// Whether what was saved is there again; of a shared index, whether the database answers.
    pub ready: bool,
    /// Whether other trackers share its index. Then `peers` are those that are at this tracker, and what only the database
    /// knows is left out.
    pub shares_index: bool,
    /// Peers that are told of.
    pub peers: u64,
    /// Files that are found; `None`: only the database knows.
    pub files: Option<u64>,
    /// Peers that are connected.
    pub connections: u64,
    /// Members; `None` of an open tracker.
    pub members: Option<u64>,
    /// Searches within the limits since it started.
    pub searches: u64,
    /// The same a second, over the last ten.
    pub searches_per_second: f64,
    /// Changes to what peers offer that were taken since it started.
    pub publishes: u64,
    /// Requests that were refused since it started.
    pub refused: u64,
    /// How often each limit stopped somebody since it started, by the name of the limit.
    pub stopped: BTreeMap<String, u64>,
    /// Where its page is; `None`: it has none.
    pub page: Option<String>,
    /// Its namespaces, by name.
    pub namespaces: Vec<NamespaceLine>,
    /// What happened lately, the latest first.
    pub events: Vec<EventLine>,
}

/// A namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NamespaceLine {
    /// Its name.
    pub namespace: String,
    /// Peers in it that are told of.
    pub peers: u64,
    /// Peers in it that are away and may come back; `None`: only the database knows.
    pub parked: Option<u64>,
    /// Files of those that are told of, likewise.
    pub files: Option<u64>,
    /// Bytes in them, likewise.
    pub bytes: Option<u64>,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EventLine {
    /// When, RFC 3339.
    pub at: String,
    /// What, in a word or two.
    pub event: String,
    /// To whom.
    pub peer: String,
}

/// Some of the peers that are registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PeersPage {
    /// They, in the order of namespaces and PeerIds.
    pub items: Vec<PeerLine>,
    /// How many there are.
    pub total: u64,
}

/// A peer that is registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PeerLine {
    /// Who.
    pub peer_id: String,
    /// What it calls itself; `None`: only the database knows.
    pub nickname: Option<String>,
    /// Where.
    pub namespace: String,
    /// Where it listens; none when only the database knows.
    pub addresses: Vec<String>,
    /// Files that it offers; `None`: only the database knows.
    pub files: Option<u64>,
    /// Bytes in them, likewise.
    pub bytes: Option<u64>,
    /// Whether it is told of now.
    pub online: bool,
}

/// What the requests are carried out with.
pub(crate) struct Office<'a> {
    pub(crate) ledger: &'a mut Ledger,
    /// Who the tracker is.
    pub(crate) tracker: PeerKey,
    /// How long a certificate holds.
    pub(crate) life: Duration,
    pub(crate) unix_now: i64,
}

/// What has to follow when a request is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Consequence {
    /// Nothing has changed.
    Nothing,
    /// The ledger is to be saved.
    Save,
    /// The ledger is to be saved, and this peer cut off everywhere.
    CutOff(PeerKey),
}

impl Office<'_> {
    /// Carries a request out.
    pub(crate) fn execute(&mut self, request: AdminRequest) -> (AdminAnswer, Consequence) {
        let done = match request {
            AdminRequest::Invite { uses, expires_in, namespace, read_only, addresses } => {
                self.invite(uses, expires_in, Grant { namespace, read_only }, &addresses)
            }
            AdminRequest::Invitations => {
                let lines = self.ledger.invitations().iter().map(|one| self.invitation_line(one, None)).collect();
                Ok((AdminAnswer::Invitations(lines), Consequence::Nothing))
            }
            AdminRequest::RevokeInvitation { id } => self.revoke_invitation(&id),
            AdminRequest::Members => {
                let lines = self.ledger.members().map(|(peer, member)| member_line(peer, member, "member")).collect();
                Ok((AdminAnswer::Members(lines), Consequence::Nothing))
            }
            AdminRequest::RevokeMember { name } => self.revoke_member(&name),
            AdminRequest::Status | AdminRequest::Peers { .. } | AdminRequest::Page => Err(not_running()), // answered elsewhere
        };
        done.unwrap_or_else(|error| (AdminAnswer::Failed(error), Consequence::Nothing))
    }

    fn invite(
        &mut self,
        uses: u32,
        expires_in: Option<u64>,
        grant: Grant,
        addresses: &[String],
    ) -> Result<(AdminAnswer, Consequence), AdminError> {
        let places: Vec<Place> = addresses.iter().chain(&self.ledger.places).filter_map(|text| text.parse().ok()).collect();
        let secret = Secret::new(rand::random::<[u8; SECRET_BYTES]>());
        let expires = expires_in.map(|seconds| self.unix_now.saturating_add_unsigned(seconds).min(i64::from(u32::MAX)));
        let told = expires.and_then(|at| u32::try_from(at).ok());
        let invitation = Invitation::new(self.tracker, places, secret.clone(), told)
            .map_err(|error| AdminError { exit_code: 2, message: error.to_string() })?;
        let terms = Terms { grant, uses, expires };
        let record = self.ledger.invite(terms, &secret, self.unix_now)?.clone();
        let line = self.invitation_line(&record, Some(invitation.to_string()));
        Ok((AdminAnswer::Invitations(vec![line]), Consequence::Save))
    }

    fn revoke_invitation(&mut self, id: &str) -> Result<(AdminAnswer, Consequence), AdminError> {
        let record = self.ledger.revoke_invitation(id)?.clone();
        Ok((AdminAnswer::Invitations(vec![self.invitation_line(&record, None)]), Consequence::Save))
    }

    fn revoke_member(&mut self, name: &str) -> Result<(AdminAnswer, Consequence), AdminError> {
        let peer = self.ledger.member_named(name)?;
        let until = self.unix_now.saturating_add_unsigned(self.life.as_secs());
        let member = self.ledger.revoke_member(&peer, until, self.unix_now)?;
        Ok((AdminAnswer::Members(vec![member_line(&peer, &member, "revoked")]), Consequence::CutOff(peer)))
    }

    fn invitation_line(&self, record: &InvitationRecord, invitation: Option<String>) -> InvitationLine {
        use potluck_common::wire::admit::Invalid;
        let state = match record.invalid(self.unix_now) {
            None => "open",
            Some(Invalid::UsedUp) => "used_up",
            Some(Invalid::Expired) => "expired",
            Some(_) => "revoked",
        };
        InvitationLine {
            invitation,
            id: record.id().to_owned(),
            namespace: record.grant.namespace.to_string(),
            read_only: record.grant.read_only,
            uses: record.uses,
            used: record.used,
            created: rfc3339(record.created),
            expires: record.expires.map(rfc3339),
            state: state.to_owned(),
        }
    }
}

impl From<LedgerError> for AdminError {
    fn from(error: LedgerError) -> Self {
        let exit_code = match error {
            LedgerError::NoSuchInvitation | LedgerError::NoSuchMember => 3,
            LedgerError::TooManyInvitations | LedgerError::TooManyDenied => 1,
        };
        Self { exit_code, message: error.to_string() }
    }
}

fn member_line(peer: &PeerKey, member: &Member, state: &str) -> MemberLine {
    let namespaces =
        |read_only| member.grants.iter().filter(move |grant| grant.read_only == read_only).map(|grant| grant.namespace.to_string());
    MemberLine {
        peer_id: peer.to_string(),
        nickname: member.nickname.clone(),
        namespaces: namespaces(false).collect(),
        read_only: namespaces(true).collect(),
        joined: rfc3339(member.joined),
        state: state.to_owned(),
    }
}

/// What only a running tracker can tell.
pub(crate) fn not_running() -> AdminError {
    AdminError { exit_code: 8, message: "no tracker runs on this data folder; start it with `potluck-tracker`".to_owned() }
}

pub(crate) fn rfc3339(unix_seconds: i64) -> String {
    let since = Duration::from_secs(u64::try_from(unix_seconds).unwrap_or(0).min(u64::from(u32::MAX)));
    humantime::format_rfc3339_seconds(UNIX_EPOCH + since).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn office(ledger: &mut Ledger) -> Office<'_> {
        Office { ledger, tracker: PeerKey::from_ed25519(&[1; 32]), life: Duration::from_secs(60), unix_now: NOW }
    }

    fn invite(addresses: &[&str]) -> AdminRequest {
        let addresses = addresses.iter().map(ToString::to_string).collect();
        AdminRequest::Invite { uses: 1, expires_in: Some(3600), namespace: Namespace::default(), read_only: false, addresses }
    }

    #[test]
    fn an_invitation_names_given_addresses_before_known_ones() {
        let mut ledger = Ledger::reachable_at(vec!["/ip4/192.0.2.1/tcp/9470".to_owned()]);
        let (answer, consequence) = office(&mut ledger).execute(invite(&["/dns/tracker.example.org/tcp/9470"]));
        assert_eq!(consequence, Consequence::Save);
        let AdminAnswer::Invitations(lines) = answer else { panic!("{answer:?}") };
        assert_eq!((lines[0].state.as_str(), lines[0].expires.as_deref()), ("open", Some("2027-01-15T09:00:00Z")));
        let invitation: Invitation = lines[0].invitation.clone().unwrap().parse().unwrap();
        let places: Vec<String> = invitation.places.iter().map(ToString::to_string).collect();
        assert_eq!(places, ["/dns/tracker.example.org/tcp/9470", "/ip4/192.0.2.1/tcp/9470"]);
        assert!(ledger.redeem(&invitation.secret, PeerKey::from_ed25519(&[2; 32]), "ada", NOW).is_ok());
    }

    #[test]
    fn without_any_address_there_is_no_invitation_and_the_next_step_is_told() {
        let mut ledger = Ledger::default();
        let (answer, consequence) = office(&mut ledger).execute(invite(&[]));
        assert_eq!(consequence, Consequence::Nothing);
        let AdminAnswer::Failed(error) = answer else { panic!("{answer:?}") };
        assert!(error.message.contains("--address"), "{error}");
        assert!(ledger.is_blank());
    }

    #[test]
    fn a_revoked_member_is_to_be_cut_off_and_an_unknown_one_is_an_error() {
        let mut ledger = Ledger::reachable_at(vec!["/ip4/192.0.2.1/tcp/9470".to_owned()]);
        let (AdminAnswer::Invitations(lines), _) = office(&mut ledger).execute(invite(&[])) else { panic!() };
        let invitation: Invitation = lines[0].invitation.clone().unwrap().parse().unwrap();
        let ada = PeerKey::from_ed25519(&[2; 32]);
        let _member = ledger.redeem(&invitation.secret, ada, "ada", NOW).unwrap();
        let revoke = |name: &str| AdminRequest::RevokeMember { name: name.to_owned() };
        assert!(matches!(office(&mut ledger).execute(revoke("bob")), (AdminAnswer::Failed(AdminError { exit_code: 3, .. }), _)));
        let (answer, consequence) = office(&mut ledger).execute(revoke("ada"));
        assert!(matches!(answer, AdminAnswer::Members(lines) if lines[0].state == "revoked"));
        assert_eq!(consequence, Consequence::CutOff(ada));
        assert!(ledger.deny_list(NOW + 59).peers.contains(&ada) && !ledger.deny_list(NOW + 60).peers.contains(&ada));
    }
}
