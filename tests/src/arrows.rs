//! The checker of the architecture: which file may name what.
//!
//! It reads sources as text: comments, strings and test modules taken out, names compared as whole words. That is crude,
//! and enough to notice an arrow that turned around.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::failure::Result;

/// Most lines of a file before its tests.
const MAX_LINES: usize = 500;

/// A source file.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its path in the workspace, with `/`.
    pub path: String,
    /// What it holds.
    pub text: String,
}

/// A wall: files below one place that must not name something, but for a few.
struct Wall {
    /// Why it stands, as a sentence about a file that goes through it.
    sentence: &'static str,
    /// It holds for paths that begin so.
    within: &'static [&'static str],
    /// But not for paths that begin so.
    but: &'static [&'static str],
    /// What must not be named.
    names: &'static [&'static str],
}

const PROGRAMS: &[&str] = &["common/src/", "node/src/", "rendezvous/src/"];
const FILES: &[&str] = &["std::fs", "tokio::fs", "cap_std", "redb", "File::open", "File::create", "OpenOptions"];

const WALLS: &[Wall] = &[
    Wall {
        sentence: "the agreement knows neither of its two sides",
        within: &["common/"],
        but: &[],
        names: &["potluck_node", "potluck_rendezvous"],
    },
    Wall { sentence: "the tracker does not know the node", within: &["rendezvous/"], but: &[], names: &["potluck_node"] },
    Wall { sentence: "the node does not know the tracker", within: &["node/"], but: &[], names: &["potluck_rendezvous"] },
    Wall {
        sentence: "of the agreement only the modules around its swarm know libp2p",
        within: &["common/src/"],
        but: &[
            "common/src/transport.rs",
            "common/src/codec.rs",
            "common/src/muxer.rs",
            "common/src/gate.rs",
            "common/src/handshakes.rs",
            "common/src/host_limits.rs",
            "common/src/certificate.rs",
            "common/src/identity.rs",
        ],
        names: &["libp2p"],
    },
    Wall {
        sentence: "of the node only net knows libp2p's swarm and its events",
        within: &["node/src/"],
        but: &["node/src/net/"],
        names: &["libp2p::swarm", "Swarm", "SwarmEvent", "NetworkBehaviour", "request_response", "build_swarm"],
    },
    Wall {
        sentence: "of the node only store opens files",
        within: &["node/src/"],
        // cli checks the folders that were typed, control puts its socket into the data folder: neither reads a file.
        but: &["node/src/store/", "node/src/cli/", "node/src/control.rs"],
        names: FILES,
    },
    Wall {
        sentence: "the core decides: it knows no runtime, no network, no disk and no clock",
        within: &["node/src/core/", "common/src/search/", "common/src/wire/"],
        but: &[],
        names: &["tokio", "libp2p", "std::fs", "cap_std", "redb", "std::net", "std::thread", "SystemTime", "crate::net", "crate::store"],
    },
    Wall {
        sentence: "only clock.rs reads a clock",
        within: PROGRAMS,
        but: &["node/src/clock.rs", "rendezvous/src/clock.rs"],
        names: &["Instant::now", "SystemTime::now", "disallowed_methods"],
    },
    Wall {
        sentence: "every queue has a bound",
        within: PROGRAMS,
        but: &[],
        names: &["unbounded_channel", "mpsc::unbounded", "std::sync::mpsc::channel", "UnboundedSender", "UnboundedReceiver"],
    },
];

/// All Rust sources of the workspace's packages.
///
/// # Errors
/// When a folder cannot be read.
pub fn read(workspace: &Path) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    let mut folders: Vec<_> = ["common", "node", "rendezvous", "tests"].iter().map(|package| workspace.join(package)).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(workspace)?.to_string_lossy().replace('\\', "/");
                sources.push(Source { path: name, text: fs::read_to_string(&path)? });
            }
        }
    }
    sources.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(sources)
}

/// What is wrong, a sentence each.
#[must_use]
pub fn violations(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    let tests = test_files(sources);
    for source in sources.iter().filter(|source| !tests.contains(&source.path)) {
        let code = production_code(&source.text);
        let begins = |places: &[&str]| places.iter().any(|place| source.path.starts_with(place));
        for wall in WALLS.iter().filter(|wall| begins(wall.within) && !begins(wall.but)) {
            for (number, line) in code.lines().enumerate() {
                if let Some(name) = wall.names.iter().find(|name| has_word(line, name)) {
                    found.push(format!("{}:{}: names `{name}`, but {}", source.path, number + 1, wall.sentence));
                }
            }
        }
        let lines = code.lines().count();
        if lines > MAX_LINES {
            found.push(format!("{}: {lines} lines before its tests, but one idea fits in {MAX_LINES}", source.path));
        }
    }
    found.extend(orphans(sources));
    found
}

/// Scenario files that nobody runs.
fn orphans(sources: &[Source]) -> Vec<String> {
    const FOLDER: &str = "tests/tests/scenarios/";
    let main = sources.iter().find(|source| source.path == format!("{FOLDER}main.rs"));
    let main = main.map(|source| production_code(&source.text)).unwrap_or_default();
    let scenario = |source: &&Source| source.path.starts_with(FOLDER) && !source.path.ends_with("/main.rs");
    let name = |source: &Source| source.path.trim_start_matches(FOLDER).trim_end_matches(".rs").to_owned();
    let is_orphan = |source: &&Source| !main.lines().any(|line| line.trim() == format!("mod {};", name(source)));
    sources
        .iter()
        .filter(scenario)
        .filter(is_orphan)
        .map(|source| format!("{}: is not named in main.rs, so it never runs", source.path))
        .collect()
}

/// The files that are compiled for tests only: a module that its parent declares so, and what lies below it.
fn test_files(sources: &[Source]) -> BTreeSet<String> {
    let mut tests = BTreeSet::new();
    for source in sources {
        let is_root = ["/mod.rs", "/lib.rs", "/main.rs"].iter().any(|name| source.path.ends_with(name));
        let end = if is_root { source.path.rfind('/') } else { source.path.rfind('.') };
        let folder = source.path[..end.unwrap_or(0)].to_owned();
        for name in test_modules(&source.text).filter_map(|(_, module)| module.strip_suffix(';')) {
            let (file, below) = (format!("{folder}/{name}.rs"), format!("{folder}/{name}/"));
            tests.extend(sources.iter().map(|other| &other.path).filter(|path| **path == file || path.starts_with(&below)).cloned());
        }
    }
    tests
}

/// The modules that a text declares for tests only: where the declaration begins, and the name with what follows it: `;`,
/// or ` {` and the module.
fn test_modules(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.match_indices("#[cfg(test)]\n").filter_map(|(at, attribute)| {
        let mut lines = text[at + attribute.len()..].lines();
        let declaration = lines.find(|line| !line.starts_with("#["))?;
        let (visibility, module) = declaration.split_once("mod ")?;
        (visibility.is_empty() || visibility.starts_with("pub")).then_some((at, module))
    })
}

/// What is compiled into the program: up to the test module, with every comment and the content of every string taken
/// out. Lines keep their numbers.
fn production_code(text: &str) -> String {
    let inline = test_modules(text).find(|(_, module)| module.ends_with('{'));
    let before_tests = &text[..inline.map_or(text.len(), |(at, _)| at)];
    let mut code = String::with_capacity(before_tests.len());
    let mut rest = before_tests.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '/' if rest.peek() == Some(&'/') => {
                while rest.peek().is_some_and(|c| *c != '\n') {
                    rest.next();
                }
            }
            '"' => {
                code.push('"');
                while let Some(c) = rest.next() {
                    match c {
                        '\\' => drop(rest.next()),
                        '"' => break,
                        '\n' => code.push('\n'),
                        _ => {}
                    }
                }
                code.push('"');
            }
            '\'' if rest.peek() == Some(&'"') => code.push('\''), // the character '"' begins no string
            c => code.push(c),
        }
        if c == '\'' && rest.peek() == Some(&'"') {
            rest.next();
        }
    }
    code
}

/// Whether a line holds a name as a whole word.
fn has_word(line: &str, name: &str) -> bool {
    let is_part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(name).any(|(at, _)| !is_part(line[..at].chars().next_back()) && !is_part(line[at + name.len()..].chars().next()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, text: &str) -> Vec<String> {
        violations(&[Source { path: path.to_owned(), text: text.to_owned() }])
    }

    #[test]
    fn every_wall_notices_who_goes_through_it() {
        for (path, text) in [
            ("common/src/peer.rs", "use libp2p::PeerId;"),
            ("common/src/wire/index.rs", "use potluck_node::x;"),
            ("rendezvous/src/lib.rs", "potluck_node::run();"),
            ("node/src/lib.rs", "use potluck_rendezvous as tracker;"),
            ("node/src/downloads.rs", "fn f(swarm: &mut Swarm<B>) {}"),
            ("node/src/node.rs", "let x = std::fs::read(path)?;"),
            ("node/src/core/download.rs", "tokio::spawn(x);"),
            ("node/src/core/download.rs", "let now = std::time::Instant::now();"),
            ("node/src/net/mod.rs", "let (a, b) = mpsc::unbounded_channel();"),
            ("rendezvous/src/catalog.rs", "#[allow(clippy::disallowed_methods)]"),
            ("node/src/net/mod.rs", &"x();\n".repeat(MAX_LINES + 1)),
            ("tests/tests/scenarios/forgotten.rs", "#[test] fn f() {}"),
        ] {
            assert_eq!(check(path, text).len(), 1, "{path}: {text:.60}: {:?}", check(path, text));
        }
    }

    #[test]
    fn comments_strings_tests_and_longer_names_are_no_names() {
        for text in [
            "// tokio is not used here",
            "let x = \"tokio \\\" tokio\";",
            "let quote = '\"'; // tokio\nlet y = '\"';",
            "fn tokio_like() {}",
            "fn f() {}\n#[cfg(test)]\nmod tests {\n    use tokio::x;\n}",
        ] {
            assert_eq!(check("node/src/core/x.rs", text), Vec::<String>::new(), "{text}");
        }
        assert_eq!(check("node/src/core/x.rs", "let quote = '\"'; tokio::x();").len(), 1);
    }

    #[test]
    fn a_file_may_name_what_is_its_own() {
        for (path, text) in [
            ("common/src/codec.rs", "use libp2p::StreamProtocol;"),
            ("node/src/net/event_loop.rs", "use libp2p::swarm::SwarmEvent;"),
            ("node/src/store/part_file.rs", "use std::fs::File;"),
            ("node/src/clock.rs", "#[allow(clippy::disallowed_methods)] fn now() { Instant::now() }"),
        ] {
            assert_eq!(check(path, text), Vec::<String>::new(), "{path}");
        }
    }

    #[test]
    fn a_file_that_is_a_test_may_name_everything() {
        let source = |path: &str, text: &str| Source { path: path.to_owned(), text: text.to_owned() };
        let module = source("node/src/core/mod.rs", "#[cfg(test)]\n#[allow(x)]\nmod figures;\nmod real;\n");
        let figures = source("node/src/core/figures.rs", "tokio::x();");
        assert_eq!(violations(&[module.clone(), figures.clone()]), Vec::<String>::new());
        let real = source("node/src/core/real.rs", "#[cfg(test)]\nmod tests;\ntokio::x();");
        let inner = source("node/src/core/real/tests.rs", "tokio::x();");
        assert_eq!(violations(&[module, figures, real, inner]).len(), 1);
    }
}
