//! [`Town`]: a folder with trackers and nodes in it, each a real process on a free port with its own data folder.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::clock::{PATIENCE, eventually};
use crate::failure::{Failure, Result};
use crate::http::Http;
use crate::process::{Finished, Process};
use crate::programs::Programs;

/// Any free port of this machine.
pub const ANY_PORT: &str = "/ip4/127.0.0.1/tcp/0";
/// Where the nodes of a town register: not where those of the user of this machine do, should a tracker of theirs run.
pub const NAMESPACE: &str = "town";
/// How long a verb may take, transfers of some hundred megabytes on a busy machine among them.
pub const VERB_LIMIT: Duration = Duration::from_secs(180);

/// A folder with trackers and nodes in it. Dropping it removes the folder; what runs in it is killed by its own drop.
#[derive(Debug)]
pub struct Town {
    dir: TempDir,
    programs: &'static Programs,
}

/// A tracker that runs.
#[derive(Debug)]
pub struct Tracker {
    resident: Resident,
}

/// A node that runs.
#[derive(Debug)]
pub struct Node {
    resident: Resident,
    download_dir: PathBuf,
}

/// What a node is to be started with.
#[derive(Debug)]
pub struct NodePlan<'a> {
    town: &'a Town,
    name: String,
    download_dir: PathBuf,
    args: Vec<OsString>,
}

/// A program that stays, and how to start it again.
#[derive(Debug)]
struct Resident {
    name: String,
    program: PathBuf,
    args: Vec<OsString>,
    data_dir: PathBuf,
    home: PathBuf,
    process: Process,
    address: String,
}

impl Town {
    /// An empty town.
    ///
    /// # Errors
    /// When the programs cannot be built or no folder be made.
    pub fn new() -> Result<Self> {
        Ok(Self { programs: Programs::get()?, dir: tempfile::Builder::new().prefix("town").tempdir()? })
    }

    /// A place in the folder of the town.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts a tracker and waits until it listens.
    ///
    /// # Errors
    /// When it does not come up.
    #[track_caller]
    pub fn tracker(&self, name: &str) -> Result<Tracker> {
        self.tracker_with(name, &[])
    }

    /// Starts a tracker with more arguments and waits until it listens.
    ///
    /// # Errors
    /// When it does not come up.
    #[track_caller]
    pub fn tracker_with(&self, name: &str, args: &[&str]) -> Result<Tracker> {
        self.tracker_at(name, ANY_PORT, args)
    }

    /// Starts a tracker that listens there, with more arguments, and waits until it does.
    ///
    /// # Errors
    /// When it does not come up.
    #[track_caller]
    pub fn tracker_at(&self, name: &str, listen: &str, args: &[&str]) -> Result<Tracker> {
        let mut all: Vec<OsString> = ["--no-mdns", "--listen", listen].map(Into::into).into();
        all.extend(args.iter().map(OsString::from));
        Ok(Tracker { resident: Resident::start(self, name, &self.programs.tracker, all)? })
    }

    /// A tracker's command line that is not started yet, for those that are to fail.
    #[must_use]
    pub fn tracker_command(&self, name: &str, args: &[&str]) -> Command {
        let mut command = command(&self.programs.tracker, &self.path(name), self.dir.path());
        command.args(args);
        command
    }

    /// Plans a node.
    #[must_use]
    pub fn node(&self, name: &str) -> NodePlan<'_> {
        NodePlan { town: self, name: name.to_owned(), download_dir: self.path(&format!("{name} downloads")), args: Vec::new() }
    }

    /// Runs a verb on a data folder where no node runs, to its end.
    ///
    /// # Errors
    /// When it does not end.
    #[track_caller]
    pub fn potluck(&self, data_dir: &str, args: &[&str]) -> Result<Finished> {
        Process::start(args.join(" "), self.potluck_command(data_dir).args(args))?.finish(VERB_LIMIT)
    }

    /// The command `potluck --json --data-dir DIR` without a verb.
    #[must_use]
    pub fn potluck_command(&self, data_dir: &str) -> Command {
        command(&self.programs.node, &self.path(data_dir), self.dir.path())
    }
}

impl Tracker {
    /// Where it listens, with its PeerId.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.resident.address
    }

    /// The running program.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.resident.process
    }

    /// The first invitation that a new private tracker prints. From then on it takes orders.
    ///
    /// # Errors
    /// When it prints none.
    #[track_caller]
    pub fn first_invitation(&self) -> Result<String> {
        let invited = self.process().event("invited", PATIENCE)?;
        invited["invitation"].as_str().map(ToOwned::to_owned).ok_or_else(|| Failure::new(format!("no invitation in {invited}")))
    }

    /// Its data folder.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.resident.data_dir
    }

    /// Kills it with SIGKILL.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill9(&mut self) -> Result {
        self.resident.process.kill9()
    }

    /// Starts it again, at the address that it had.
    ///
    /// # Errors
    /// When it does not come up.
    #[track_caller]
    pub fn restart(&mut self) -> Result {
        let (place, _) = split_address(&self.resident.address)?;
        if let Some(listen) = self.resident.args.iter_mut().find(|arg| *arg == ANY_PORT) {
            *listen = place.into();
        }
        self.resident.restart()
    }
}

impl NodePlan<'_> {
    /// Shares a folder under its own name.
    #[must_use]
    pub fn share(self, dir: &Path) -> Self {
        self.arg("--share").arg(dir)
    }

    /// Shares a folder under a name.
    #[must_use]
    pub fn share_as(self, name: &str, dir: &Path) -> Self {
        let mut share = OsString::from(format!("{name}="));
        share.push(dir);
        self.arg("--share").arg(share)
    }

    /// Registers at a tracker.
    #[must_use]
    pub fn tracker(self, tracker: &Tracker) -> Self {
        let address = tracker.address().to_owned();
        self.arg("--tracker").arg(address)
    }

    /// Puts downloads somewhere else.
    #[must_use]
    pub fn download_dir(mut self, dir: &Path) -> Self {
        dir.clone_into(&mut self.download_dir);
        self
    }

    /// One more argument of `potluck node`.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// The command line, not started yet, for those that are to fail. It listens where the plan says, or anywhere.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = command(&self.town.programs.node, &self.town.path(&self.name), self.town.dir.path());
        command.args(self.arguments());
        command
    }

    /// Starts the node and waits until it listens.
    ///
    /// # Errors
    /// When it does not come up.
    #[track_caller]
    pub fn start(self) -> Result<Node> {
        std::fs::create_dir_all(&self.download_dir)?;
        let resident = Resident::start(self.town, &self.name, &self.town.programs.node, self.arguments())?;
        Ok(Node { resident, download_dir: self.download_dir })
    }

    /// Starts the node and waits until all its folders are hashed and, if it has a tracker, it is registered.
    ///
    /// # Errors
    /// When that does not come about.
    #[track_caller]
    pub fn start_ready(self) -> Result<Node> {
        let given = |option| self.args.iter().any(|arg| arg == option);
        let (has_tracker, has_shares) = (given("--tracker"), given("--share"));
        let node = self.start()?;
        if has_tracker {
            node.process().event("registered", PATIENCE)?;
        }
        if has_shares {
            node.process().event("indexed", VERB_LIMIT)?;
        }
        Ok(node)
    }

    fn arguments(&self) -> Vec<OsString> {
        let mut args: Vec<OsString> = vec!["node".into(), "--nickname".into(), self.name.clone().into()];
        if !self.args.iter().any(|arg| arg == "--listen") {
            args.extend(["--listen".into(), ANY_PORT.into()]);
        }
        args.extend(["--download-dir".into(), self.download_dir.clone().into()]);
        args.extend(self.args.iter().cloned());
        args
    }
}

impl Node {
    /// What it calls itself.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.resident.name
    }

    /// Where it listens, with its PeerId.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.resident.address
    }

    /// Its PeerId.
    #[must_use]
    pub fn peer_id(&self) -> &str {
        self.resident.address.rsplit('/').next().unwrap_or_default()
    }

    /// Its data folder.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.resident.data_dir
    }

    /// Where its downloads go.
    #[must_use]
    pub fn download_dir(&self) -> &Path {
        &self.download_dir
    }

    /// The running program.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.resident.process
    }

    /// A client of its page without any right, of a node that was started with `--page`.
    ///
    /// # Errors
    /// When it has no page.
    #[track_caller]
    pub fn stranger_at_page(&self) -> Result<Http> {
        let page = self.process().event("page", PATIENCE)?;
        Ok(Http::new(page["address"].as_str().unwrap_or_default()))
    }

    /// A client of its page that holds the token.
    ///
    /// # Errors
    /// When it has no page, or no token.
    #[track_caller]
    pub fn page(&self) -> Result<Http> {
        let stranger = self.stranger_at_page()?; // once the page is open, the token is there
        let token = std::fs::read_to_string(self.data_dir().join("page-token"))?;
        Ok(stranger.with("Authorization", &format!("Bearer {token}")))
    }

    /// Kills it with SIGKILL.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill9(&mut self) -> Result {
        self.resident.process.kill9()
    }

    /// Ends it as a service manager would.
    ///
    /// # Errors
    /// When it does not end.
    pub fn terminate(self) -> Result<Finished> {
        self.resident.process.terminate(PATIENCE)
    }

    /// Starts it again on its data folder.
    ///
    /// # Errors
    /// When it does not come up.
    #[track_caller]
    pub fn restart(&mut self) -> Result {
        self.resident.restart()
    }

    /// Types a verb in another terminal and waits for its end.
    ///
    /// # Errors
    /// When it does not end.
    #[track_caller]
    pub fn verb(&self, args: &[&str]) -> Result<Finished> {
        self.begin(args)?.finish(VERB_LIMIT)
    }

    /// Types a verb in another terminal.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn begin(&self, args: &[&str]) -> Result<Process> {
        let mut command = command(&self.resident.program, &self.resident.data_dir, &self.resident.home);
        Process::start(format!("{}'s `{}`", self.resident.name, args.join(" ")), command.args(args))
    }

    /// Types a verb without `--json`, and returns what a person reads: stdout, then stderr.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn say(&self, args: &[&str]) -> Result<String> {
        let mut command = Command::new(&self.resident.program);
        let output = command.arg("--data-dir").arg(&self.resident.data_dir).args(args).stdin(Stdio::null()).output()?;
        Ok(format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
    }

    /// What `status` tells.
    ///
    /// # Errors
    /// When the verb fails.
    #[track_caller]
    pub fn status(&self) -> Result<Value> {
        Ok(self.verb(&["status"])?.ok()?.only()?.clone())
    }

    /// Searches until there is a hashed file with this name that so many peers have, and returns the hit.
    ///
    /// # Errors
    /// When it does not turn up.
    #[track_caller]
    pub fn find(&self, name: &str, sources: u64) -> Result<Value> {
        eventually(PATIENCE, &format!("{} finds {name} at {sources} sources", self.resident.name), || {
            let found = self.verb(&["search", name])?;
            let fits = |hit: &&Value| hit["content_id"].is_string() && hit["sources"] == sources && hit["name"] == name;
            Ok(found.lines.iter().find(fits).cloned())
        })
    }

    /// The peers that the node's trackers list.
    ///
    /// # Errors
    /// When the verb fails.
    #[track_caller]
    pub fn peers(&self) -> Result<Vec<Value>> {
        let listed = self.verb(&["query"])?;
        Ok(listed.lines.into_iter().filter(|peer| peer["online"] == true).collect())
    }

    /// Waits until another node is listed, or is not.
    ///
    /// # Errors
    /// When that does not come about within `limit`.
    #[track_caller]
    pub fn sees(&self, peer_id: &str, is_there: bool, limit: Duration) -> Result {
        let what = format!("{} {} {peer_id}", self.resident.name, if is_there { "sees" } else { "no longer sees" });
        eventually(limit, &what, || {
            let listed = self.peers()?.iter().any(|peer| peer["peer_id"] == peer_id);
            Ok((listed == is_there).then_some(()))
        })
    }

    /// Downloads with `download REF… ARGS` and waits for its end.
    ///
    /// # Errors
    /// When it does not end.
    #[track_caller]
    pub fn download(&self, args: &[&str]) -> Result<Finished> {
        self.verb(&[&["download"], args].concat())
    }
}

impl Resident {
    #[track_caller]
    fn start(town: &Town, name: &str, program: &Path, args: Vec<OsString>) -> Result<Self> {
        let (data_dir, home) = (town.path(name), town.dir.path().to_owned());
        let (process, address) = launch(name, program, &args, &data_dir, &home)?;
        Ok(Self { name: name.to_owned(), program: program.to_owned(), args, data_dir, home, process, address })
    }

    #[track_caller]
    fn restart(&mut self) -> Result {
        self.process.kill9()?;
        (self.process, self.address) = launch(&self.name, &self.program, &self.args, &self.data_dir, &self.home)?;
        Ok(())
    }
}

#[track_caller]
fn launch(name: &str, program: &Path, args: &[OsString], data_dir: &Path, home: &Path) -> Result<(Process, String)> {
    let process = Process::start(name, command(program, data_dir, home).args(args))?;
    let listening = process.event("listening", PATIENCE)?;
    let address = listening["address"].as_str().ok_or_else(|| Failure::new("`listening` without an address"))?.to_owned();
    split_address(&address)?;
    Ok((process, address))
}

fn command(program: &Path, data_dir: &Path, home: &Path) -> Command {
    isolated(Command::new(program), data_dir, home)
}

/// A command of ours with nothing of the user's environment that could change what it does, and `--json --data-dir DIR`.
#[must_use]
pub fn isolated(mut command: Command, data_dir: &Path, home: &Path) -> Command {
    for (key, _) in std::env::vars_os() {
        let name = key.to_string_lossy();
        if name.starts_with("POTLUCK_") || name.starts_with("XDG_") {
            command.env_remove(key);
        }
    }
    command.env("HOME", home).env("RUST_BACKTRACE", "1");
    command.env("POTLUCK_NO_MDNS", "1").env("POTLUCK_NAMESPACE", NAMESPACE);
    command.env("POTLUCK_PAGE", "off"); // a scenario that wants a page asks for one at a free port
    command.arg("--json").arg("--data-dir").arg(data_dir);
    command
}

/// Splits `/ip4/…/tcp/…/p2p/PEER` into where and who.
///
/// # Errors
/// When the address does not end in a PeerId.
pub fn split_address(address: &str) -> Result<(&str, &str)> {
    address.split_once("/p2p/").ok_or_else(|| Failure::new(format!("{address} does not end in /p2p/PEER_ID")))
}
