//! What the verbs take.

use std::path::{Path, PathBuf};

use clap::builder::FalseyValueParser;
use clap::{Args, Subcommand, ValueEnum};
use libp2p::Multiaddr;
use potluck_common::web::place::parse_host;
use potluck_common::wire::MAX_SEARCH_BYTES;

use super::MINUS;
use super::values::{self, ShareArg};
use crate::config::PagePlan;
use crate::core::audience::Guest;
use crate::error::{CommandError, Failure};
use crate::types::{Command, DownloadAction, DownloadWish, OnConflict};

/// Hits that a search shows unless told otherwise: a few screens.
pub(super) const DEFAULT_HITS: u32 = 100;
/// Most hits of a search: what a terminal or a script can still use; narrower words find the rest.
const MAX_HITS: i64 = 10_000;

/// What `node` takes.
#[derive(Clone, Debug, Default, Args)]
pub struct NodeArgs {
    /// A folder to share, under its own name or another; repeat for several
    #[arg(long, value_name = "[NAME=]DIR", env = "POTLUCK_SHARE", hide_env_values = true, value_parser = values::share)]
    pub share: Vec<ShareArg>,
    /// Limit a share to a peer (its PeerId) or to a namespace; repeat for several. Others are told nothing of it
    #[arg(long, value_name = "NAME=WHO", env = "POTLUCK_SHARE_FOR", hide_env_values = true, value_delimiter = ',', value_parser = values::share_for)]
    pub share_for: Vec<(String, Guest)>,
    /// Do not share files that have more than one name (hard links): the others may lie outside of the share
    #[arg(long, env = "POTLUCK_REJECT_HARDLINKS", hide_env_values = true, value_parser = FalseyValueParser::new())]
    pub reject_hardlinks: bool,
    /// Where to listen; repeat for several [default: port 9471 everywhere, or a free port if that is taken]
    #[arg(long, value_name = "MULTIADDR", env = "POTLUCK_LISTEN", hide_env_values = true, value_delimiter = ',', value_parser = values::listen)]
    pub listen: Vec<Multiaddr>,
    /// Where downloads go [default: the folder potluck in $XDG_DOWNLOAD_DIR or ~/Downloads]
    #[arg(long, value_name = "DIR", env = "POTLUCK_DOWNLOAD_DIR", hide_env_values = true)]
    pub download_dir: Option<PathBuf>,
    /// What the node calls itself [default: your user name at the host's]
    #[arg(long, value_name = "NAME", env = "POTLUCK_NICKNAME", hide_env_values = true, value_parser = values::nickname)]
    pub nickname: Option<String>,
    /// Most bytes per second to send, such as 10MiB/s or 10MB
    #[arg(long, value_name = "RATE", env = "POTLUCK_LIMIT_UP", hide_env_values = true, value_parser = values::rate)]
    pub limit_up: Option<u64>,
    /// Set a limit of what others may cost; repeat for several. docs/ADMINISTRATORS.md has them all
    #[arg(long, value_name = "NAME=N", env = "POTLUCK_LIMIT", hide_env_values = true, value_delimiter = ',', value_parser = values::limit)]
    pub limit: Vec<String>,
    /// Where the page for a browser is: a port, an address with a port, or `off` [default: port 9481 of this machine only]
    #[arg(long, value_name = "ADDR", env = "POTLUCK_PAGE", hide_env_values = true)]
    pub page: Option<PagePlan>,
    /// A name by which browsers may ask for the page, with its port, if it is not on this machine only; repeat for several
    #[arg(long, value_name = "NAME:PORT", env = "POTLUCK_PAGE_HOST", hide_env_values = true, value_delimiter = ',', value_parser = parse_host)]
    pub page_host: Vec<String>,
}

/// What `search` and `watch` look for.
#[derive(Clone, Debug, Args)]
pub struct Wanted {
    /// Words that must all be in the path; -WORD must not be
    #[arg(value_name = "WORDS")]
    pub words: Vec<String>,
    /// Only files with this extension; several with commas
    #[arg(long, value_name = "E", value_parser = values::extensions)]
    pub ext: Option<String>,
    /// Only files of at least this size, such as 10MiB
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    pub min_size: Option<u64>,
    /// Only files of at most this size, such as 1.5GB
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    pub max_size: Option<u64>,
}

/// What `search` takes.
#[derive(Clone, Debug, Args)]
pub struct SearchArgs {
    /// What is looked for.
    #[command(flatten)]
    pub wanted: Wanted,
    /// Most hits to show
    #[arg(long, value_name = "N", default_value_t = DEFAULT_HITS, value_parser = clap::value_parser!(u32).range(1..=MAX_HITS))]
    pub limit: u32,
}

/// What `download` takes.
#[derive(Clone, Debug, Args)]
pub struct DownloadArgs {
    /// What to fetch: a content id, a potluck: link, or PEER:share/path of a file or folder
    #[arg(value_name = "REF", required = true, value_parser = values::reference)]
    pub refs: Vec<String>,
    /// The folder to put it in [default: the download folder of the node]; - writes it to stdout, in order, as it comes
    #[arg(short = 'o', long = "into", value_name = "DIR")]
    pub into: Option<PathBuf>,
    /// What to do when another file has the name: put a number into the new one's, or fail
    #[arg(long, value_name = "HOW", value_enum, default_value_t = ConflictArg::Number)]
    pub on_conflict: ConflictArg,
    /// Give up when nothing has come from any source for so many seconds [default: 30]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub timeout: Option<u64>,
}

/// What to do when another file has the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ConflictArg {
    /// Put a number into the name.
    Number,
    /// Fail.
    Error,
}

/// Which downloads.
#[derive(Clone, Debug, Args)]
pub struct WhichArgs {
    /// The number of a download, its content id, its name, the folder that it was fetched with, or `all`
    #[arg(value_name = "DOWNLOAD", required = true)]
    pub which: Vec<String>,
}

/// Which downloads are fetched first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PriorityArg {
    /// Before all others.
    High,
    /// In their turn.
    Normal,
    /// When there is nothing else to fetch.
    Low,
}

impl PriorityArg {
    pub(super) fn action(self) -> DownloadAction {
        match self {
            Self::High => DownloadAction::High,
            Self::Normal => DownloadAction::Normal,
            Self::Low => DownloadAction::Low,
        }
    }
}

/// What `share` takes.
#[derive(Clone, Debug, Subcommand)]
pub enum ShareVerb {
    /// Share one more folder, now and after restarts
    #[command(
        after_help = "Examples:\n  potluck share add ~/Music\n  potluck share add films=/mnt/disk/Films\n  potluck share add ~/Family --for 12D3KooW..."
    )]
    Add {
        /// The folder, under its own name or another
        #[arg(value_name = "[NAME=]DIR", value_parser = values::share)]
        share: ShareArg,
        /// Whom it is for: a PeerId or a namespace; repeat for several. Others are told nothing of it [default: everybody]
        #[arg(long = "for", value_name = "WHO", value_delimiter = ',')]
        guests: Vec<Guest>,
    },
    /// Share a folder no longer; its files stay where they are
    #[command(visible_alias = "remove", after_help = "Examples:\n  potluck share rm Music\n  potluck share rm ~/Music")]
    Rm {
        /// The name of the share, or its folder
        #[arg(value_name = "NAME|DIR")]
        share: String,
    },
    /// List the shares
    #[command(visible_alias = "list", after_help = "Example:\n  potluck share ls")]
    Ls,
    /// Look for changes in a share now, or in all
    #[command(after_help = "Examples:\n  potluck share rescan\n  potluck share rescan Music")]
    Rescan {
        /// The name of the share, or its folder
        #[arg(value_name = "NAME|DIR")]
        share: Option<String>,
    },
}

impl Wanted {
    /// The same in the query language.
    ///
    /// # Errors
    /// When nothing is looked for, or too much.
    pub(super) fn text(&self) -> Result<String, CommandError> {
        let usage = |message: String| Err(CommandError::new(Failure::Usage, message));
        let word = |word: &String| word.trim().replacen(MINUS, "-", usize::from(word.starts_with(MINUS)));
        let mut parts: Vec<String> = self.words.iter().map(word).filter(|word| !word.is_empty()).collect();
        parts.extend(self.ext.iter().map(|extensions| format!("ext:{extensions}")));
        parts.extend(self.min_size.map(|bytes| format!("size:>{bytes}")));
        parts.extend(self.max_size.map(|bytes| format!("size:<{bytes}")));
        let text = parts.join(" ");
        if text.is_empty() {
            return usage("nothing to search for; give a word, such as `potluck search blue`".into());
        }
        if text.len() > MAX_SEARCH_BYTES {
            return usage(format!("a search is at most {MAX_SEARCH_BYTES} bytes long; leave out some words"));
        }
        Ok(text)
    }
}

impl DownloadArgs {
    pub(super) fn wish(&self, here: &Path) -> DownloadWish {
        let to_stdout = self.into.as_deref() == Some(Path::new("-"));
        DownloadWish {
            refs: self.refs.clone(),
            into: self.into.as_ref().filter(|_| !to_stdout).map(|dir| here.join(dir)),
            on_conflict: match self.on_conflict {
                ConflictArg::Number => OnConflict::Number,
                ConflictArg::Error => OnConflict::Error,
            },
            timeout_seconds: self.timeout,
            to_stdout,
        }
    }
}

impl WhichArgs {
    pub(super) fn control(&self, action: DownloadAction) -> Command {
        Command::Control { action, which: self.which.clone() }
    }
}
