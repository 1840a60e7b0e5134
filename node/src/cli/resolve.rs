//! From what was typed and what the machine says to a checked [`Config`].

use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;
use potluck_common::limits::set;
use potluck_common::web::place::check_exposure;
use potluck_common::wire::MAX_NICKNAME_BYTES;

use super::{Cli, GlobalArgs, NodeArgs, Verb};
use crate::config::{Config, Listen, NODE_PORT, PAGE_PORT, PagePlan, Settings};
use crate::error::{CommandError, Failure};
use crate::limits::NodeLimits;
use crate::types::{Origin, SettingLine};

/// The folder of ours below the folders that the user keeps for all programs.
const OWN_FOLDER: &str = "potluck";

/// What the machine says about its user. A value, so that a test can choose it.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The working directory: where relative paths begin.
    pub here: PathBuf,
    /// Where programs keep their data: `$XDG_DATA_HOME` or `~/.local/share`.
    pub data_home: Option<PathBuf>,
    /// Where the user's downloads go: `$XDG_DOWNLOAD_DIR` or `~/Downloads`.
    pub download_home: Option<PathBuf>,
    /// The user's login name.
    pub user: Option<String>,
    /// The machine's name.
    pub host: Option<String>,
}

impl Surroundings {
    /// Asks the environment and the operating system.
    ///
    /// # Errors
    /// When the working directory is gone.
    pub fn of_process() -> Result<Self, CommandError> {
        let gone =
            |error| CommandError::new(Failure::LocalFile, format!("the working directory cannot be used: {error}; change to another"));
        let text = |key: &str| std::env::var(key).ok().filter(|value| !value.is_empty());
        let xdg = etcetera::base_strategy::Xdg::new().ok();
        let download_home = std::env::var_os("XDG_DOWNLOAD_DIR").map(PathBuf::from).filter(|dir| dir.is_absolute());
        Ok(Self {
            here: std::env::current_dir().map_err(gone)?,
            data_home: xdg.as_ref().map(BaseStrategy::data_dir),
            download_home: download_home.or_else(|| xdg.as_ref().map(|xdg| xdg.home_dir().join("Downloads"))),
            user: text("USER").or_else(|| text("LOGNAME")),
            host: rustix::system::uname().nodename().to_str().ok().map(ToOwned::to_owned),
        })
    }
}

impl GlobalArgs {
    /// The data folder that is meant; it need not exist.
    ///
    /// # Errors
    /// When none is given and there is no home folder.
    pub fn data_dir(&self, around: &Surroundings) -> Result<PathBuf, CommandError> {
        match (&self.data_dir, &around.data_home) {
            (Some(dir), _) if dir.as_os_str().is_empty() => Err(usage("the data folder is empty; give --data-dir DIR")),
            (Some(dir), _) => Ok(around.here.join(dir)),
            (None, Some(home)) => Ok(home.join(OWN_FOLDER)),
            (None, None) => Err(usage("there is no home folder to keep the node's data in; give --data-dir DIR")),
        }
    }
}

impl Cli {
    /// Where downloads of this command line go; it need not exist.
    ///
    /// # Errors
    /// When none is given and there is no home folder.
    pub fn download_dir(&self, around: &Surroundings) -> Result<PathBuf, CommandError> {
        download_dir(&self.of_node, around)
    }
}

impl Config {
    /// What the node of this command line runs with: options, then their environment variables, then the configuration file
    /// (clap has joined the three), then what the machine says. Makes the data folder, private to the user, if there is none.
    ///
    /// For any verb but `node` it is a short-lived node, which listens nowhere and shares nothing.
    ///
    /// # Errors
    /// When a folder is missing, cannot be made, or the data folder is open to others.
    pub fn resolve(cli: &Cli, around: &Surroundings) -> Result<Self, CommandError> {
        let (node, one_shot) = match &cli.verb {
            Verb::Node(args) => (&**args, false),
            _ => (&cli.of_node, true),
        };
        let network = &cli.global.network;
        let shares = node.share.iter().filter(|_| !one_shot).map(|share| Ok((share.name.clone(), share.folder(&around.here)?)));
        let shares = shares.collect::<Result<_, CommandError>>()?;
        let mut limits = NodeLimits::default();
        node.limit.iter().try_for_each(|limit| set(limits.fields(), limit)).map_err(|why| usage(&why))?;
        let data_dir = cli.global.data_dir(around)?;
        make_private(&data_dir)?;
        let page = if one_shot { PagePlan::Off } else { node.page.unwrap_or_default() };
        check_exposure(page, &node.page_host).map_err(|message| usage(&message))?;
        let config = Self {
            data_dir,
            download_dir: download_dir(node, around)?,
            shares,
            share_for: node.share_for.clone(),
            reject_hardlinks: node.reject_hardlinks,
            trackers: network.tracker.clone(),
            dial: network.dial.clone(),
            // whoever joins is told where, whatever is set for later
            namespace: network.namespace.clone().filter(|_| !matches!(cli.verb, Verb::Join(_))),
            nickname: node.nickname.clone().unwrap_or_else(|| default_nickname(around)),
            listen: match node.listen.as_slice() {
                _ if one_shot => Listen::Nowhere,
                [] => Listen::Default,
                addresses => Listen::At(addresses.to_vec()),
            },
            mdns: !network.no_mdns,
            limit_up: node.limit_up,
            limits,
            page,
            page_hosts: node.page_host.clone(),
            one_shot,
            settings: Settings::default(),
            reread: None,
        };
        Ok(Self { settings: Settings::new(cli.settings.iter().map(|line| with_default(line, &config)).collect()), ..config })
    }
}

/// A setting that nobody set, with the value that it has then.
fn with_default(line: &SettingLine, config: &Config) -> SettingLine {
    if line.origin != Origin::Default {
        return line.clone();
    }
    let value = match line.name.as_str() {
        "namespace" => vec![config.namespace.clone().unwrap_or_default().to_string()],
        "nickname" => vec![config.nickname.clone()],
        "download_dir" => vec![config.download_dir.display().to_string()],
        "listen" => vec![format!("/ip4/0.0.0.0/tcp/{NODE_PORT}")],
        "page" => vec![PAGE_PORT.to_string()],
        _ => line.value.clone(),
    };
    SettingLine { value, ..line.clone() }
}

/// A folder of ours among the user's downloads, because a downloaded folder keeps its tree and would otherwise be spilled
/// among files of other programs. It is made when the first download needs it.
fn download_dir(node: &NodeArgs, around: &Surroundings) -> Result<PathBuf, CommandError> {
    match (&node.download_dir, &around.download_home) {
        (Some(dir), _) => Ok(around.here.join(dir)),
        (None, Some(home)) => Ok(home.join(OWN_FOLDER)),
        (None, None) => Err(usage("there is no home folder for downloads; give --download-dir DIR")),
    }
}

/// `user@host`, as long as a nickname may be.
fn default_nickname(around: &Surroundings) -> String {
    let user = around.user.as_deref().unwrap_or("somebody");
    let name = match &around.host {
        Some(host) => format!("{user}@{host}"),
        None => user.to_owned(),
    };
    let mut bytes = 0;
    let fits = |c: &char| {
        bytes += c.len_utf8();
        bytes <= MAX_NICKNAME_BYTES
    };
    name.chars().filter(|c| !c.is_control()).take_while(fits).collect()
}

/// Makes the data folder with mode 0700, or checks that nobody else can change the one that is there: who can, could put
/// another identity or control socket into it.
fn make_private(dir: &Path) -> Result<(), CommandError> {
    let shown = dir.display();
    let fail = |message: String| Err(CommandError::new(Failure::LocalFile, message));
    if let Err(error) = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir) {
        return fail(format!("cannot make the data folder {shown}: {error}; give another with --data-dir DIR"));
    }
    let metadata = match dir.metadata() {
        Ok(metadata) => metadata,
        Err(error) => return fail(format!("cannot use the data folder {shown}: {error}; give another with --data-dir DIR")),
    };
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return fail(format!("the data folder {shown} belongs to another user; give another with --data-dir DIR"));
    }
    if metadata.permissions().mode() & 0o022 != 0 {
        return fail(format!("others can write to the data folder {shown}; run `chmod go-w {shown}` if you trust what is in it"));
    }
    Ok(())
}

fn usage(message: &str) -> CommandError {
    CommandError::new(Failure::Usage, message)
}
