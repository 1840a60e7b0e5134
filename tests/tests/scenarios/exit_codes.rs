//! The exit codes that scripts know, each from the real program, with the sentence that people read: those are kept in
//! `snapshots/`, so that nobody changes one without seeing it.

use std::process::Stdio;

use potluck_tests::{Result, town::Town, tree};

/// What differs from run to run, by another name.
fn steady(text: &str, town: &Town, peer: &str) -> String {
    let text = text.replace(&town.path("").display().to_string(), "/TOWN/").replace(peer, "PEER_ID");
    let lines = text.lines().map(|line| match line.split_once("/tcp/") {
        // a port that the system chose
        Some((before, after)) => format!("{before}/tcp/{}", after.trim_start_matches(|c: char| c.is_ascii_digit())),
        None => line.to_owned(),
    });
    lines.map(|line| line.trim_end().to_owned() + "\n").collect()
}

#[test]
fn each_failure_has_its_code_and_its_sentence() -> Result {
    let town = Town::new()?;
    tree::file(&town.path("music/live.flac"), 34, 20_000)?;
    std::fs::write(town.path("plain"), "a file")?;
    let tracker = town.tracker("tracker")?;
    let ada = town.node("ada").share(&town.path("music")).tracker(&tracker).start_ready()?;
    ada.find("live.flac", 1)?;
    let nobody = ["--tracker", "/ip4/127.0.0.1/tcp/1"];
    let unknown = "9f".repeat(32);
    let table: &[(&str, &[&str], i32)] = &[
        ("ada", &["status"], 0),
        ("eve", &["fly"], 2),
        ("eve", &["search"], 2),
        ("eve", &["download", "9f86"], 2),
        ("eve", &["dial", "192.168.1.7:9471"], 2),
        ("eve", &["node", "--limit-up", "fast"], 2),
        ("eve", &["node", "--page", "0.0.0.0:9481"], 2),
        ("eve", &["config", "set", "colour", "red"], 2),
        ("ada", &["search", "nothing-has-this-name"], 3),
        ("ada", &["ls", "nobody"], 3),
        ("ada", &["share", "rm", "nothing"], 3),
        ("ada", &["pause", "99"], 3),
        ("ada", &["link", "/etc/hostname"], 3),
        ("ada", &["man", "fly"], 3),
        ("ada", &["download", &unknown, "--timeout", "1"], 3),
        ("ada", &["dial", "/ip4/127.0.0.1/tcp/1"], 4),
        ("eve", &["join", "potluck:join/nonsense"], 6),
        ("ada", &["share", "add", "/nowhere/at/all"], 7),
        ("ada", &["share", "add", "PLAIN"], 7),
        ("ada", &["node"], 7),
        ("eve", &["search", "x", nobody[0], nobody[1]], 8),
        ("eve", &["page"], 8),
    ];
    let plain = town.path("plain").display().to_string();
    let mut told = String::new();
    for (data_dir, line, code) in table {
        let line: Vec<&str> = line.iter().map(|word| if *word == "PLAIN" { plain.as_str() } else { word }).collect();
        let output = town.potluck_command(data_dir).args(&line).env("NO_COLOR", "1").env("COLUMNS", "120").stdin(Stdio::null()).output()?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(*code), "{line:?}: {stderr}");
        assert!(!stderr.contains('\u{1b}') && !stderr.contains("panicked"), "{line:?}: {stderr}");
        if *code != 0 {
            assert!(stderr.lines().any(|line| line.starts_with("error: ")), "{line:?} says why: {stderr}");
            told.push_str(&format!(
                "$ potluck {}\n{}-> {code}\n\n",
                steady(&line.join(" "), &town, ada.peer_id()).trim_end(),
                steady(&stderr, &town, ada.peer_id())
            ));
        }
    }
    insta::assert_snapshot!("errors", told);
    Ok(())
}

#[test]
fn completions_and_manual_pages_are_made_for_every_shell_and_verb() -> Result {
    let town = Town::new()?;
    let print = |words: &[&str]| -> Result<String> {
        let output = town.potluck_command("eve").args(words).output()?;
        assert!(output.status.success(), "{words:?}");
        Ok(String::from_utf8(output.stdout)?)
    };
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = print(&["completions", shell])?;
        assert!(["download", "limit-up", "doctor", "config"].iter().all(|word| script.contains(word)), "{shell}");
        if shell == "bash" {
            let file = town.path("potluck.bash");
            std::fs::write(&file, script)?;
            let checked = std::process::Command::new("bash").arg("-n").arg(&file).output()?;
            assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
        }
    }
    let help = print(&["--help"])?;
    let verbs = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let verbs: Vec<&str> =
        verbs.filter(|line| line.starts_with("  ") && !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next()).collect();
    assert!(verbs.len() > 25, "{verbs:?}");
    for verb in verbs.iter().filter(|verb| **verb != "help") {
        let page = print(&["man", verb])?;
        assert!(page.contains(".TH") && page.contains("SYNOPSIS"), "{verb}: {page}");
    }
    assert!(print(&["man"])?.contains("Exit codes"));
    assert!(!town.path("eve").exists(), "nothing was made");
    Ok(())
}

#[test]
fn quiet_is_quiet_and_logs_are_json_where_they_are_asked_for() -> Result {
    let town = Town::new()?;
    let tracker = town.tracker("tracker")?;
    let ada = town.node("ada").tracker(&tracker).arg("--log-format").arg("json").arg("-v").start_ready()?;
    let logged = ada.process().stderr();
    assert!(logged.lines().count() > 0, "something is logged");
    for line in logged.lines() {
        let line: serde_json::Value = serde_json::from_str(line)?;
        assert!(line["level"].is_string() && line["timestamp"].is_string(), "{line}");
    }
    let quiet = town.potluck_command("ada").args(["search", "nothing-at-all", "--quiet"]).output()?;
    assert_eq!(String::from_utf8_lossy(&quiet.stderr).lines().count(), 1, "the error and nothing else");
    Ok(())
}
