//! G021 to G025: names that a peer made up to get out of the download folder, over both ways on which names come in.

use potluck_common::wire::{Refusal, index::Answer};
use potluck_tests::hostile::{Lie, Offer, Plan};
use potluck_tests::town::Town;
use potluck_tests::{Result, tree};

fn names_to_refuse() -> Vec<String> {
    let plain = [
        "",
        "/",
        ".",
        "..",
        "../x",
        "share/../x",
        "share/../../../x",
        "share/./x",
        "share//x",
        "/x",
        "//x",
        "share/x/",
        "/etc/cron.d/x",
        "..\\x",
        "share\\..\\x",
        "share/..\\..\\x",
        "\\\\server\\x",
        "C:\\x",
        "C:/x",
        "C:",
        "share/x\0.txt",
        "share/\u{1b}[2Jx",
        "share/x\n",
        "share/\u{9b}31m",
        "share/\r",
        "....//x",
        "share/..",
        "share/.",
    ];
    let mut names: Vec<String> = plain.iter().map(|name| (*name).to_owned()).collect();
    names.push(format!("share/{}", "x".repeat(256)));
    names.push(format!("share/{}", "x".repeat(65_536)));
    names.push(format!("share{}", "/d".repeat(10_000)));
    names
}

#[test]
fn a_name_that_tries_to_leave_the_folder_is_refused_by_tracker_and_node() -> Result {
    let town = Town::new()?;
    let tracker = town.tracker("tracker")?;
    let downloads = town.path("deep/down/here");
    let bob = town.node("bob").tracker(&tracker).download_dir(&downloads).start_ready()?;
    for name in names_to_refuse() {
        let shown: String = name.chars().take(40).collect();
        let liar = Plan::new(Lie::Nothing, [Offer::new(name, tree::content(1, 2000))]).at(tracker.address()).start()?;
        let verdict = liar.trackers_said();
        assert!(matches!(verdict.as_slice(), [Answer::Refused { why: Refusal::Unsupported }]), "{shown:?}: the tracker said {verdict:?}");

        bob.verb(&["dial", liar.address()])?.ok()?;
        for what in ["share", "share/x", "x"] {
            let code = bob.download(&[&format!("{}:{what}", liar.peer_id()), "--timeout", "2"])?.code;
            assert_ne!(code, Some(0), "{shown:?} was downloaded as {what}");
        }
        bob.verb(&["search", "x"])?;
    }
    assert!(tree::look(&town.path("deep"))?.is_empty(), "{:?}", tree::look(&town.path("deep"))?);
    assert!(!town.path("x").exists() && !std::path::Path::new("/x").exists());
    Ok(())
}

#[test]
fn an_odd_name_that_stays_inside_is_downloaded_and_shown_without_harm() -> Result {
    let town = Town::new()?;
    let downloads = town.path("deep/down/here");
    let bob = town.node("bob").download_dir(&downloads).start_ready()?;
    let longest = "x".repeat(255);
    let names = [
        "foo... bar",
        "..hidden",
        "a..b",
        "...",
        "%2e%2e",
        "CON",
        "nul.txt",
        "COM\u{b9}",
        "a:b",
        "ends.",
        "ends ",
        "~",
        "-rf",
        "$(reboot)",
        "\u{202e}gpj.exe",
        "\u{2215}etc\u{2215}passwd",
        "日本語.txt",
        "e\u{301}",
        "é",
        "A",
        "a",
        &longest,
    ];
    let offers: Vec<Offer> =
        names.iter().enumerate().map(|(number, name)| Offer::new(format!("share/{name}"), tree::content(number as u64, 3000))).collect();
    let liar = Plan::new(Lie::Nothing, offers).start()?;
    bob.verb(&["dial", liar.address()])?.ok()?;
    let finished = bob.download(&[&format!("{}:share", liar.peer_id())])?.ok()?;
    assert_eq!(finished.done().len(), names.len(), "{:?}", finished.lines);
    assert_eq!(tree::look(&downloads)?.len(), names.len(), "two names, two files (G025)");
    assert_eq!(tree::look(&town.path("deep"))?.len(), names.len(), "nothing beside the download folder");

    let text = bob.say(&["query", liar.peer_id()])?;
    let acts_on_terminal = |c: char| (c.is_control() && c != '\n' && c != '\t') || ('\u{202a}'..='\u{202e}').contains(&c);
    assert!(!text.contains(acts_on_terminal), "{text:?}");
    assert!(text.contains("hidden"), "{text}");
    Ok(())
}
