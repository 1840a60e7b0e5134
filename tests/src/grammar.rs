//! What can be typed, as the help of the real program tells it: a table of a test that leaves out a verb or an exit code is
//! noticed.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use crate::failure::{Failure, Result};
use crate::town::Town;

/// Above the verbs, in a help text.
const VERBS: &str = "Commands:";
/// Before the exit codes.
const CODES: &str = "Exit codes:";

/// Every verb of `potluck`; one below another with both words: `share add`.
///
/// # Errors
/// When the program prints no help.
pub fn verbs(town: &Town) -> Result<Vec<String>> {
    verbs_by(|| town.potluck_command("nobody"))
}

/// Every verb of `potluck-tracker`, likewise.
///
/// # Errors
/// When the program prints no help.
pub fn tracker_verbs(town: &Town) -> Result<Vec<String>> {
    verbs_by(|| town.tracker_command("nobody", &[]))
}

fn verbs_by(program: impl Fn() -> Command) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for verb in verbs_of(&help(program(), &[])?) {
        let below = verbs_of(&help(program(), &[&verb])?);
        if below.is_empty() {
            all.push(verb);
        } else {
            all.extend(below.into_iter().map(|inner| format!("{verb} {inner}")));
        }
    }
    Ok(all)
}

/// Every exit code that the help explains.
///
/// # Errors
/// When the program prints no help.
pub fn exit_codes(town: &Town) -> Result<BTreeSet<i32>> {
    let codes = codes_of(&help(town.potluck_command("nobody"), &[])?);
    if codes.is_empty() { Err(Failure::new("the help explains no exit code")) } else { Ok(codes) }
}

/// Which of these verbs no line of a table begins with.
#[must_use]
pub fn missing<'a>(verbs: &'a [String], lines: &[&[&str]]) -> Vec<&'a str> {
    let is_there = |verb: &&String| {
        let words: Vec<&str> = verb.split(' ').collect();
        lines.iter().any(|line| line.starts_with(&words))
    };
    verbs.iter().filter(|verb| !is_there(verb)).map(String::as_str).collect()
}

fn help(mut program: Command, verb: &[&str]) -> Result<String> {
    let output = program.args(verb).arg("--help").env("NO_COLOR", "1").stdin(Stdio::null()).output()?;
    Ok(String::from_utf8(output.stdout)?)
}

/// The verbs of a help text: what stands two columns in below their headline. What explains them stands further in.
fn verbs_of(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| *line != VERBS).skip(1).take_while(|line| !line.is_empty());
    let named = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next());
    named.filter(|verb| *verb != "help").map(ToOwned::to_owned).collect()
}

/// The numbers of a help text after the word for them: `0 done, 1 other failure, …`.
fn codes_of(help: &str) -> BTreeSet<i32> {
    let after = help.split_once(CODES).map(|(_, after)| after).unwrap_or_default();
    let paragraph = after.split("\n\n").next().unwrap_or_default();
    paragraph.split([',', '\n']).filter_map(|part| part.split_whitespace().next()?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELP: &str = "Share.\n\nCommands:\n  fly    Fly\n  get    Fetch\n             and more [aliases: fetch]\n  help   Print\n\n\
                        Options:\n  -q  Quiet\n\nExit codes: 0 done, 1 other (not 17),\n9 partly, 130 interrupted.\n\n7 is another number\n";

    #[test]
    fn verbs_and_codes_are_read_from_a_help_text() {
        assert_eq!(verbs_of(HELP), ["fly", "get"]);
        assert_eq!(codes_of(HELP), BTreeSet::from([0, 1, 9, 130]));
        assert!(verbs_of("no verbs").is_empty() && codes_of("no codes").is_empty());
    }

    #[test]
    fn a_verb_without_a_line_is_missing() {
        let verbs = ["share add".to_owned(), "share rm".to_owned(), "get".to_owned()];
        assert_eq!(missing(&verbs, &[&["share", "add", "x"], &["getaway"]]), ["share rm", "get"]);
        assert!(missing(&verbs, &[&["share", "add"], &["share", "rm", "x"], &["get"]]).is_empty());
    }
}
