//! Several trackers: answers are merged, and one that is gone takes nothing along.

use std::time::Duration;

use potluck_tests::clock::{PATIENCE, now};
use potluck_tests::town::Town;
use potluck_tests::{Result, tree};
use rustix::process::Signal;

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

/// G051: a tracker that takes questions and does not answer holds a search up for a second, and is named.
#[test]
fn a_tracker_that_does_not_answer_holds_nobody_up() -> Result {
    let town = Town::new()?;
    tree::file(&town.path("music/first.flac"), 25, 10_000)?;
    let (one, two) = (town.tracker("one")?, town.tracker("two")?);
    let _ada = town.node("ada").share(&town.path("music")).tracker(&one).tracker(&two).start_ready()?;
    let cleo = town.node("cleo").tracker(&one).tracker(&two).start_ready()?;
    cleo.find("first.flac", 1)?;
    let search = || -> Result<_> {
        let began = now();
        let finished = cleo.verb(&["search", "first.flac"])?;
        Ok((began.elapsed(), finished))
    };
    let (quick, _) = search()?;
    one.process().signal(Signal::STOP)?;
    let (slow, found) = search()?;
    one.process().signal(Signal::CONT)?;
    let hits: Vec<_> = found.lines.iter().filter(|line| line["name"] == "first.flac").collect();
    assert_eq!(hits.len(), 1, "{:?}", found.lines);
    assert!(slow < quick + Duration::from_secs(2), "a search took {quick:?} before and {slow:?} after");
    let (_, one_id) = potluck_tests::town::split_address(one.address())?;
    let complains = found.stderr.contains(one_id) || found.lines.iter().any(|line| line.to_string().contains(one_id));
    assert!(complains, "the tracker that did not answer is not named: {:?} {}", found.lines, found.stderr);
    Ok(())
}
