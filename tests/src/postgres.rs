//! [`Postgres`]: a real database server on a socket in a temporary folder, from Debian's package.

use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, getuid, kill_process};
use tempfile::TempDir;

use crate::clock::{PATIENCE, eventually};
use crate::failure::{Failure, Result};

/// Where Debian puts the programs of each version: `15/bin`, `17/bin`.
const PACKAGES: &str = "/usr/lib/postgresql";
/// The oldest version that trackers ask for.
const OLDEST: u32 = 15;
/// The server refuses to run as root; the package makes this user.
const USER: &str = "postgres";

/// A running server. Dropping it ends it.
#[derive(Debug)]
pub struct Postgres {
    bin: PathBuf,
    dir: TempDir,
    server: Child,
}

impl Postgres {
    /// Makes a database cluster and starts a server on it; `None` when none is installed here.
    ///
    /// # Errors
    /// When it is installed and does not start.
    pub fn start() -> Result<Option<Self>> {
        Self::start_with(&["fsync=off"])
    }

    /// Starts a server with settings of one's own.
    ///
    /// # Errors
    /// When it is installed and does not start.
    pub fn start_with(settings: &[&str]) -> Result<Option<Self>> {
        let Some(bin) = installed() else { return Ok(None) };
        let dir = tempfile::Builder::new().prefix("postgres").tempdir()?;
        if getuid().is_root() {
            let user = Command::new("id").args(["-u", USER]).output()?;
            let user = String::from_utf8_lossy(&user.stdout).trim().parse()?;
            chown(dir.path(), Some(user), None)?;
        }
        let data = dir.path().join("data");
        let mut initdb = unprivileged(&bin.join("initdb"));
        initdb.args(["--no-sync", "--auth=trust", "--username=potluck", "--encoding=UTF8", "--locale=C.UTF-8", "--pgdata"]);
        let made = initdb.arg(&data).current_dir("/").output()?;
        if !made.status.success() {
            return Err(Failure::new(format!("no database was made: {}", String::from_utf8_lossy(&made.stderr))));
        }
        let mut server = unprivileged(&bin.join("postgres"));
        server.arg("-D").arg(&data).arg("-k").arg(dir.path()).args(["-h", ""]);
        for setting in settings {
            server.args(["-c", setting]);
        }
        let log = std::fs::File::create(dir.path().join("log"))?;
        let server = server.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn()?;
        let this = Self { bin, dir, server };
        eventually(PATIENCE, "the database server to listen", || Ok(this.sql("SELECT 1").is_ok().then_some(())))
            .map_err(|failure| Failure::new(format!("{failure}\n{}", this.log())))?;
        Ok(Some(this))
    }

    /// The address of its database, as a tracker takes it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres:///postgres?user=potluck&host={}", self.dir.path().display())
    }

    /// Runs statements, and returns what the last one found: a row a line, `|` between columns.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn sql(&self, statements: &str) -> Result<String> {
        let mut psql = Command::new(self.bin.join("psql"));
        psql.arg("-h").arg(self.dir.path()).args(["-U", "potluck", "-d", "postgres", "-qAtX", "-v", "ON_ERROR_STOP=1", "-c", statements]);
        let output = psql.env("PGOPTIONS", "-c search_path=potluck,public").current_dir("/").output()?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
        } else {
            Err(Failure::new(String::from_utf8_lossy(&output.stderr).into_owned()))
        }
    }

    /// What it said.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // At once, but with all that it has shared given back to the system, which a kill would leave.
        if let Some(id) = i32::try_from(self.server.id()).ok().and_then(Pid::from_raw) {
            let _gone = kill_process(id, Signal::QUIT);
        }
        let _ended = self.server.wait();
    }
}

/// The programs of the newest version that is installed.
fn installed() -> Option<PathBuf> {
    let versions = std::fs::read_dir(PACKAGES).ok()?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let newest = versions.filter(|version| *version >= OLDEST).max()?;
    let bin = Path::new(PACKAGES).join(newest.to_string()).join("bin");
    bin.join("initdb").is_file().then_some(bin)
}

/// A program, run as who the server may be run by.
fn unprivileged(program: &Path) -> Command {
    if !getuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", USER, "--regid", USER, "--clear-groups"]).arg(program);
    command
}
