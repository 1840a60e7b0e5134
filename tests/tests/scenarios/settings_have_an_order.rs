//! What a node runs with: the default, then the configuration file, then the environment, then the option; each value is told
//! with where it comes from, on the terminal and on the page, and what can change while the node runs does.

use potluck_tests::clock::{PATIENCE, eventually};
use potluck_tests::process::{Finished, Process};
use potluck_tests::{Result, town::Town};
use rustix::process::Signal;

/// A setting as `config show` tells it: value, origin, place.
fn setting(shown: &Finished, name: &str) -> (String, String, String) {
    let line = shown.lines.iter().find(|line| line["name"] == name).cloned().unwrap_or_default();
    let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
    let value: Vec<&str> = line["value"].as_array().into_iter().flatten().filter_map(|value| value.as_str()).collect();
    (value.join(","), text("origin"), text("place"))
}

#[test]
fn each_value_is_told_with_where_it_comes_from() -> Result {
    let town = Town::new()?;
    let file = town.path("ada/config.toml");
    let shown = town.potluck("ada", &["config", "show"])?.ok()?;
    assert_eq!(setting(&shown, "limit_up"), (String::new(), "default".into(), String::new()));
    town.potluck("ada", &["config", "set", "nickname", "ada of the file"])?.ok()?;
    town.potluck("ada", &["config", "set", "limit-up", "5MiB/s"])?.ok()?;
    let shown = town.potluck("ada", &["config", "show"])?.ok()?;
    assert_eq!(setting(&shown, "nickname"), ("ada of the file".into(), "file".into(), file.display().to_string()));
    let mut by_variable = town.potluck_command("ada");
    by_variable.env("POTLUCK_NICKNAME", "ada of the variable").args(["config", "show"]);
    let shown = Process::start("config show", &mut by_variable)?.finish(PATIENCE)?.ok()?;
    assert_eq!(setting(&shown, "nickname"), ("ada of the variable".into(), "environment".into(), "POTLUCK_NICKNAME".into()));

    let ada = town.node("ada").arg("--page").arg("127.0.0.1:0").start()?;
    let shown = ada.verb(&["config", "show"])?.ok()?;
    assert_eq!(setting(&shown, "nickname"), ("ada".into(), "option".into(), "--nickname".into()));
    assert_eq!(setting(&shown, "limit_up").1, "file");
    assert_eq!(setting(&shown, "namespace").2, "POTLUCK_NAMESPACE");
    assert_eq!(ada.verb(&["limits"])?.ok()?.only()?["up"], 5 << 20);
    let on_page = ada.page()?.get("/api/v1/settings")?;
    assert_eq!(on_page.as_array(), Some(&shown.lines), "the page tells the same");
    Ok(())
}

#[test]
fn a_running_node_takes_over_what_it_can_and_says_what_waits() -> Result {
    let town = Town::new()?;
    let music = town.path("music");
    potluck_tests::tree::file(&music.join("song.flac"), 1, 1000)?;
    let ada = town.node("ada").start()?;
    let set = ada.verb(&["config", "set", "limit_up", "3MiB/s"])?.ok()?;
    assert_eq!(setting(&set, "limit_up").0, "3MiB/s");
    assert_eq!(ada.verb(&["limits"])?.ok()?.only()?["up"], 3 << 20);
    let set = ada.verb(&["config", "set", "page", "off", "--quiet"])?.ok()?;
    assert_eq!(setting(&set, "page").1, "environment", "a variable wins over the file");

    let share = format!("tunes={}", music.display());
    ada.verb(&["config", "set", "share", &share])?.ok()?;
    let shared = ada.verb(&["share", "ls"])?.ok()?;
    assert_eq!(shared.only()?["name"], "tunes");

    let file = town.path("ada/config.toml");
    std::fs::write(&file, "limit_up = \"1MiB/s\"\nlisten = [\"/ip4/127.0.0.1/tcp/4001\"]\n")?;
    ada.process().signal(Signal::HUP)?;
    eventually(PATIENCE, "the file is read again", || Ok((ada.verb(&["limits"])?.ok()?.only()?["up"] == 1 << 20).then_some(())))?;
    std::fs::write(&file, "limit_up = \"fast\"\n")?;
    ada.process().signal(Signal::HUP)?;
    eventually(PATIENCE, "a file that makes no sense is told of", || {
        Ok(ada.process().stderr().contains("bytes per second").then_some(()))
    })?;
    assert_eq!(ada.verb(&["limits"])?.code, Some(2), "a verb tells it too");
    std::fs::remove_file(&file)?;
    assert_eq!(ada.verb(&["limits"])?.ok()?.only()?["up"], 1 << 20, "and nothing changed");
    Ok(())
}

#[test]
fn what_makes_no_sense_is_refused_before_it_is_written() -> Result {
    let town = Town::new()?;
    for line in [&["config", "set", "colour", "red"][..], &["config", "set", "limit_up", "fast"], &["config", "unset", "nothing"]] {
        town.potluck("eve", line)?.refused(2)?;
    }
    assert!(!town.path("eve/config.toml").exists());
    std::fs::create_dir_all(town.path("eve"))?;
    std::fs::write(town.path("eve/config.toml"), "nickname = ")?;
    let refused = town.potluck("eve", &["status"])?.refused(2)?;
    assert!(refused.stderr.contains("config.toml") && refused.stderr.contains("line 1"), "{}", refused.stderr);
    let path = town.potluck("eve", &["config", "path"])?.ok()?;
    assert_eq!(path.only()?["path"], town.path("eve/config.toml").display().to_string(), "where it is can be asked all the same");
    Ok(())
}
