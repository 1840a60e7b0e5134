//! What can be typed: the grammar, its help, and the checks that need no disk and no network.
//!
//! [`Cli::read`] turns words into a [`Cli`], [`Verb::command`] a verb into the [`Command`] that a node executes. The prompt of
//! a node takes the same verbs through the same two functions.

mod args;
mod join;
mod launch;
mod resolve;
mod settings;
mod values;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::builder::FalseyValueParser;
use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use libp2p::Multiaddr;
use potluck_common::namespace::Namespace;

pub use self::args::{ConflictArg, DownloadArgs, NodeArgs, PriorityArg, SearchArgs, ShareVerb, Wanted, WhichArgs};
pub use self::join::JoinArgs;
pub use self::launch::{Launch, Unreadable};
pub use self::resolve::Surroundings;
pub use self::settings::{ConfigFile, ConfigVerb, edit};
pub use self::values::ShareArg;
use crate::error::{CommandError, Failure};
use crate::refs::Ref;
use crate::types::{Command, DownloadAction, SettingLine};

/// Most lines of one look into a folder.
const MAX_LISTED: u32 = 100_000;

/// What stands for the hyphen of a word that must not be there: the typographic minus sign, which means the same when it is typed.
const MINUS: char = '\u{2212}';
/// The one-letter options that `search` and `watch` take.
const SEARCH_FLAGS: &str = "qvhV";
/// The options before a verb that are followed by a value.
const OPTIONS_WITH_VALUE: [&str; 4] = ["--data-dir", "--tracker", "--namespace", "--dial"];

/// Share folders, search everybody's, download from all who have a file.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "potluck",
    version,
    propagate_version = true,
    after_help = "\
Examples:
  potluck node --share ~/Music                share a folder, and stay; a prompt takes the verbs below
  potluck search kind of blue --ext flac      search the shares of all peers
  potluck download CONTENT_ID                 fetch a file from everybody who has it
  potluck status                              how the node is

A verb speaks to the node that runs on the same --data-dir, or does its work by itself where none runs.

Exit codes: 0 done, 1 other failure, 2 usage, 3 not found, 4 no source reachable, 5 verification failed,
6 not permitted, 7 local file error, 8 node or tracker unreachable, 9 partly done, 130 interrupted (state saved)."
)]
pub struct Cli {
    /// What holds for every verb.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
    /// Which of the network options stood on the command line: a running node has its own.
    #[arg(skip)]
    pub network_given: Vec<&'static str>,
    /// Every setting, and where it comes from.
    #[arg(skip)]
    pub settings: Vec<SettingLine>,
    /// What a node would be told that this command line does not start: by the configuration file and the environment.
    #[arg(skip)]
    of_node: NodeArgs,
    /// Why the configuration file was not read.
    #[arg(skip)]
    pub bad_file: Option<CommandError>,
}

/// What holds for every verb; stands before or after it.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Options of all verbs")]
pub struct GlobalArgs {
    /// Print one JSON object a line on stdout
    #[arg(long, global = true)]
    pub json: bool,
    /// Where identity, database and control socket live; names the node [default: $XDG_DATA_HOME/potluck]
    #[arg(long, value_name = "DIR", env = "POTLUCK_DATA_DIR", hide_env_values = true, global = true)]
    pub data_dir: Option<PathBuf>,
    /// Print results and errors only
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Print what goes on inside; twice for more. POTLUCK_LOG=FILTER chooses exactly
    #[arg(short, long, action = ArgAction::Count, global = true)]
    pub verbose: u8,
    /// How log messages stand on stderr
    #[arg(long, value_name = "FORMAT", env = "POTLUCK_LOG_FORMAT", hide_env_values = true, value_enum, default_value_t, global = true)]
    pub log_format: LogFormat,
    /// How to reach the others.
    #[command(flatten)]
    pub network: NetworkArgs,
}

/// How log messages stand on stderr.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For programs: an object a line.
    Json,
}

/// How to reach the others. A verb that finds a running node uses that node's.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Network options (a verb uses those of the running node, if one runs)")]
pub struct NetworkArgs {
    /// A tracker, as it prints its address; repeat for several [default: found on this machine and the LAN]
    #[arg(long, value_name = "MULTIADDR", env = "POTLUCK_TRACKER", hide_env_values = true, value_delimiter = ',', global = true, value_parser = values::tracker)]
    pub tracker: Vec<Multiaddr>,
    /// The group to share and search in [default: the one that the node was invited to, or public]
    #[arg(long, value_name = "NAME", env = "POTLUCK_NAMESPACE", hide_env_values = true, global = true, value_parser = values::namespace)]
    pub namespace: Option<Namespace>,
    /// A peer to connect to at start, with or without any tracker; repeat for several
    #[arg(long, value_name = "MULTIADDR", env = "POTLUCK_DIAL", hide_env_values = true, value_delimiter = ',', global = true, value_parser = values::dial)]
    pub dial: Vec<Multiaddr>,
    /// Neither look for others on the LAN nor be found there
    #[arg(long, env = "POTLUCK_NO_MDNS", hide_env_values = true, value_parser = FalseyValueParser::new(), global = true)]
    pub no_mdns: bool,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Verb {
    /// Run a node: share folders, register, serve and download until it is told to stop
    #[command(after_help = "\
Examples:
  potluck node --share ~/Music
  potluck node --share films=/mnt/disk/Films --share ~/Books --nickname ada
  potluck node --share . --tracker /ip4/203.0.113.5/tcp/9470/p2p/12D3KooW...

On a terminal the node shows a prompt that takes all other verbs; try `help` there. Ctrl-C stops the node, and a second
Ctrl-C stops it at once. Nothing of what is shared is copied or changed.")]
    Node(Box<NodeArgs>),
    /// Register with every known tracker, now
    #[command(after_help = "\
Example:
  potluck register

A running node registers by itself, and again after each interruption. This is for after `deregister`, or to see at once
whether a tracker takes it.")]
    Register,
    /// Leave every tracker, and stay away until told to register
    #[command(after_help = "Example:\n  potluck deregister")]
    Deregister,
    /// List all peers, or the files of one
    #[command(after_help = "\
Examples:
  potluck query               everybody who is registered
  potluck query ada           the files of the peer that calls itself ada
  potluck query VRvDhHX       the files of the peer whose PeerId ends so")]
    Query {
        /// A nickname, a PeerId, or the last letters of one
        peer: Option<String>,
    },
    /// Find files by name in everybody's shares
    #[command(after_help = "\
Examples:
  potluck search kind of blue                      all words, in any order, anywhere in the path
  potluck search '\"kind of blue\"' --ext flac,mp3   an exact phrase, of some types
  potluck search miles -live --min-size 10MiB      a word that must not be there; a size

Download a hit with `potluck download CONTENT_ID`.")]
    Search(SearchArgs),
    /// Tell of files as they are published, until Ctrl-C
    #[command(after_help = "\
Examples:
  potluck watch kind of blue                       what `search` would find, from now on
  potluck watch miles --ext flac --json            one object a line, for a script

A file is told when it is listed, and again when it is hashed.")]
    Watch(Wanted),
    /// Fetch files and folders from all who have them
    #[command(
        visible_alias = "get",
        after_help = "\
Examples:
  potluck download 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
  potluck get 'potluck:9f86d081...?name=live.flac' -o ~/Music
  potluck get 'ada:music/Kind of Blue'             a file or a whole folder of a peer
  potluck get 9f86d081... -o - | mpv -             a file to another program, as it comes

Every piece is verified before it is written. What exists is never overwritten. After an interruption the same command
goes on where it stopped; a running node goes on by itself."
    )]
    Download(DownloadArgs),
    /// Become a member of a private swarm, by an invitation
    #[command(after_help = "\
Examples:
  potluck join potluck:join/ae...
  potluck join --file invitation.txt
  potluck join -                       reads standard input, so that the secret stands in no command line

After that, `potluck node --share DIR` needs no --tracker: this data folder belongs to that swarm. An invitation that is
mistyped, used up, expired or revoked ends with exit code 6.")]
    Join(JoinArgs),
    /// Check whether downloads are still what they were, and repair those that are not
    #[command(after_help = "\
Examples:
  potluck verify                      all that this node has downloaded
  potluck verify ~/Downloads/potluck  what lies in a folder, or a file
  potluck verify --check              only look

Of a damaged file only the wrong pieces are fetched. The file that was there is kept beside it as NAME (damaged).EXT: it may
be what you made of it.")]
    Verify {
        /// A content id, a potluck: link, or the path of a file or folder
        #[arg(value_name = "REF|PATH")]
        what: Option<String>,
        /// Repair nothing
        #[arg(long)]
        check: bool,
    },
    /// Connect to a peer or a tracker by its address
    #[command(after_help = "\
Example:
  potluck dial /ip4/192.168.1.7/tcp/9471

Then `query`, `search` and `download` reach that peer too, without any tracker.")]
    Dial {
        /// Where, as a multiaddr; with /p2p/PEER_ID at its end nobody else is accepted there
        #[arg(value_name = "MULTIADDR", value_parser = values::dial)]
        address: Multiaddr,
    },
    /// Share folders, or share them no longer
    #[command(subcommand)]
    Share(ShareVerb),
    /// List the downloads
    #[command(after_help = "Example:\n  potluck downloads --json")]
    Downloads,
    /// Fetch nothing of some downloads until they are resumed
    #[command(
        after_help = "Examples:\n  potluck pause 12\n  potluck pause 'Kind of Blue'\n  potluck pause all\n\nWhat is there is kept, also over restarts."
    )]
    Pause(WhichArgs),
    /// Go on with downloads that were paused
    #[command(after_help = "Examples:\n  potluck resume 12\n  potluck resume all")]
    Resume(WhichArgs),
    /// Give downloads up, and take finished ones out of the list
    #[command(
        after_help = "Examples:\n  potluck cancel 12\n  potluck cancel all\n\nWhat was fetched of an unfinished file is deleted. Finished files stay where they are."
    )]
    Cancel(WhichArgs),
    /// Try failed downloads again, and look at once for sources of those that wait
    #[command(after_help = "Examples:\n  potluck retry 12\n  potluck retry all")]
    Retry(WhichArgs),
    /// Choose which downloads are fetched first
    #[command(
        after_help = "Examples:\n  potluck priority high 12\n  potluck priority low 'Kind of Blue'\n\nIt holds until the download ends, also over restarts."
    )]
    Priority {
        /// Before all others, in their turn, or when there is nothing else to fetch
        #[arg(value_name = "HOW", value_enum)]
        how: PriorityArg,
        /// Which downloads.
        #[command(flatten)]
        which: WhichArgs,
    },
    /// Print a link to a file that you share, for others to download
    #[command(after_help = "Example:\n  potluck link ~/Music/live.flac")]
    Link {
        /// The file
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// List what is sent to whom
    #[command(after_help = "Example:\n  potluck uploads")]
    Uploads,
    /// Show or change how fast the node may send
    #[command(
        after_help = "Examples:\n  potluck limits\n  potluck limits --up 5MiB/s\n  potluck limits --up none\n\nA change holds until the node ends; `potluck node --limit-up` sets what it begins with."
    )]
    Limits {
        /// Most bytes per second to send, such as 10MiB/s; `none` for no limit
        #[arg(long, value_name = "RATE", value_parser = values::rate_or_none)]
        up: Option<u64>,
    },
    /// Show how the node is
    #[command(after_help = "Example:\n  potluck status")]
    Status,
    /// Show or change what the node runs with
    #[command(subcommand)]
    Config(ConfigVerb),
    /// Look for what keeps the node from others, and say what helps
    #[command(
        after_help = "Examples:\n  potluck doctor\n  potluck doctor --json\n\nThe exit code is that of the first check that failed: 2 configuration, 6 permissions, 7 disk, 8 network."
    )]
    Doctor,
    /// Show what lies in a folder of a peer
    #[command(
        visible_alias = "browse",
        after_help = "Examples:\n  potluck ls ada                    her shares\n  potluck ls 'ada:music/Kind of Blue'\n  potluck ls me:music               what others see of our own"
    )]
    Ls {
        /// A peer, with a folder of its shares if wanted
        #[arg(value_name = "PEER[:PATH]")]
        place: String,
        /// Most lines to show
        #[arg(long, value_name = "N", default_value_t = MAX_LISTED, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_LISTED)))]
        limit: u32,
    },
    /// Print a link that opens the page of the running node in a browser
    #[command(
        after_help = "Example:\n  potluck page\n\nThe link signs in once, within ten minutes. The browser stays signed in for a month."
    )]
    Page,
    /// Print a script that completes the verbs in a shell
    #[command(after_help = "Example:\n  potluck completions bash > ~/.local/share/bash-completion/completions/potluck")]
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Print the manual page, of the program or of a verb
    #[command(after_help = "Examples:\n  potluck man | man -l -\n  potluck man download > potluck-download.1")]
    Man {
        /// The verb
        verb: Option<String>,
    },
    /// Show who the node is and how others dial it
    #[command(after_help = "Example:\n  potluck id")]
    Id,
}

impl Cli {
    /// Reads the words of a command line, the program's name first, as if there were no configuration file.
    ///
    /// # Errors
    /// clap's, also when help or the version was asked for: it knows its exit code and where it prints.
    pub fn read<W: Into<OsString>>(words: impl IntoIterator<Item = W>) -> Result<Self, clap::Error> {
        Self::read_over(words, &ConfigFile::default())
    }

    /// Reads the words of a command line; what they leave open follows from the environment, then from the file.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_over<W: Into<OsString>>(words: impl IntoIterator<Item = W>, file: &ConfigFile) -> Result<Self, clap::Error> {
        let matches = file.grammar().try_get_matches_from(shield_exclusions(words))?;
        let mut cli = Self::from_arg_matches(&matches)?;
        let mut deepest = &matches;
        while let Some((_, below)) = deepest.subcommand() {
            deepest = below;
        }
        let given = |id: &str| [&matches, deepest].iter().any(|at| at.value_source(id) == Some(ValueSource::CommandLine));
        cli.network_given = [("tracker", "--tracker"), ("namespace", "--namespace"), ("dial", "--dial"), ("no_mdns", "--no-mdns")]
            .into_iter()
            .filter_map(|(id, option)| given(id).then_some(option))
            .collect();
        // a variable that only concerns nodes is no reason to refuse another verb
        let of_node = file.grammar().try_get_matches_from(["potluck", "node"]).ok();
        let of_node = of_node.as_ref().and_then(ArgMatches::subcommand).map(|(_, below)| below);
        let all: Vec<&ArgMatches> = [&matches, deepest].into_iter().chain(of_node).collect();
        cli.settings = file.lines(&all);
        cli.of_node = of_node.and_then(|below| NodeArgs::from_arg_matches(below).ok()).unwrap_or_default();
        Ok(cli)
    }
}

impl Verb {
    /// What this verb prints without asking any node: completions, or a manual page.
    ///
    /// # Errors
    /// When there is no such verb.
    pub fn printed(&self) -> Result<Option<String>, CommandError> {
        let mut text = Vec::new();
        match self {
            Self::Completions { shell } => clap_complete::generate(*shell, &mut Cli::command(), "potluck", &mut text),
            Self::Man { verb } => {
                let mut command = Cli::command();
                command.build();
                let page = match verb {
                    None => command,
                    Some(verb) => command.find_subcommand(verb).cloned().ok_or_else(|| {
                        CommandError::new(Failure::NotFound, format!("there is no verb {verb}; `potluck --help` lists them"))
                    })?,
                };
                let rendered = clap_mangen::Man::new(page).render(&mut text);
                rendered.map_err(|error| CommandError::new(Failure::Other, error.to_string()))?;
            }
            _ => return Ok(None),
        }
        Ok(Some(String::from_utf8_lossy(&text).into_owned()))
    }

    /// What a node is asked by this verb; `None` for `node`, which is one.
    ///
    /// Relative folders become absolute below `here`, because the node that is asked runs elsewhere.
    ///
    /// # Errors
    /// When the words make no sense together, or a folder to share is not there.
    pub fn command(&self, here: &Path) -> Result<Option<Command>, CommandError> {
        Ok(Some(match self {
            Self::Node(_) | Self::Completions { .. } | Self::Man { .. } => return Ok(None),
            Self::Config(ConfigVerb::Show) => Command::Settings { reload: false },
            Self::Config(_) => return Ok(None),
            Self::Doctor => Command::Doctor,
            Self::Link { file } => {
                let path = here.join(file);
                Command::Link { path: path.canonicalize().unwrap_or(path) }
            }
            Self::Register => Command::Register,
            Self::Deregister => Command::Deregister,
            Self::Query { peer } => Command::Query { peer: peer.clone() },
            Self::Search(args) => Command::Search { text: args.wanted.text()?, limit: args.limit },
            Self::Watch(wanted) => Command::Watch { text: wanted.text()? },
            Self::Download(args) => Command::Download(args.wish(here)),
            Self::Join(args) => Command::Join { invitation: args.text(here)? },
            Self::Verify { what, check } => {
                Command::Verify { what: what.as_deref().map(|what| content_or_path(what, here)), repair: !check }
            }
            Self::Dial { address } => Command::Dial { address: address.to_string() },
            Self::Share(ShareVerb::Add { share, guests }) => Command::ShareAdd {
                name: share.name.clone(),
                dir: share.folder(here)?,
                guests: guests.iter().map(ToString::to_string).collect(),
            },
            Self::Share(ShareVerb::Rm { share }) => Command::ShareRemove { name: name_or_folder(share, here) },
            Self::Share(ShareVerb::Ls) => Command::ShareList,
            Self::Share(ShareVerb::Rescan { share }) => {
                Command::ShareRescan { name: share.as_ref().map(|share| name_or_folder(share, here)) }
            }
            Self::Downloads => Command::Downloads,
            Self::Pause(args) => args.control(DownloadAction::Pause),
            Self::Resume(args) => args.control(DownloadAction::Resume),
            Self::Cancel(args) => args.control(DownloadAction::Cancel),
            Self::Retry(args) => args.control(DownloadAction::Retry),
            Self::Priority { how, which } => which.control(how.action()),
            Self::Uploads => Command::Uploads,
            Self::Limits { up } => Command::Limits { up: *up },
            Self::Status => Command::Status,
            Self::Ls { place, limit } => {
                let (peer, path) = place.split_once(':').map_or((place.as_str(), None), |(peer, path)| (peer, Some(path.to_owned())));
                Command::Browse { peer: peer.to_owned(), path, after: None, limit: *limit }
            }
            Self::Page => Command::Page,
            Self::Id => Command::Id,
        }))
    }
}

/// Writes `-live` after `search` or `watch` with a minus sign, because clap would take it for the options `-l -i -v -e`. What clap knows stays.
fn shield_exclusions<W: Into<OsString>>(words: impl IntoIterator<Item = W>) -> Vec<OsString> {
    let mut words: Vec<OsString> = words.into_iter().map(Into::into).collect();
    let mut rest = words.iter_mut().skip(1);
    let verb = loop {
        match rest.next().map(|word| word.to_string_lossy().into_owned()) {
            Some(option) if OPTIONS_WITH_VALUE.contains(&option.as_str()) => drop(rest.next()),
            Some(option) if option.starts_with('-') => {}
            verb => break verb,
        }
    };
    if matches!(verb.as_deref(), Some("search" | "watch")) {
        for word in rest.take_while(|word| *word != "--") {
            let shielded = match word.to_str().and_then(|word| word.strip_prefix('-')) {
                Some(text) if !text.starts_with('-') && !text.chars().all(|c| SEARCH_FLAGS.contains(c)) => format!("{MINUS}{text}"),
                _ => continue,
            };
            *word = shielded.into();
        }
    }
    words
}

/// What to verify: a content as it is, a path absolute.
fn content_or_path(text: &str, here: &Path) -> String {
    match text.parse() {
        Ok(Ref::Content { .. }) => text.to_owned(),
        Ok(Ref::Place { .. }) | Err(_) => here.join(text).display().to_string(),
    }
}

/// A share to remove: its name as it is, its folder absolute.
fn name_or_folder(text: &str, here: &Path) -> String {
    if !text.contains('/') && text != "." && text != ".." {
        return text.to_owned();
    }
    let dir = here.join(text);
    dir.canonicalize().unwrap_or(dir).display().to_string() // a share whose folder is gone can still be removed
}

#[cfg(test)]
mod tests;
