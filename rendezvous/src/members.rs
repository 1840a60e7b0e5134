//! Who belongs to a private tracker: its invitations, its members, and those that are members no longer. Pure: the time
//! and what is drawn at random are arguments. `ledger_file.rs` keeps it on the disk.
//!
//! An invitation is in exactly one state: open, used up, expired, or revoked. Whoever redeems an open one becomes a member
//! of its namespace until revoked; redeeming the same one twice is the same as once, so that an answer that was lost does
//! no harm. Secrets are stored as hashes only.

use std::collections::{BTreeMap, BTreeSet};

use potluck_common::namespace::Namespace;
use potluck_common::peer::PeerKey;
use potluck_common::wire::Bounded;
use potluck_common::wire::admit::{DenyList, Grant, Invalid, MAX_DENIED, MAX_GRANTS, Secret};
use serde::{Deserialize, Serialize};

/// Most members: a file that is written anew with every change stays below two megabytes.
pub const MAX_MEMBERS: usize = 10_000;
/// Most invitations. The oldest of those that admit nobody any more are forgotten first.
pub const MAX_INVITATIONS: usize = 1_000;
/// Digits by which a person names an invitation.
const ID_DIGITS: usize = 8;

/// All invitations and members.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Places where the tracker can be reached, as of its last run: what an invitation names that is made meanwhile.
    #[serde(default)]
    pub places: Vec<String>,
    invitations: Vec<InvitationRecord>,
    members: BTreeMap<PeerKey, Member>,
    /// Until when certificates may be around that are void, in seconds since 1970.
    denied: BTreeMap<PeerKey, i64>,
    /// Grows with every change of `denied`.
    denied_number: u64,
}

/// An invitation as the tracker remembers it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvitationRecord {
    /// BLAKE3 of the secret, in hex.
    hash: String,
    /// What it grants.
    pub grant: Grant,
    /// How many may join by it.
    pub uses: u32,
    /// How many have.
    pub used: u32,
    /// When it was made, in seconds since 1970.
    pub created: i64,
    /// Until when it holds; `None`: no such time.
    pub expires: Option<i64>,
    /// Whether it was taken back.
    pub revoked: bool,
}

/// A member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// What it calls itself, or did when it joined.
    pub nickname: String,
    /// What it may do.
    pub grants: Vec<Grant>,
    /// When it joined first, in seconds since 1970.
    pub joined: i64,
    /// The invitations that it redeemed.
    invitations: BTreeSet<String>,
}

/// What is asked of a new invitation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// What it grants.
    pub grant: Grant,
    /// How many may join by it.
    pub uses: u32,
    /// Until when it holds, in seconds since 1970; `None`: no such time.
    pub expires: Option<i64>,
}

/// Why the ledger cannot take something more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// There are [`MAX_INVITATIONS`] that still admit somebody.
    #[error("there are {MAX_INVITATIONS} open invitations; revoke some with `potluck-tracker invite revoke ID`")]
    TooManyInvitations,
    /// No invitation has that name, or more than one.
    #[error("no invitation has this id, or several begin with it; `potluck-tracker invite ls` lists them")]
    NoSuchInvitation,
    /// Nobody has that name, or more than one.
    #[error("no member is called that, or several are; `potluck-tracker members ls` lists them")]
    NoSuchMember,
    /// Too many were revoked within the life of their certificates.
    #[error("{MAX_DENIED} members were revoked within a day already; the deny list takes more tomorrow")]
    TooManyDenied,
}

impl InvitationRecord {
    /// What a person calls it.
    #[must_use]
    pub fn id(&self) -> &str {
        self.hash.get(..ID_DIGITS).unwrap_or_default()
    }

    /// Why it admits nobody; `None` while it does.
    #[must_use]
    pub fn invalid(&self, unix_now: i64) -> Option<Invalid> {
        match self.expires {
            _ if self.revoked => Some(Invalid::Revoked),
            Some(expires) if expires <= unix_now => Some(Invalid::Expired),
            _ if self.used >= self.uses => Some(Invalid::UsedUp),
            _ => None,
        }
    }
}

impl Ledger {
    /// An empty ledger of a tracker that can be reached at these places.
    #[must_use]
    pub fn reachable_at(places: Vec<String>) -> Self {
        Self { places, ..Self::default() }
    }

    /// Whether nobody was ever invited.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        self.invitations.is_empty() && self.members.is_empty()
    }

    /// Takes an invitation with this secret.
    ///
    /// # Errors
    /// When there are too many.
    pub fn invite(&mut self, terms: Terms, secret: &Secret, unix_now: i64) -> Result<&InvitationRecord, LedgerError> {
        if self.invitations.len() >= MAX_INVITATIONS {
            let dead = self.invitations.iter().position(|one| one.invalid(unix_now).is_some());
            self.invitations.remove(dead.ok_or(LedgerError::TooManyInvitations)?);
        }
        let Terms { grant, uses, expires } = terms;
        let record = InvitationRecord { hash: hex(secret), grant, uses, used: 0, created: unix_now, expires, revoked: false };
        self.invitations.push(record);
        self.invitations.last().ok_or(LedgerError::TooManyInvitations)
    }

    /// Somebody redeems an invitation, and is a member from now on.
    ///
    /// # Errors
    /// Why the invitation admits nobody.
    pub fn redeem(&mut self, secret: &Secret, peer: PeerKey, nickname: &str, unix_now: i64) -> Result<&Member, Invalid> {
        let hash = hex(secret);
        let invitation = self.invitations.iter_mut().find(|one| one.hash == hash).ok_or(Invalid::Unknown)?;
        let again = self.members.get(&peer).is_some_and(|member| member.invitations.contains(&hash));
        if !again {
            let full = !self.members.contains_key(&peer) && self.members.len() >= MAX_MEMBERS;
            if let Some(why) = invitation.invalid(unix_now).or(full.then_some(Invalid::UsedUp)) {
                return Err(why);
            }
            invitation.used += 1;
        }
        let member = self.members.entry(peer).or_insert_with(|| Member {
            nickname: String::new(),
            grants: Vec::new(),
            joined: unix_now,
            invitations: BTreeSet::new(),
        });
        nickname.clone_into(&mut member.nickname);
        member.invitations.insert(hash);
        member.take(&invitation.grant);
        if self.denied.remove(&peer).is_some() {
            self.denied_number += 1;
        }
        Ok(member)
    }

    /// A member calls itself something now.
    pub fn rename(&mut self, peer: &PeerKey, nickname: &str) {
        if let Some(member) = self.members.get_mut(peer) {
            nickname.clone_into(&mut member.nickname);
        }
    }

    /// Takes an invitation back. Who joined by it stays a member.
    ///
    /// # Errors
    /// When it is not there.
    pub fn revoke_invitation(&mut self, id: &str) -> Result<&InvitationRecord, LedgerError> {
        let is_meant = |one: &InvitationRecord| !id.is_empty() && one.hash.starts_with(&id.to_ascii_lowercase());
        let mut meant = self.invitations.iter_mut().filter(|one| is_meant(one));
        match (meant.next(), meant.next()) {
            (Some(one), None) => {
                one.revoked = true;
                Ok(one)
            }
            _ => Err(LedgerError::NoSuchInvitation),
        }
    }

    /// The member that a person means by a PeerId, its last letters, or a nickname.
    ///
    /// # Errors
    /// When nobody or more than one is called that.
    pub fn member_named(&self, name: &str) -> Result<PeerKey, LedgerError> {
        let is_meant = |peer: &PeerKey, member: &Member| member.nickname == name || (name.len() >= 4 && peer.to_string().ends_with(name));
        let mut meant = self.members.iter().filter(|(peer, member)| is_meant(peer, member));
        match (meant.next(), meant.next()) {
            (Some((peer, _)), None) => Ok(*peer),
            _ => Err(LedgerError::NoSuchMember),
        }
    }

    /// Ends a membership. Certificates that the member has are void; the last of them expires at `until`.
    ///
    /// # Errors
    /// When there is no such member, or no room on the deny list.
    pub fn revoke_member(&mut self, peer: &PeerKey, until: i64, unix_now: i64) -> Result<Member, LedgerError> {
        self.denied.retain(|_, until| *until > unix_now);
        if self.denied.len() >= MAX_DENIED {
            return Err(LedgerError::TooManyDenied);
        }
        let member = self.members.remove(peer).ok_or(LedgerError::NoSuchMember)?;
        self.denied.insert(*peer, until);
        self.denied_number += 1;
        Ok(member)
    }

    /// Who is a member.
    #[must_use]
    pub fn member(&self, peer: &PeerKey) -> Option<&Member> {
        self.members.get(peer)
    }

    /// What a peer may do in a namespace; `None`: nothing.
    #[must_use]
    pub fn grant(&self, peer: &PeerKey, namespace: &Namespace) -> Option<&Grant> {
        self.members.get(peer)?.grants.iter().find(|grant| grant.namespace == *namespace)
    }

    /// All members.
    pub fn members(&self) -> impl Iterator<Item = (&PeerKey, &Member)> {
        self.members.iter()
    }

    /// All invitations that are remembered, the oldest first.
    #[must_use]
    pub fn invitations(&self) -> &[InvitationRecord] {
        &self.invitations
    }

    /// Whose certificates are void; those that have expired meanwhile are left out.
    #[must_use]
    pub fn deny_list(&self, unix_now: i64) -> DenyList {
        let void = self.denied.iter().filter(|(_, until)| **until > unix_now).map(|(peer, _)| *peer);
        DenyList { number: self.denied_number, peers: Bounded::truncated(void) }
    }
}

impl Member {
    /// Takes a grant. What a member may do already, it may still: an invitation to look does not take sharing away.
    fn take(&mut self, grant: &Grant) {
        if let Some(held) = self.grants.iter_mut().find(|held| held.namespace == grant.namespace) {
            held.read_only &= grant.read_only;
        } else if self.grants.len() < MAX_GRANTS {
            self.grants.push(grant.clone());
        }
    }

    /// The namespaces of the member.
    #[must_use]
    pub fn namespaces(&self) -> BTreeSet<Namespace> {
        self.grants.iter().map(|grant| grant.namespace.clone()).collect()
    }
}

fn hex(secret: &Secret) -> String {
    secret.hash().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;
    const DAY: i64 = 86_400;

    fn peer(number: u16) -> PeerKey {
        let mut key = [0; 32];
        key[..2].copy_from_slice(&number.to_be_bytes());
        PeerKey::from_ed25519(&key)
    }

    fn secret(number: u16) -> Secret {
        let mut bytes = [0; 16];
        bytes[..2].copy_from_slice(&number.to_be_bytes());
        Secret::new(bytes)
    }

    fn grant(namespace: &str, read_only: bool) -> Grant {
        Grant { namespace: Namespace::new(namespace).unwrap(), read_only }
    }

    fn terms(uses: u32) -> Terms {
        Terms { grant: grant("family", false), uses, expires: Some(NOW + DAY) }
    }

    #[test]
    fn an_invitation_admits_as_many_as_it_says_and_the_same_one_again() {
        let mut ledger = Ledger::default();
        ledger.invite(terms(2), &secret(1), NOW).unwrap();
        assert!(ledger.redeem(&secret(1), peer(1), "ada", NOW).is_ok());
        assert!(ledger.redeem(&secret(1), peer(1), "ada", NOW).is_ok(), "an answer may have been lost");
        assert!(ledger.redeem(&secret(1), peer(2), "bob", NOW).is_ok());
        assert_eq!(ledger.redeem(&secret(1), peer(3), "eve", NOW), Err(Invalid::UsedUp));
        assert!(ledger.redeem(&secret(1), peer(2), "bob", NOW + 2 * DAY).is_ok(), "a member stays one");
        assert_eq!(ledger.members().count(), 2);
        assert_eq!(ledger.invitations()[0].used, 2);
    }

    #[test]
    fn each_way_to_be_invalid_has_its_own_name() {
        let mut ledger = Ledger::default();
        ledger.invite(terms(1), &secret(1), NOW).unwrap();
        assert_eq!(ledger.redeem(&secret(2), peer(1), "eve", NOW), Err(Invalid::Unknown));
        assert_eq!(ledger.redeem(&secret(1), peer(1), "eve", NOW + DAY), Err(Invalid::Expired));
        let id = ledger.invitations()[0].id().to_owned();
        assert!(ledger.revoke_invitation(&id.to_uppercase()).is_ok());
        assert_eq!(ledger.redeem(&secret(1), peer(1), "eve", NOW), Err(Invalid::Revoked));
        assert_eq!(ledger.revoke_invitation(""), Err(LedgerError::NoSuchInvitation));
        assert_eq!(ledger.revoke_invitation("xyz"), Err(LedgerError::NoSuchInvitation));
        assert_eq!(ledger.members().count(), 0);
    }

    #[test]
    fn a_revoked_member_is_denied_until_its_certificates_expire_or_it_joins_anew() {
        let mut ledger = Ledger::default();
        ledger.invite(terms(1), &secret(1), NOW).unwrap();
        let _member = ledger.redeem(&secret(1), peer(1), "ada", NOW).unwrap();
        assert_eq!(ledger.member_named("ada"), Ok(peer(1)));
        ledger.rename(&peer(1), "ada lovelace");
        ledger.rename(&peer(2), "eve");
        assert_eq!(ledger.members().count(), 1);
        assert_eq!(ledger.member_named("ada lovelace"), Ok(peer(1)));
        ledger.revoke_member(&peer(1), NOW + DAY, NOW).unwrap();
        assert_eq!(ledger.grant(&peer(1), &grant("family", false).namespace), None);
        assert_eq!(ledger.deny_list(NOW), DenyList { number: 1, peers: Bounded::truncated([peer(1)]) });
        assert!(ledger.deny_list(NOW + DAY).peers.is_empty());
        assert_eq!(ledger.redeem(&secret(1), peer(1), "ada", NOW), Err(Invalid::UsedUp), "by the old invitation it is out");
        assert_eq!(ledger.revoke_member(&peer(1), NOW, NOW), Err(LedgerError::NoSuchMember));

        ledger.invite(terms(1), &secret(2), NOW).unwrap();
        assert!(ledger.redeem(&secret(2), peer(1), "ada", NOW).is_ok());
        assert_eq!(ledger.deny_list(NOW), DenyList { number: 2, peers: Bounded::default() });
    }

    #[test]
    fn namespaces_add_up_and_sharing_is_not_taken_away_by_a_lesser_invitation() {
        let mut ledger = Ledger::default();
        for (number, granted) in [grant("family", false), grant("family", true), grant("friends", true)].into_iter().enumerate() {
            let terms = Terms { grant: granted, ..terms(1) };
            ledger.invite(terms, &secret(number as u16), NOW).unwrap();
            let _member = ledger.redeem(&secret(number as u16), peer(1), "ada", NOW).unwrap();
        }
        assert_eq!(ledger.member(&peer(1)).map(|ada| ada.grants.clone()), Some(vec![grant("family", false), grant("friends", true)]));
    }

    #[test]
    fn the_limits_hold_and_what_is_over_makes_room() {
        let mut ledger = Ledger::default();
        for number in 0..MAX_INVITATIONS as u16 {
            ledger.invite(terms(1), &secret(number), NOW).unwrap();
        }
        assert_eq!(ledger.invite(terms(1), &secret(9_999), NOW).err(), Some(LedgerError::TooManyInvitations));
        let _member = ledger.redeem(&secret(7), peer(1), "ada", NOW).unwrap();
        assert!(ledger.invite(terms(1), &secret(9_999), NOW).is_ok());
        assert_eq!(ledger.redeem(&secret(7), peer(2), "eve", NOW), Err(Invalid::Unknown));

        let mut ledger = Ledger::default();
        ledger.invite(terms(u32::MAX), &secret(1), NOW).unwrap();
        for number in 0..=MAX_DENIED as u16 {
            let _member = ledger.redeem(&secret(1), peer(number), "m", NOW).unwrap();
        }
        for number in 0..MAX_DENIED as u16 {
            ledger.revoke_member(&peer(number), NOW + DAY, NOW).unwrap();
        }
        let last = peer(MAX_DENIED as u16);
        assert_eq!(ledger.revoke_member(&last, NOW + DAY, NOW), Err(LedgerError::TooManyDenied));
        assert!(ledger.revoke_member(&last, NOW + 2 * DAY, NOW + DAY).is_ok(), "the certificates of the others have expired");
    }

    #[test]
    fn the_stored_form_holds_no_secret() {
        let mut ledger = Ledger::default();
        ledger.invite(terms(1), &Secret::new(*b"sixteen secrets!"), NOW).unwrap();
        let text = serde_json::to_string(&ledger).unwrap();
        assert!(!text.contains("sixteen") && !text.contains("73697874"), "{text}");
        assert_eq!(serde_json::from_str::<Ledger>(&text).unwrap(), ledger);
    }
}
