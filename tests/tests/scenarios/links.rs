//! A `potluck:` link from a chat is all that is needed.

use potluck_common::link::Link;
use potluck_tests::{Result, town::Town, tree};

#[test]
fn a_link_is_downloaded_under_its_name() -> Result {
    let town = Town::new()?;
    let hash = tree::file(&town.path("music/live.flac"), 16, 700_000)?;
    let tracker = town.tracker("tracker")?;
    let _ada = town.node("ada").share(&town.path("music")).tracker(&tracker).start_ready()?;
    let bob = town.node("bob").tracker(&tracker).start_ready()?;
    bob.find("live.flac", 1)?;

    let link = Link { content_id: hash.parse()?, name: Some("from a friend.flac".into()), size: Some(700_000) };
    let finished = bob.download(&[&link.to_string()])?.ok()?;
    let path = finished.done()[0]["path"].as_str().unwrap_or_default().to_owned();
    tree::same_bytes(&town.path("music/live.flac"), path.as_ref())?;
    assert_eq!(path, bob.download_dir().join("from a friend.flac").to_string_lossy());
    Ok(())
}

#[test]
fn the_name_in_a_link_cannot_leave_the_folder() -> Result {
    let town = Town::new()?;
    let hash = tree::file(&town.path("music/live.flac"), 17, 700_000)?;
    let ada = town.node("ada").share(&town.path("music")).start_ready()?;
    let bob = town.node("bob").download_dir(&town.path("deep/down")).start_ready()?;
    bob.verb(&["dial", ada.address()])?.ok()?;
    for name in ["../../victim", "/tmp/victim", "a/../../victim", ".."] {
        let link = Link { content_id: hash.parse()?, name: Some(name.into()), size: None };
        bob.download(&[&link.to_string()])?;
    }
    assert!(!town.path("victim").exists() && !town.path("deep/victim").exists());
    let outside = tree::look(&town.path("deep"))?.into_keys().filter(|path| !path.starts_with("down")).count();
    assert_eq!(outside, 0);
    Ok(())
}
