//! Two nodes and nobody else: one dials the other, and everything works.

use potluck_tests::{Result, town::Town, tree};

#[test]
fn a_dialled_peer_is_browsed_searched_and_downloaded_from_without_any_tracker() -> Result {
    let town = Town::new()?;
    let hash = tree::file(&town.path("music/jazz/live.flac"), 11, 2_500_000)?;
    let ada = town.node("ada").share(&town.path("music")).start_ready()?;
    let bob = town.node("bob").start_ready()?;

    let dialled = bob.verb(&["dial", ada.address()])?.ok()?;
    assert_eq!(dialled.only()?["peer_id"], ada.peer_id());
    assert_eq!(dialled.only()?["tracker"], false);
    let listed = bob.verb(&["query", ada.peer_id()])?.ok()?;
    assert_eq!(listed.only()?["path"], "music/jazz/live.flac");
    assert_eq!(listed.only()?["content_id"], hash.as_str());
    assert_eq!(bob.find("live.flac", 1)?["peers"][0]["peer_id"], ada.peer_id());

    bob.download(&[&format!("{}:music/jazz/live.flac", ada.peer_id())])?.ok()?;
    tree::same_bytes(&town.path("music/jazz/live.flac"), &bob.download_dir().join("live.flac"))
}

#[test]
fn dialling_where_nobody_is_says_so() -> Result {
    let town = Town::new()?;
    let bob = town.node("bob").start_ready()?;
    bob.verb(&["dial", "/ip4/127.0.0.1/tcp/1"])?.refused(4)?;
    Ok(())
}
