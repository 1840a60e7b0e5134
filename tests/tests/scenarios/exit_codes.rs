//! The exit codes that scripts know, each from the real program, with the sentence that people read: those are kept in
//! `snapshots/`, so that nobody changes one without seeing it.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

use potluck_tests::clock::PATIENCE;
use potluck_tests::programs::workspace;
use potluck_tests::town::{Town, split_address};
use potluck_tests::{Result, grammar, tree};
use rustix::process::Signal;

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

/// What happens to a verb that would go on.
#[derive(Clone, Copy, Debug)]
enum Meanwhile {
    /// Ctrl-C in its terminal.
    Interrupted,
    /// Somebody cancels it in another.
    Cancelled,
}

/// Runs a verb to its end; tells what it ended with, and what it said to people.
fn run(town: &Town, data_dir: &str, line: &[&str]) -> Result<(Option<i32>, String)> {
    let output = town.potluck_command(data_dir).args(line).env("NO_COLOR", "1").env("COLUMNS", "120").stdin(Stdio::null()).output()?;
    Ok((output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()))
}

#[test]
fn each_verb_ends_with_its_code_and_each_failure_with_its_sentence() -> Result {
    let town = Town::new()?;
    let hash = tree::file(&town.path("music/live.flac"), 34, 20_000)?;
    let other = tree::file(&town.path("music/other.flac"), 36, 10_000)?;
    let long = tree::file(&town.path("music/long.flac"), 35, 24 << 20)?;
    std::fs::write(town.path("plain"), "a file")?;
    let tracker = town.tracker("tracker")?;
    let ada = town.node("ada").share(&town.path("music")).tracker(&tracker).arg("--limit-up").arg("2MiB").start_ready()?;
    let bob = town.node("bob").tracker(&tracker).start_ready()?;
    bob.find("live.flac", 1)?;
    bob.find("long.flac", 1)?;
    let plain = town.path("plain").display().to_string();
    let someone = town.potluck("eve", &["id"])?.ok()?.only()?["peer_id"].as_str().unwrap_or_default().to_owned();
    let (place, whom) = split_address(tracker.address())?;
    let elsewhere = format!("{place}/p2p/{someone}");
    let (unknown, got) = ("9f".repeat(32), bob.download_dir().join("other.flac").display().to_string());
    std::fs::write(bob.download_dir().join("live.flac"), "in the way")?;
    let nobody = ["--tracker", "/ip4/127.0.0.1/tcp/1"];
    let table: &[(&str, &[&str], i32)] = &[
        // done
        ("ada", &["status"], 0),
        ("ada", &["id"], 0),
        ("ada", &["register"], 0),
        ("ada", &["query"], 0),
        ("ada", &["search", "live"], 0),
        ("ada", &["ls", "me:music"], 0),
        ("ada", &["share", "ls"], 0),
        ("ada", &["share", "rescan"], 0),
        ("ada", &["downloads"], 0),
        ("ada", &["uploads"], 0),
        ("ada", &["limits"], 0),
        ("ada", &["config", "show"], 0),
        ("ada", &["config", "path"], 0),
        ("ada", &["config", "unset", "nickname"], 0),
        ("ada", &["verify"], 0),
        ("ada", &["doctor"], 0),
        ("ada", &["completions", "fish"], 0),
        ("ada", &["deregister"], 0),
        ("ada", &["register"], 0),
        // the command line makes no sense
        ("eve", &["fly"], 2),
        ("eve", &["search"], 2),
        ("eve", &["watch"], 2),
        ("eve", &["download", "9f86"], 2),
        ("eve", &["dial", "192.168.1.7:9471"], 2),
        ("eve", &["priority", "urgent", "all"], 2),
        ("eve", &["completions", "klingon"], 2),
        ("eve", &["limits", "--up", "fast"], 2),
        ("eve", &["node", "--limit-up", "fast"], 2),
        ("eve", &["node", "--page", "0.0.0.0:9481"], 2),
        ("eve", &["config", "set", "colour", "red"], 2),
        // not found
        ("ada", &["search", "nothing-has-this-name"], 3),
        ("ada", &["query", "nobody"], 3),
        ("ada", &["ls", "nobody"], 3),
        ("ada", &["share", "rm", "nothing"], 3),
        ("ada", &["share", "rescan", "nothing"], 3),
        ("ada", &["pause", "99"], 3),
        ("ada", &["resume", "99"], 3),
        ("ada", &["cancel", "99"], 3),
        ("ada", &["retry", "99"], 3),
        ("ada", &["priority", "high", "99"], 3),
        ("ada", &["link", "/etc/hostname"], 3),
        ("ada", &["man", "fly"], 3),
        ("ada", &["verify", &unknown], 3),
        ("ada", &["download", &unknown, "--timeout", "1"], 3),
        // nobody can be reached who has it
        ("ada", &["dial", "/ip4/127.0.0.1/tcp/1"], 4),
        // another than was asked for
        ("ada", &["dial", &elsewhere], 5),
        // no member
        ("eve", &["join", "potluck:join/nonsense"], 6),
        // this disk
        ("ada", &["share", "add", "/nowhere/at/all"], 7),
        ("ada", &["share", "add", &plain], 7),
        ("ada", &["node"], 7),
        // neither node nor tracker
        ("eve", &["search", "x", nobody[0], nobody[1]], 8),
        ("eve", &["register", nobody[0], nobody[1]], 8),
        ("eve", &["page"], 8),
        // some of it
        ("bob", &["download", &hash, &other, "--on-conflict", "error"], 9),
    ];
    let stopped: &[(&[&str], Meanwhile, i32)] = &[
        (&["download", &long], Meanwhile::Interrupted, 130),
        (&["watch", "live"], Meanwhile::Interrupted, 130),
        (&["download", &long], Meanwhile::Cancelled, 1),
    ];
    let (mut told, mut wrong) = (String::new(), Vec::new());
    let mut tell = |line: &[&str], code: i32, stderr: &str| {
        assert!(!stderr.contains('\u{1b}') && !stderr.contains("panicked"), "{line:?}: {stderr}");
        if code == 0 {
            return;
        }
        assert!(stderr.lines().any(|line| line.starts_with("error: ")), "{line:?} says why: {stderr}");
        let [line, stderr] = [line.join(" "), stderr.to_owned()]
            .map(|text| steady(&text.replace(&someone, "SOMEONE").replace(whom, "TRACKER"), &town, ada.peer_id()));
        told.push_str(&format!("$ potluck {}\n{stderr}-> {code}\n\n", line.trim_end()));
    };
    for (data_dir, line, code) in table {
        let (ended, stderr) = run(&town, data_dir, line)?;
        if ended != Some(*code) {
            wrong.push(format!("{line:?} ended with {ended:?} instead of {code}: {stderr}"));
        }
        tell(line, *code, &stderr);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for (line, meanwhile, code) in stopped {
        let verb = bob.begin(line)?;
        verb.line("how it goes", PATIENCE, |_| true)?;
        match meanwhile {
            Meanwhile::Interrupted => verb.signal(Signal::INT)?,
            Meanwhile::Cancelled => drop(bob.verb(&["cancel", "long.flac"])?.ok()?),
        }
        let ended = verb.finish(PATIENCE)?.expect_code(*code)?;
        tell(line, *code, &ended.stderr);
    }
    // What was fetched is no longer what it was.
    std::fs::write(&got, "changed")?;
    let (ended, stderr) = run(&town, "bob", &["verify", &got, "--check"])?;
    assert_eq!(ended, Some(5), "{stderr}");
    tell(&["verify", &got, "--check"], 5, &stderr);

    let lines: Vec<&[&str]> = table.iter().map(|(_, line, _)| *line).chain(stopped.iter().map(|(line, ..)| *line)).collect();
    assert_eq!(grammar::missing(&grammar::verbs(&town)?, &lines), Vec::<&str>::new(), "these verbs have no line in the table");
    let codes: BTreeSet<i32> = table.iter().map(|(.., code)| *code).chain(stopped.iter().map(|(.., code)| *code)).collect();
    assert_eq!(codes, grammar::exit_codes(&town)?, "each code that the help explains is met");
    let guide = std::fs::read_to_string(workspace().join("docs/USERS.md"))?;
    let explained = guide.lines().filter_map(|line| line.strip_prefix("| ")?.split(' ').next()?.parse().ok());
    assert_eq!(codes, explained.collect::<BTreeSet<i32>>(), "the guide explains the same");
    insta::assert_snapshot!("errors", told);
    Ok(())
}

/// Fails where a program of this machine finds fault with a file. One that is not installed finds none.
fn checked(program: &str, args: &[&str], file: &Path, content: &str) -> Result {
    std::fs::write(file, content)?;
    match Command::new(program).args(args).arg(file).stdin(Stdio::null()).output() {
        Ok(output) => {
            let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success() && complaints.is_empty(), "{program} on {}: {complaints}", file.display());
            Ok(())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error.into()),
    }
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
        let verbs = grammar::verbs(&town)?;
        let named = |verb: &&String| verb.split(' ').all(|word| script.contains(word));
        assert_eq!(verbs.iter().filter(|verb| !named(verb)).collect::<Vec<_>>(), Vec::<&String>::new(), "{shell}");
        assert!(script.contains("limit-up"), "{shell} knows options too");
        if matches!(shell, "bash" | "zsh" | "fish") {
            checked(shell, &["-n"], &town.path(&format!("potluck.{shell}")), &script)?;
        }
    }
    let verbs: BTreeSet<String> = grammar::verbs(&town)?.iter().filter_map(|verb| verb.split(' ').next()).map(Into::into).collect();
    assert!(verbs.len() > 25, "{verbs:?}");
    for verb in verbs {
        let page = print(&["man", &verb])?;
        assert!(page.contains(".TH") && page.contains("SYNOPSIS"), "{verb}: {page}");
        checked("man", &["--warnings", "-l", "-Tutf8"], &town.path(&format!("potluck-{verb}.1")), &page)?;
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
