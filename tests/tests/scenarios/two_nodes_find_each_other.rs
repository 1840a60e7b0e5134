//! The shortest story of all.

use potluck_tests::{Result, clock::PATIENCE, town::Town, tree};

#[test]
fn two_nodes_find_each_other_and_one_downloads() -> Result {
    let town = Town::new()?;
    let hash = tree::file(&town.path("music/live.flac"), 1, (3 << 20) + 17)?;
    let tracker = town.tracker("tracker")?;
    let ada = town.node("ada").share(&town.path("music")).tracker(&tracker).start_ready()?;
    let bob = town.node("bob").tracker(&tracker).start_ready()?;

    bob.sees(ada.peer_id(), true, PATIENCE)?;
    let hit = bob.find("live.flac", 1)?;
    assert_eq!(hit["content_id"], hash.as_str());
    assert_eq!(hit["size"], (3 << 20) + 17);
    assert_eq!(hit["kind"], "file");
    assert_eq!(hit["peers"][0]["peer_id"], ada.peer_id());
    assert_eq!(hit["peers"][0]["nickname"], "ada");
    assert_eq!(hit["peers"][0]["path"], "music/live.flac");

    let finished = bob.download(&[&hash])?.ok()?;
    let done = finished.done();
    assert_eq!(done.len(), 1, "{:?}", finished.lines);
    assert_eq!(done[0]["fetched"], (3 << 20) + 17);
    assert_eq!(done[0]["sources"], 1);
    assert_eq!(done[0]["path"], bob.download_dir().join("live.flac").to_string_lossy().as_ref());
    tree::same_bytes(&town.path("music/live.flac"), &bob.download_dir().join("live.flac"))
}
