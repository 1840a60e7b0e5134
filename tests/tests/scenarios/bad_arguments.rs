//! Command lines that make no sense: exit code 2 and a sentence, before anything is started or written.

use potluck_tests::{Result, clock::PATIENCE, process::Process, town::Town};

#[test]
fn a_command_line_that_makes_no_sense_is_refused_with_code_2() -> Result {
    let town = Town::new()?;
    let long_namespace = "n".repeat(256);
    let short_id = "ab".repeat(31);
    let lines: [&[&str]; 26] = [
        &[],
        &["fly"],
        &["--no-such-option", "id"],
        &["node", "--share"],
        &["node", "--share", ""],
        &["node", "--share", "..=/tmp"],
        &["node", "--share", "=/tmp"],
        &["node", "--listen", "here"],
        &["node", "--listen", "127.0.0.1:9471"],
        &["node", "--listen", "/ip4/127.0.0.1"],
        &["node", "--nickname", ""],
        &["node", "--nickname", "a\u{1b}[2Jb"],
        &["node", "--limit-up", "fast"],
        &["node", "--limit-up", "0"],
        &["search"],
        &["search", "x", "--limit", "0"],
        &["search", "x", "--limit", "-3"],
        &["search", "x", "--min-size", "huge"],
        &["search", "x", "--tracker", "not an address"],
        &["search", "x", "--tracker", "/ip4/203.0.113.5/tcp/9470"],
        &["search", "x", "--namespace", &long_namespace],
        &["download"],
        &["download", &short_id],
        &["download", "ada:../../etc/passwd"],
        &["download", "potluck:nonsense"],
        &["download", "x:y", "--on-conflict", "overwrite"],
    ];
    for line in lines {
        let refused = town.potluck("eve", line)?;
        assert_eq!(refused.code, Some(2), "{line:?}: {}", refused.stderr);
        assert!(!refused.stderr.trim().is_empty(), "{line:?} was refused without a word");
        assert!(refused.lines.is_empty(), "{line:?}: stdout is for results: {:?}", refused.lines);
    }
    assert!(!town.path("eve").exists(), "nothing was written");
    for line in [&["--listen", "here"][..], &["--no-such-option"], &["surplus"]] {
        Process::start(line.join(" "), &mut town.tracker_command("tracker", line))?.finish(PATIENCE)?.refused(2)?;
    }
    Ok(())
}
