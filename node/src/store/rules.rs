//! [`Rules`]: what of a share is left out, by rules of ours and of the user.
//!
//! The user's stand in files `.potluckignore`, in the notation of `.gitignore`, each for its folder and those below; the
//! deepest that says something decides, and `!NAME` shares what would be left out. Where no such file says anything, ours
//! hold: hidden files, keys and passwords, temporary files and what systems leave behind are not shared unless asked.

use std::fs::File;
use std::io::Read;
use std::os::fd::BorrowedFd;
use std::sync::LazyLock;

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use rustix::fs::OFlags;

use super::beneath;
use super::part_file::PART_SUFFIX;

/// The name of the user's files of rules.
const FILE: &str = ".potluckignore";
/// Most bytes of one that are read: thousands of rules, each of which costs time for each file.
const MAX_BYTES: u64 = 64 << 10;

/// What nobody means to share.
const OURS: &[&str] = &[
    // hidden
    ".*",
    // keys and passwords
    "id_rsa",
    "id_dsa",
    "id_ecdsa",
    "id_ed25519",
    "*.pem",
    "*.key",
    "*.p12",
    "*.pfx",
    "*.ppk",
    "*.jks",
    "*.kdb",
    "*.kdbx",
    "*.keystore",
    "wallet.dat",
    // temporary, or still being written by another program
    "*~",
    "~$*",
    "*.tmp",
    "*.temp",
    "*.swp",
    "*.part",
    "*.crdownload",
    "*.!ut",
    "*.!qB",
    "*.aria2",
    // what systems leave behind
    "Thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
    "Icon\r",
    "lost+found",
    "@eaDir",
    "#recycle",
    "$RECYCLE.BIN",
    "System Volume Information",
    "__MACOSX",
];

static DEFAULTS: LazyLock<Gitignore> = LazyLock::new(|| {
    let mut builder = GitignoreBuilder::new("");
    for line in OURS {
        // `#` begins a comment in that notation.
        let line = line.strip_prefix('#').map_or_else(|| (*line).to_owned(), |rest| format!("\\#{rest}"));
        let _ = builder.add_line(None, &line); // a test reads each of them
    }
    builder.build().unwrap_or_else(|_| Gitignore::empty())
});

/// Why something is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LeftOut {
    /// A temporary file of ours: it is not worth a word.
    Ours,
    /// By a rule of ours.
    ByDefault,
    /// By a rule of the user.
    ByRule,
}

/// The rules that hold in the folder that is being walked.
#[derive(Debug, Default)]
pub(super) struct Rules {
    /// The user's, of the folders that are being walked, the share first: how many bytes of the walked path lie above each.
    files: Vec<(usize, Gitignore)>,
}

impl Rules {
    /// Enters a folder: reads its file of rules, if there is one. `depth`: the bytes of the walked path with a `/` after it.
    /// Returns whether there was one, for [`leave`](Self::leave).
    pub(super) fn enter(&mut self, folder: BorrowedFd<'_>, depth: usize) -> bool {
        let rules = read(folder).map(|text| parse(&text));
        let found = rules.is_some();
        self.files.extend(rules.map(|rules| (depth, rules)));
        found
    }

    /// Leaves a folder that had rules.
    pub(super) fn leave(&mut self) {
        self.files.pop();
    }

    /// Whether something is left out; `path` is the walked path with its name at the end.
    pub(super) fn verdict(&self, path: &str, is_folder: bool) -> Option<LeftOut> {
        let name = path.rsplit('/').next().unwrap_or(path);
        if name.starts_with('.') && name.ends_with(PART_SUFFIX) {
            return Some(LeftOut::Ours); // it is offered by its content id, not by its temporary name
        }
        for (depth, rules) in self.files.iter().rev() {
            match rules.matched(path.get(*depth..).unwrap_or(name), is_folder) {
                Match::Ignore(_) => return Some(LeftOut::ByRule),
                Match::Whitelist(_) => return None,
                Match::None => {}
            }
        }
        DEFAULTS.matched(name, is_folder).is_ignore().then_some(LeftOut::ByDefault)
    }
}

/// The text of a folder's file of rules.
fn read(folder: BorrowedFd<'_>) -> Option<String> {
    let file = File::from(beneath::open(folder, FILE, OFlags::RDONLY).ok()?);
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Lines that make no sense are left out; the others hold.
fn parse(text: &str) -> Gitignore {
    let mut builder = GitignoreBuilder::new("");
    for line in text.lines() {
        let _ = builder.add_line(None, line);
    }
    builder.build().unwrap_or_else(|_| Gitignore::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_of_ours_is_read() {
        assert_eq!(DEFAULTS.len(), OURS.len());
        let rules = Rules::default();
        for name in
            [".ssh", ".git", "id_ed25519", "server.key", "a.kdbx", "letter.doc~", "~$letter.doc", "film.mkv.part", "Thumbs.db", "#recycle"]
        {
            assert_eq!(rules.verdict(&format!("share/{name}"), false), Some(LeftOut::ByDefault), "{name}");
        }
        for name in ["film.mkv", "key.txt", "apart", "the.key.to.it.pdf", "README", "#1 hits.mp3", "temp", "a.b"] {
            assert_eq!(rules.verdict(&format!("share/{name}"), false), None, "{name}");
        }
        assert_eq!(rules.verdict(&format!("share/.film.0123{PART_SUFFIX}"), false), Some(LeftOut::Ours));
    }

    #[test]
    fn the_deepest_file_of_rules_decides_and_can_ask_for_what_is_left_out() {
        let mut rules = Rules::default();
        rules.files.push(("share/".len(), parse("*.log\n/top\nnotes/\n!.hidden\n# a comment\n[")));
        for (path, is_folder, verdict) in [
            ("share/a.log", false, Some(LeftOut::ByRule)),
            ("share/deep/a.log", false, Some(LeftOut::ByRule)),
            ("share/top", false, Some(LeftOut::ByRule)),
            ("share/deep/top", false, None),
            ("share/notes", true, Some(LeftOut::ByRule)),
            ("share/notes", false, None),
            ("share/.hidden", false, None),
            ("share/.other", false, Some(LeftOut::ByDefault)),
        ] {
            assert_eq!(rules.verdict(path, is_folder), verdict, "{path}");
        }
        rules.files.push(("share/deep/".len(), parse("!*.log")));
        assert_eq!(rules.verdict("share/deep/a.log", false), None);
        rules.leave();
        assert_eq!(rules.verdict("share/deep/a.log", false), Some(LeftOut::ByRule));
    }
}
