//! Several trackers: answers are merged, and one that is gone takes nothing along.

use potluck_tests::{Result, clock::PATIENCE, town::Town, tree};

#[test]
fn answers_of_two_trackers_are_merged_and_one_may_die() -> Result {
    let town = Town::new()?;
    tree::file(&town.path("music/first.flac"), 23, 10_000)?;
    tree::file(&town.path("books/second.epub"), 24, 10_000)?;
    let (mut one, two) = (town.tracker("one")?, town.tracker("two")?);
    let ada = town.node("ada").share(&town.path("music")).tracker(&one).start_ready()?;
    let bob = town.node("bob").share(&town.path("books")).tracker(&two).start_ready()?;
    let cleo = town.node("cleo").tracker(&one).tracker(&two).start_ready()?;

    cleo.find("first.flac", 1)?;
    cleo.find("second.epub", 1)?;
    cleo.sees(ada.peer_id(), true, PATIENCE)?;
    cleo.sees(bob.peer_id(), true, PATIENCE)?;
    one.kill9()?;
    let hit = cleo.find("second.epub", 1)?;
    cleo.download(&[hit["content_id"].as_str().unwrap_or_default()])?.ok()?;
    tree::same_bytes(&town.path("books/second.epub"), &cleo.download_dir().join("second.epub"))
}
