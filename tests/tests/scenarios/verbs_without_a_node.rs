//! Every verb also works where no node runs: it starts a short-lived one of its own.

use potluck_tests::{Result, town::Town, tree};

#[test]
fn verbs_do_their_work_without_a_running_node() -> Result {
    let town = Town::new()?;
    let hash = tree::file(&town.path("music/live.flac"), 20, 1_500_000)?;
    let tracker = town.tracker("tracker")?;
    let ada = town.node("ada").share(&town.path("music")).tracker(&tracker).start_ready()?;
    town.node("scout").tracker(&tracker).start_ready()?.find("live.flac", 1)?;

    let at = ["--tracker", tracker.address()];
    let verb = |words: &[&str]| town.potluck("eve", &[words, &at].concat());
    assert_eq!(verb(&["search", "live"])?.ok()?.only()?["content_id"], hash.as_str());
    assert!(verb(&["query"])?.ok()?.lines.iter().any(|peer| peer["peer_id"] == ada.peer_id()));
    assert_eq!(verb(&["query", ada.peer_id()])?.ok()?.only()?["path"], "music/live.flac");
    let into = town.path("eve's");
    std::fs::create_dir_all(&into)?;
    let finished = verb(&["download", &hash, "-o", &into.to_string_lossy()])?.ok()?;
    assert_eq!(finished.done().len(), 1, "{:?}", finished.lines);
    tree::same_bytes(&town.path("music/live.flac"), &into.join("live.flac"))
}

#[test]
fn a_peer_is_reached_by_address_alone() -> Result {
    let town = Town::new()?;
    tree::file(&town.path("music/live.flac"), 21, 1_500_000)?;
    let ada = town.node("ada").share(&town.path("music")).start_ready()?;
    let verb = |words: &[&str]| town.potluck("eve", &[words, &["--dial", ada.address()]].concat());
    verb(&["search", "live"])?.ok()?.only()?;
    let into = town.path("eve's");
    std::fs::create_dir_all(&into)?;
    verb(&["download", &format!("{}:music", ada.peer_id()), "-o", &into.to_string_lossy()])?.ok()?;
    tree::same_bytes(&town.path("music/live.flac"), &into.join("music/live.flac"))
}

#[test]
fn who_am_i_and_what_do_i_share_need_no_network() -> Result {
    let town = Town::new()?;
    tree::file(&town.path("music/live.flac"), 22, 100)?;
    let id = town.potluck("eve", &["id"])?.ok()?.only()?["peer_id"].clone();
    assert_eq!(town.potluck("eve", &["id"])?.ok()?.only()?["peer_id"], id, "an identity stays");
    town.potluck("eve", &["share", "add", &town.path("music").to_string_lossy()])?.ok()?;
    assert_eq!(town.potluck("eve", &["share", "ls"])?.ok()?.only()?["name"], "music");
    assert_eq!(town.potluck("eve", &["status"])?.ok()?.only()?["running"], false);
    assert!(town.potluck("eve", &["downloads"])?.ok()?.lines.is_empty());
    Ok(())
}
