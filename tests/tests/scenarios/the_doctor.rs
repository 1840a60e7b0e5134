//! `doctor` finds what keeps a node from others and says what helps; its exit code is that of the first failure.

use std::os::unix::fs::PermissionsExt;

use potluck_tests::process::Finished;
use potluck_tests::{Result, town::Town, tree};
use serde_json::Value;

fn check<'a>(told: &'a Finished, name: &str) -> &'a Value {
    told.lines.iter().find(|line| line["check"] == name).unwrap_or(&Value::Null)
}

#[test]
fn a_healthy_node_passes_and_what_is_wrong_is_named_with_the_next_step() -> Result {
    let town = Town::new()?;
    tree::file(&town.path("music/song.flac"), 1, 1000)?;
    let tracker = town.tracker("tracker")?;
    let ada = town.node("ada").share(&town.path("music")).tracker(&tracker).start_ready()?;
    let told = ada.verb(&["doctor"])?.ok()?;
    for name in ["configuration", "data_folder", "identity", "disk", "watches", "clock", "addresses", "trackers", "peers"] {
        assert!(check(&told, name)["message"].as_str().is_some_and(|message| message.len() > 10), "{name}: {:?}", told.lines);
    }
    assert_eq!((&check(&told, "trackers")["state"], &check(&told, "identity")["state"]), (&"good".into(), &"good".into()));

    let alone = town.potluck("bob", &["doctor", "--tracker", "/ip4/127.0.0.1/tcp/1"])?.refused(8)?;
    assert_eq!(check(&alone, "trackers")["code"], 8);
    let identity = town.path("bob/identity");
    std::fs::set_permissions(&identity, std::fs::Permissions::from_mode(0o644))?;
    let wide = town.potluck("bob", &["doctor"])?.refused(6)?;
    assert!(check(&wide, "identity")["message"].as_str().is_some_and(|message| message.contains("chmod 600")), "{:?}", wide.lines);
    std::fs::write(town.path("bob/config.toml"), "nickname = 1 2")?;
    town.potluck("bob", &["doctor"])?.refused(2)?;
    Ok(())
}
