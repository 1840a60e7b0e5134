use libp2p::identity::Keypair;
use potluck_common::transport::key_of;
use potluck_common::wire::admit::DenyList;

use super::*;
use crate::core::testing::beginning as now;

const NOW: i64 = 1_800_000_000;
const DAY: i64 = 86_400;

fn key() -> (Keypair, PeerKey) {
    let key = Keypair::generate_ed25519();
    let peer = key_of(&key.public().to_peer_id()).unwrap();
    (key, peer)
}

fn namespace(name: &str) -> Namespace {
    Namespace::new(name).unwrap()
}

fn certificate(tracker: &Keypair, peer: PeerKey, name: &str, issued: i64) -> CertificateBytes {
    let grants = [Grant { namespace: namespace(name), read_only: false }];
    certificate::issue(tracker, &Claims::new(peer, &grants, [3; 16], issued, issued + DAY)).unwrap()
}

fn deny_list(tracker: &Keypair, number: u64, peers: &[PeerKey]) -> DenyListBytes {
    certificate::sign_list(tracker, &DenyList { number, peers: Bounded::truncated(peers.iter().copied()) }).unwrap()
}

/// A node in `family` at one tracker, and that tracker.
fn node() -> (Admission, PeerKey, Keypair) {
    let (tracker_key, tracker) = key();
    let (_, me) = key();
    let papers = Papers { tracker, certificate: certificate(&tracker_key, me, "family", NOW), denied: None };
    (Admission::new(me, namespace("family"), vec![papers]), me, tracker_key)
}

#[test]
fn a_member_is_admitted_and_everybody_else_is_not() {
    let (mut node, _, tracker) = node();
    let (_, ada) = key();
    let (stranger_key, eve) = key();
    node.handle_connected(ada, now());
    node.handle_connected(eve, now());
    assert_eq!(node.handle_certificates(ada, &[certificate(&tracker, ada, "family", NOW)], NOW), Verdict::Admit);
    for (why, shown) in [
        ("nothing", vec![]),
        ("another's", vec![certificate(&tracker, ada, "family", NOW)]),
        ("of another namespace", vec![certificate(&tracker, eve, "friends", NOW)]),
        ("of another tracker", vec![certificate(&stranger_key, eve, "family", NOW)]),
        ("expired", vec![certificate(&tracker, eve, "family", NOW - DAY - SKEW_SECONDS)]),
        ("of the future", vec![certificate(&tracker, eve, "family", NOW + SKEW_SECONDS + 1)]),
        ("no certificate", vec![CertificateBytes::truncated(b"let me in")]),
    ] {
        assert_eq!(node.handle_certificates(eve, &shown, NOW), Verdict::Refuse, "{why}");
    }
    let several = [certificate(&stranger_key, eve, "family", NOW), certificate(&tracker, eve, "family", NOW)];
    assert_eq!(node.handle_certificates(eve, &several, NOW), Verdict::Admit, "one that holds is enough");
}

#[test]
fn clocks_may_differ_by_minutes() {
    let (mut node, _, tracker) = node();
    let (_, ada) = key();
    node.handle_connected(ada, now());
    for issued in [NOW - DAY - SKEW_SECONDS + 1, NOW + SKEW_SECONDS] {
        assert_eq!(node.handle_certificates(ada, &[certificate(&tracker, ada, "family", issued)], NOW), Verdict::Admit);
    }
}

#[test]
fn who_waits_too_long_or_whose_certificate_expires_is_dropped() {
    let (mut node, _, tracker) = node();
    let (_, ada) = key();
    let start = now();
    node.handle_connected(ada, start);
    assert!(node.handle_tick(NOW, start).is_empty());
    assert_eq!(node.handle_tick(NOW, start + PATIENCE), [Due::Drop(ada)]);
    assert_eq!(node.handle_certificates(ada, &[certificate(&tracker, ada, "family", NOW)], NOW), Verdict::Admit);
    assert!(node.handle_tick(NOW, start + PATIENCE).is_empty());
    assert_eq!(node.handle_tick(NOW + DAY + SKEW_SECONDS, start), [Due::Drop(ada)]);
    node.handle_disconnected(&ada);
    assert!(node.handle_tick(NOW + 2 * DAY, start + PATIENCE).is_empty());
    assert_eq!(node.handle_certificates(ada, &[certificate(&tracker, ada, "family", NOW)], NOW), Verdict::Refuse, "not connected");
}

#[test]
fn a_deny_list_holds_at_once_and_an_older_or_forged_one_changes_nothing() {
    let (mut node, _, tracker_key) = node();
    let tracker = key_of(&tracker_key.public().to_peer_id()).unwrap();
    let (eve_key, ada) = key();
    node.handle_connected(ada, now());
    let shown = [certificate(&tracker_key, ada, "family", NOW)];
    assert_eq!(node.handle_certificates(ada, &shown, NOW), Verdict::Admit);
    assert_eq!(node.handle_deny_list(&tracker, deny_list(&eve_key, 9, &[ada])), None, "signed by somebody else");
    assert_eq!(node.handle_deny_list(&ada, deny_list(&tracker_key, 9, &[ada])), None, "brought by somebody else");
    assert!(node.denied().is_empty());

    let list = deny_list(&tracker_key, 2, &[ada]);
    assert!(node.handle_deny_list(&tracker, list.clone()).is_some_and(|renewal| renewal.denied == Some(list)));
    assert_eq!(node.denied(), [ada]);
    assert_eq!(node.handle_certificates(ada, &shown, NOW), Verdict::Refuse);
    assert_eq!(node.handle_deny_list(&tracker, deny_list(&tracker_key, 1, &[])), None, "an older one");
    assert_eq!(node.handle_certificates(ada, &shown, NOW), Verdict::Refuse);
    assert!(node.handle_deny_list(&tracker, deny_list(&tracker_key, 3, &[])).is_some());
    assert_eq!(node.handle_certificates(ada, &shown, NOW), Verdict::Admit, "invited anew");
}

#[test]
fn a_deny_list_that_is_remembered_holds_after_a_restart() {
    let (tracker_key, tracker) = key();
    let ((_, me), (_, ada)) = (key(), key());
    let own = certificate(&tracker_key, me, "family", NOW);
    let papers = Papers { tracker, certificate: own, denied: Some(deny_list(&tracker_key, 5, &[ada])) };
    let mut node = Admission::new(me, namespace("family"), vec![papers]);
    node.handle_connected(ada, now());
    assert_eq!(node.handle_certificates(ada, &[certificate(&tracker_key, ada, "family", NOW)], NOW), Verdict::Refuse);
}

#[test]
fn the_certificate_is_renewed_well_before_it_expires() {
    let (mut node, me, tracker_key) = node();
    let tracker = key_of(&tracker_key.public().to_peer_id()).unwrap();
    let start = now();
    node.handle_connected(tracker, start);
    let fresh = certificate(&tracker_key, me, "family", NOW + 1);
    let grants = vec![Grant { namespace: namespace("family"), read_only: false }];
    let welcome = Welcome {
        certificates: Bounded::truncated([fresh.clone()]),
        grants: Bounded::truncated(grants.clone()),
        denied: Some(deny_list(&tracker_key, 1, &[])),
    };
    let renewal = node.handle_tracker_welcome(tracker, welcome.clone(), NOW, start).unwrap();
    assert_eq!(renewal.certificate, Some((fresh.clone(), grants)));
    assert_eq!(node.certificates().into_vec(), [fresh]);
    assert!(node.handle_tick(NOW, start + Duration::from_secs(5 * 3600)).is_empty());
    assert_eq!(node.handle_tick(NOW, start + Duration::from_secs(7 * 3600)), [Due::Renew(tracker)]);
    assert!(node.handle_tick(NOW, start + Duration::from_secs(7 * 3600)).is_empty(), "asked once");
    assert_eq!(node.handle_tracker_welcome(me, welcome, NOW, start), None, "not a tracker of ours");
}

#[test]
fn a_welcome_for_somebody_else_or_another_namespace_is_none() {
    let (mut node, me, tracker_key) = node();
    let tracker = key_of(&tracker_key.public().to_peer_id()).unwrap();
    let (eve_key, eve) = key();
    for wrong in [
        certificate(&tracker_key, eve, "family", NOW),
        certificate(&tracker_key, me, "friends", NOW),
        certificate(&eve_key, me, "family", NOW),
    ] {
        let welcome = Welcome { certificates: Bounded::truncated([wrong]), ..Welcome::default() };
        assert_eq!(node.handle_tracker_welcome(tracker, welcome, NOW, now()), None);
    }
    assert_eq!(node.handle_tracker_welcome(tracker, Welcome::default(), NOW, now()), None);
}
