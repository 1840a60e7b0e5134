//! Shares that are not for everybody: others find nothing of them, by no question and by no hash, and nobody hears of them from the
//! tracker.

use potluck_common::codec::encode;
use potluck_common::content_id::ContentId;
use potluck_common::namespace::Namespace;
use potluck_common::transport::key_of;
use potluck_common::wire::index::{Answer, List, Peers, Request as Ask, Search, Sources};
use potluck_common::wire::piece::{Header, Request};
use potluck_common::wire::{Bounded, Refusal, Text};
use potluck_tests::clock::PATIENCE;
use potluck_tests::stranger::{Door, Reply, Stranger};
use potluck_tests::town::{NAMESPACE, Node, Town};
use potluck_tests::{Failure, Result, tree};

/// Everything that a stranger can ask a node of a content; `true` when something of it came back.
fn is_told(node: &Node, hash: &str, name: &str) -> Result<bool> {
    let mut eve = Stranger::connect(node.address())?;
    let (id, namespace): (ContentId, Namespace) = (hash.parse()?, NAMESPACE.parse()?);
    let peer = key_of(&node.peer_id().parse()?).ok_or_else(|| Failure::new("no key"))?;
    let mut told = false;
    for request in [
        Request::Hashes { content_id: id, from: 0 },
        Request::Piece { content_id: id, piece: 0 },
        Request::Part { content_id: id, piece: 0, offset: 0, length: 1 },
        Request::Have { content_id: id, from: 0 },
        Request::Files { content_ids: Bounded::truncated([id]) },
    ] {
        let Reply::Piece(answer) = eve.say(Door::Piece, &encode(&request)?)? else { return Err(Failure::new("no answer")) };
        let is_refusal = matches!(answer.header, Header::Refused { why: Refusal::NotFound, .. } | Header::Files { .. });
        told |= !is_refusal || !answer.body.is_empty();
    }
    for ask in [
        Ask::Search(Search { namespace: namespace.clone(), text: Text::truncated(name), after: None, limit: 10 }),
        Ask::List(List { namespace: namespace.clone(), peer, under: None, after: None, limit: 100 }),
        Ask::Sources(Sources { namespace: namespace.clone(), content_ids: Bounded::truncated([id]) }),
        Ask::Peers(Peers { namespace, peer: None, after: None, limit: 10 }),
    ] {
        told |= match eve.say(Door::Index, &encode(&ask)?)? {
            Reply::Index(Answer::Search(page)) => !page.hits.is_empty() || page.total > 0,
            Reply::Index(Answer::List(page)) => page.entries.iter().any(|entry| entry.path.as_str().contains(name)),
            Reply::Index(Answer::Sources(found)) => !found.found.is_empty(),
            Reply::Index(Answer::Peers(page)) => page.peers.iter().any(|peer| peer.files > 1), // the open share has one
            other => return Err(Failure::new(format!("{other:?}"))),
        };
    }
    Ok(told)
}

#[test]
fn a_share_for_one_peer_is_there_for_that_peer_only() -> Result {
    let town = Town::new()?;
    let open = tree::file(&town.path("open/tune.flac"), 200, 2 << 20)?;
    let diary = tree::file(&town.path("secret/diary.txt"), 201, (2 << 20) + 7)?;
    let tracker = town.tracker("tracker")?;
    let bob_id = town.potluck("bob", &["id"])?.ok()?.only()?["peer_id"].as_str().unwrap_or_default().to_owned();
    let plan = town.node("ada").tracker(&tracker).share_as("open", &town.path("open")).share_as("secret", &town.path("secret"));
    let ada = plan.arg("--share-for").arg(format!("secret={bob_id}")).start_ready()?;
    let shares = ada.verb(&["share", "ls"])?.ok()?;
    assert_eq!(shares.lines.iter().find(|share| share["name"] == "secret").map(|share| share["for"][0] == bob_id.as_str()), Some(true));

    assert!(is_told(&ada, &open, "tune")?, "what is for all is told");
    assert!(!is_told(&ada, &diary, "diary")?);

    let cleo = town.node("cleo").tracker(&tracker).start_ready()?;
    cleo.verb(&["dial", ada.address()])?.ok()?;
    cleo.find("tune.flac", 1)?;
    cleo.verb(&["search", "diary"])?.refused(3)?;
    assert!(cleo.verb(&["query", ada.peer_id()])?.ok()?.lines.iter().all(|file| file["content_id"] != diary.as_str()));
    assert_ne!(cleo.download(&[&diary, "--timeout", "2"])?.code, Some(0));

    let bob = town.node("bob").tracker(&tracker).start_ready()?;
    bob.verb(&["search", "diary"])?.refused(3)?; // the tracker does not know of it
    bob.verb(&["dial", ada.address()])?.ok()?;
    bob.find("diary.txt", 1)?;
    bob.download(&[&diary])?.ok()?;
    tree::same_bytes(&town.path("secret/diary.txt"), &bob.download_dir().join("diary.txt"))?;
    Ok(())
}

#[test]
fn a_share_for_another_namespace_is_for_nobody_here_also_after_a_restart() -> Result {
    let town = Town::new()?;
    tree::file(&town.path("open/tune.flac"), 202, 50_000)?;
    let diary = tree::file(&town.path("secret/diary.txt"), 203, 50_000)?;
    let mut ada = town.node("ada").share_as("open", &town.path("open")).start_ready()?;
    let secret = format!("secret={}", town.path("secret").display());
    let added = ada.verb(&["share", "add", &secret, "--for", "family"])?.ok()?;
    assert_eq!(added.only()?["for"][0], "family");
    assert!(!is_told(&ada, &diary, "diary")?);
    ada.restart()?;
    ada.process().event("indexed", PATIENCE)?;
    assert!(!is_told(&ada, &diary, "diary")?);
    let at_home = town.node("ada").arg("--namespace").arg("family");
    drop(ada);
    let ada = at_home.start()?;
    ada.process().event("indexed", PATIENCE)?;
    let bob = town.node("bob").arg("--namespace").arg("family").start()?;
    bob.verb(&["dial", ada.address()])?.ok()?;
    bob.find("diary.txt", 1)?;
    Ok(())
}

#[test]
fn a_limit_on_a_share_that_there_is_not_is_an_error() -> Result {
    let town = Town::new()?;
    std::fs::create_dir_all(town.path("open"))?;
    let mut command = town.node("ada").share_as("open", &town.path("open")).arg("--share-for").arg("opne=family").command();
    let output = command.output()?;
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("opne"));
    Ok(())
}
