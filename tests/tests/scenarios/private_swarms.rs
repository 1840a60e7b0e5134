//! Private swarms: members find and fetch from each other, and nobody else learns anything from anybody.

use std::collections::BTreeSet;
use std::time::Duration;

use potluck_tests::clock::{PATIENCE, eventually, now};
use potluck_tests::stranger::{Door, Reply, Stranger};
use potluck_tests::town::{ANY_PORT, NAMESPACE, Node, Town};
use potluck_tests::{Failure, Result, tree};
use serde_json::Value;

/// Within this, a member that was revoked is cut off everywhere.
const FIVE_SECONDS: Duration = Duration::from_secs(5);
const QUIC: &str = "/ip4/127.0.0.1/udp/0/quic-v1";

fn text(value: &Value) -> Result<String> {
    value.as_str().map(ToOwned::to_owned).ok_or_else(|| Failure::new(format!("{value} is no text")))
}

/// Runs a verb of `potluck-tracker` on the data folder of one.
fn admin(town: &Town, args: &[&str]) -> Result<Vec<Value>> {
    let output = town.tracker_command("tracker", args).output()?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.status.success() {
        return Err(Failure::new(format!("{args:?}: {told}")));
    }
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    lines.lines().map(|line| serde_json::from_str(line).map_err(|error| Failure::new(format!("{line}: {error}")))).collect()
}

/// A new invitation.
fn invite(town: &Town, args: &[&str]) -> Result<String> {
    let made = admin(town, &[&["invite", "create"], args].concat())?;
    text(&made.first().ok_or_else(|| Failure::new("no invitation"))?["invitation"])
}

/// A member that shares a folder.
fn member(town: &Town, name: &str, invitation: &str, share: Option<&str>) -> Result<Node> {
    town.potluck(name, &["join", invitation])?.ok()?;
    let plan = town.node(name).arg("--listen").arg(ANY_PORT).arg("--listen").arg(QUIC);
    let plan = if let Some(share) = share { plan.share(&town.path(share)) } else { plan };
    let node = plan.start_ready()?;
    node.process().event("registered", PATIENCE)?;
    Ok(node)
}

#[test]
fn three_commands_lead_from_nothing_to_a_private_swarm_with_a_verified_download() -> Result {
    let town = Town::new()?;
    let hash = tree::file(&town.path("music/live.flac"), 91, (3 << 20) + 5)?;
    let tracker = town.tracker_with("tracker", &["--private"])?;
    let invitation = tracker.first_invitation()?;
    assert!(invitation.len() <= 200 && invitation.starts_with("potluck:join/"), "{invitation}");

    let ada = member(&town, "ada", &invitation, Some("music"))?;
    let bob = member(&town, "bob", &invitation.to_uppercase(), None)?;
    bob.sees(ada.peer_id(), true, PATIENCE)?;
    let hit = bob.find("live.flac", 1)?;
    assert_eq!(hit["content_id"], hash.as_str());
    bob.download(&[&hash])?.ok()?;
    tree::same_bytes(&town.path("music/live.flac"), &bob.download_dir().join("live.flac"))?;

    let members = admin(&town, &["members", "ls"])?;
    let names: Vec<&Value> = members.iter().map(|member| &member["nickname"]).collect();
    assert_eq!(members.len(), 2, "{names:?}");
    Ok(())
}

/// G071: knows the tracker's address, a member's and a content id, and gets nothing from either, by any protocol.
#[test]
fn an_outsider_gets_nothing_from_tracker_or_member() -> Result {
    let town = Town::new()?;
    let hash = tree::file(&town.path("music/live.flac"), 92, 100_000)?;
    let tracker = town.tracker_with("tracker", &["--private", "--listen", QUIC])?;
    let ada = member(&town, "ada", &tracker.first_invitation()?, Some("music"))?;
    let by_quic = |process: &potluck_tests::process::Process| {
        process.line("listening by QUIC", PATIENCE, |line| line["address"].as_str().is_some_and(|at| at.contains("/quic-v1/")))
    };
    let tracker_by_quic = text(&by_quic(tracker.process())?["address"])?;
    let ada_by_quic = text(&by_quic(ada.process())?["address"])?;

    let search = potluck_common::codec::encode(&potluck_common::wire::index::Request::Search(potluck_common::wire::index::Search {
        namespace: NAMESPACE.parse()?,
        text: potluck_common::wire::Text::truncated("live"),
        after: None,
        limit: 10,
    }))?;
    let hashes = potluck_common::codec::encode(&potluck_common::wire::piece::Request::Hashes { content_id: hash.parse()?, from: 0 })?;
    for address in [tracker.address(), ada.address()] {
        let mut eve = Stranger::connect(address)?;
        for (door, bytes) in [(Door::Index, &search), (Door::Piece, &hashes)] {
            let reply = eve.say(door, bytes)?;
            assert!(matches!(&reply, Reply::Closed(why) if why.contains("support")), "{address}, {door:?}: {reply:?}");
        }
        assert!(eve.register(NAMESPACE).is_err() && eve.discover(NAMESPACE).is_err(), "{address} speaks rendezvous with a stranger");
    }
    // Our own program, which knows all protocols, fares no better; it is told why.
    for tracker in [tracker.address(), &tracker_by_quic] {
        for verb in [&["search", "live"][..], &["query"], &["query", ada.peer_id()], &["download", &hash, "--timeout", "2"]] {
            let finished = town.potluck("eve", &[verb, &["--tracker", tracker]].concat())?;
            assert!(finished.lines.is_empty(), "{verb:?} at {tracker} told {:?}", finished.lines);
            assert!(matches!(finished.code, Some(3 | 4 | 6 | 8)), "{verb:?} at {tracker}: {:?}", finished.code);
        }
    }
    let told_why = || Ok((town.potluck("eve", &["search", "live", "--tracker", tracker.address()])?.code == Some(6)).then_some(()));
    eventually(PATIENCE, "eve is told that the swarm is private", told_why)?;
    let eve = town.node("eve").start()?;
    for address in [ada.address(), &ada_by_quic] {
        let dialled = eve.verb(&["dial", address])?;
        let searched = eve.verb(&["search", "live"])?;
        assert!(searched.lines.is_empty(), "{address} told {:?}; {:?}", searched.lines, dialled.lines);
        let fetched = eve.download(&[&hash, "--timeout", "2"])?;
        assert!(fetched.done().is_empty(), "{address} sent {:?}", fetched.lines);
    }
    Ok(())
}

/// G072. The five seconds are those from the moment that the tracker has acknowledged the revocation to the end of the last connection that
/// eve had then, by which bytes could come; the kernel tells which are open, so that starting programs to look takes none of that time.
#[test]
fn a_revoked_member_in_mid_download_is_cut_off_within_five_seconds() -> Result {
    revoke_in_mid_download(ANY_PORT, |eve, before| Ok(eve.process().connections()?.is_disjoint(before)))
}

/// G072 by QUIC, whose connections the kernel does not know: eve herself has nobody any more.
#[test]
fn a_revoked_member_is_cut_off_within_five_seconds_by_quic_too() -> Result {
    revoke_in_mid_download(QUIC, |eve, _| Ok(eve.status()?["connected_peers"] == 0))
}

/// All is at one kind of address. Whether eve is cut off is looked at from the revocation on, given what TCP connections she had.
fn revoke_in_mid_download(listen: &str, is_cut_off: impl Fn(&Node, &BTreeSet<String>) -> Result<bool>) -> Result {
    let town = Town::new()?;
    let hash = tree::file(&town.path("music/live.flac"), 93, 64 << 20)?;
    let tracker = town.tracker_at("tracker", listen, &["--private"])?;
    let invitation = tracker.first_invitation()?;
    for name in ["ada", "eve"] {
        town.potluck(name, &["join", &invitation])?.ok()?;
    }
    let node = |name| town.node(name).arg("--listen").arg(listen);
    let ada = node("ada").share(&town.path("music")).arg("--limit-up").arg("2MiB/s").start_ready()?;
    let eve = node("eve").start()?;
    eve.process().event("registered", PATIENCE)?;
    let bob = member(&town, "bob", &invitation, None)?;
    eve.find("live.flac", 1)?;
    let downloading = eve.begin(&["download", &hash])?;
    downloading.line("progress", PATIENCE, |line| line["event"] == "progress" && line["bytes"].as_u64().is_some_and(|bytes| bytes > 0))?;
    let before = eve.process().connections()?;
    assert_eq!(before.len() >= 2, listen == ANY_PORT, "the tracker and ada are reached otherwise: {before:?}");

    let revoked_line = admin(&town, &["members", "revoke", "eve"])?; // by the nickname of the node, not of whoever typed `join`
    let revoked = now();
    assert_eq!(revoked_line[0]["peer_id"], eve.peer_id());
    eventually(FIVE_SECONDS, "every connection that eve had is closed", || Ok(is_cut_off(&eve, &before)?.then_some(())))?;
    let until = |time: Duration| eventually(PATIENCE, "time passes", || Ok((revoked.elapsed() > time).then_some(())));
    until(FIVE_SECONDS)?;
    let got = || downloading.lines().iter().filter_map(|line| line["bytes"].as_u64()).max().unwrap_or(0);
    let at_the_end = got(); // with what had come before, and was still being verified
    assert!(at_the_end < 64 << 20, "the download was over before");
    until(FIVE_SECONDS * 2)?; // time for eve to try again
    assert_eq!(got(), at_the_end, "bytes came after the end");

    let is_alone = || Ok((eve.status()?["connected_peers"] == 0).then_some(()));
    eventually(PATIENCE, "eve is connected to nobody", is_alone)?;
    bob.sees(eve.peer_id(), false, PATIENCE)?;
    eventually(PATIENCE, "eve is told that she is no member", || Ok((eve.verb(&["search", "live"])?.code == Some(6)).then_some(())))?;
    bob.find("live.flac", 1)?; // the others go on
    drop(ada);
    Ok(())
}

#[test]
fn invitations_that_admit_nobody_say_why_in_one_sentence() -> Result {
    let town = Town::new()?;
    let tracker = town.tracker_with("tracker", &["--private"])?;
    let first = tracker.first_invitation()?;

    let once = invite(&town, &[])?;
    town.potluck("ada", &["join", &once])?.ok()?;
    town.potluck("ada", &["join", &once])?.ok()?; // the same one, because an answer may be lost
    let brief = invite(&town, &["--expires", "1s"])?;
    let taken_back = invite(&town, &[])?;
    let listed = admin(&town, &["invite", "ls"])?;
    let id = text(&listed.last().ok_or_else(|| Failure::new("no invitations"))?["id"])?;
    admin(&town, &["invite", "revoke", &id])?;
    let mistyped = first.replace('a', "b");
    let start = now();
    eventually(PATIENCE, "a second has passed", || Ok((start.elapsed() > Duration::from_secs(2)).then_some(())))?;

    for (invitation, sentence) in
        [(once.as_str(), "used up"), (&brief, "expired"), (&taken_back, "revoked"), (&mistyped, "mistyped"), ("hello", "not an invitation")]
    {
        let refused = town.potluck("eve", &["join", invitation])?.refused(6)?;
        assert!(refused.stderr.contains(sentence), "{}", refused.stderr);
        assert_eq!(refused.stderr.lines().filter(|line| line.starts_with("error:")).count(), 1, "{}", refused.stderr);
    }
    let states: Vec<Value> = admin(&town, &["invite", "ls"])?.iter().map(|line| line["state"].clone()).collect();
    assert_eq!(states, ["open", "used_up", "expired", "revoked"]);
    Ok(())
}

/// G073: two groups at one tracker.
#[test]
fn namespaces_of_one_tracker_do_not_see_each_other() -> Result {
    let town = Town::new()?;
    tree::file(&town.path("music/live.flac"), 94, 10_000)?;
    tree::file(&town.path("films/live.mkv"), 95, 10_000)?;
    let tracker = town.tracker_with("tracker", &["--private"])?;
    let _family = member(&town, "ada", &tracker.first_invitation()?, Some("music"))?;
    let choir = invite(&town, &["--namespace", "choir", "--uses", "2"])?;
    for name in ["bob", "cleo"] {
        town.potluck(name, &["join", &choir])?.ok()?;
    }
    let choir = |name: &str| town.node(name).arg("--namespace").arg("choir");
    let bob = choir("bob").share(&town.path("films")).start_ready()?;
    let cleo = choir("cleo").start()?;
    cleo.process().event("registered", PATIENCE)?;
    cleo.find("live.mkv", 1)?;
    assert_eq!(cleo.peers()?.len(), 2, "{:?}", cleo.peers()?);
    cleo.verb(&["search", "flac"])?.refused(3)?;
    drop(bob);

    // What is not granted and what does not exist look the same.
    for namespace in [NAMESPACE, "nowhere"] {
        let refused = town.potluck("bob", &["search", "live", "--namespace", namespace])?.refused(6)?;
        assert!(refused.stderr.contains("no member"), "{}", refused.stderr);
    }
    Ok(())
}

#[test]
fn a_running_node_that_joins_takes_part_at_once() -> Result {
    let town = Town::new()?;
    let hash = tree::file(&town.path("music/live.flac"), 98, 10_000)?;
    let tracker = town.tracker_with("tracker", &["--private"])?;
    let invitation = tracker.first_invitation()?;
    let ada = town.node("ada").share(&town.path("music")).start_ready()?;
    let joined = ada.verb(&["join", &invitation])?.ok()?;
    assert_eq!((&joined.only()?["takes_part"], &joined.only()?["restart"]), (&true.into(), &false.into()));
    ada.process().event("registered", PATIENCE)?;
    let bob = member(&town, "bob", &invitation, None)?;
    bob.find("live.flac", 1)?;
    bob.download(&[&hash])?.ok()?;
    let again = ada.verb(&["join", &invitation])?.ok()?;
    assert_eq!(again.only()?["takes_part"], true);
    bob.sees(ada.peer_id(), true, PATIENCE)?;
    Ok(())
}

#[test]
fn a_node_of_another_tracker_that_joins_is_a_member_from_its_next_start_on() -> Result {
    let town = Town::new()?;
    let tracker = town.tracker_with("tracker", &["--private"])?;
    let invitation = tracker.first_invitation()?;
    let mut ada = town.node("ada").arg("--tracker").arg("/ip4/127.0.0.1/tcp/1").start()?;
    let joined = ada.verb(&["join", &invitation])?.ok()?;
    assert_eq!(joined.only()?["restart"], true);
    ada.kill9()?;

    std::fs::write(town.path("invitation.txt"), format!("join us:\n{invitation}\n").lines().last().unwrap_or_default())?;
    let file = town.path("invitation.txt").display().to_string();
    town.potluck("bob", &["join", "--file", &file])?.ok()?;
    let again = town.node("ada").start()?;
    again.process().event("registered", PATIENCE)?;
    Ok(())
}

#[test]
fn who_may_only_read_offers_nothing() -> Result {
    let town = Town::new()?;
    tree::file(&town.path("music/live.flac"), 96, 10_000)?;
    let tracker = town.tracker_with("tracker", &["--private"])?;
    let _ada = member(&town, "ada", &tracker.first_invitation()?, Some("music"))?;
    let invitation = invite(&town, &["--read-only"])?;
    tree::file(&town.path("own/mine.flac"), 97, 10_000)?;
    let bob = member(&town, "bob", &invitation, Some("own"))?;
    let hit = bob.find("live.flac", 1)?;
    bob.download(&[&text(&hit["content_id"])?])?.ok()?;
    bob.verb(&["search", "mine"])?.refused(3)?;
    Ok(())
}

#[test]
fn a_tracker_that_was_private_stays_so_and_keeps_its_members() -> Result {
    let town = Town::new()?;
    let mut tracker = town.tracker_with("tracker", &["--private"])?;
    let invitation = tracker.first_invitation()?;
    let ada = member(&town, "ada", &invitation, None)?;
    tracker.kill9()?;
    let offline = admin(&town, &["invite", "ls"])?;
    assert_eq!(offline[0]["used"], 1);
    tracker.restart()?;
    let bob = member(&town, "bob", &invitation, None)?;
    bob.sees(ada.peer_id(), true, PATIENCE)?;
    drop(tracker);
    let open = town.tracker("tracker")?; // without --private
    assert!(Stranger::connect(open.address())?.discover(NAMESPACE).is_err());
    Ok(())
}
