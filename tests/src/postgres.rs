//! [`Postgres`]: a real database server in a temporary folder, from Debian's package: on a socket there, or on TCP with TLS.

use std::fs::{File, Permissions};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, KeyPair};
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

/// How many ports of TCP are tried.
const TRIES: usize = 5;
/// The name of the server in its certificate.
const NAME: &str = "localhost";

/// A running server. Dropping it ends it.
#[derive(Debug)]
pub struct Postgres {
    bin: PathBuf,
    dir: TempDir,
    /// What it is started with.
    settings: Vec<String>,
    /// On its socket it is only the end of a file's name.
    port: u16,
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
        let Some((bin, dir)) = make_cluster()? else { return Ok(None) };
        Self::on(bin, dir, 5432, settings.iter().map(ToString::to_string).collect()).map(Some)
    }

    /// Starts a server that is reached by TCP as well, and encrypts there, with a certificate for `localhost` that was signed by a new
    /// authority: [`Self::authorities`].
    ///
    /// # Errors
    /// When it is installed and does not start.
    pub fn start_encrypted() -> Result<Option<Self>> {
        for _ in 1..TRIES {
            // The server cannot be told to take any free port, so somebody else may have this one by then.
            let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
            if let Ok(server) = Self::start_encrypted_at(port) {
                return Ok(server);
            }
        }
        Self::start_encrypted_at(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
    }

    fn start_encrypted_at(port: u16) -> Result<Option<Self>> {
        let Some((bin, dir)) = make_cluster()? else { return Ok(None) };
        let failed = |error: rcgen::Error| Failure::new(error.to_string());
        let (authority, key_of_authority) = authority().map_err(failed)?;
        let key = KeyPair::generate().map_err(failed)?;
        let params = CertificateParams::new(vec![NAME.to_owned()]).map_err(failed)?;
        let certificate = params.signed_by(&key, &authority, &key_of_authority).map_err(failed)?;
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("authority.pem"), authority.pem())?;
        std::fs::write(path("another.pem"), self::authority().map_err(failed)?.0.pem())?;
        std::fs::write(path("server.pem"), certificate.pem())?;
        std::fs::write(path("server.key"), key.serialize_pem())?;
        // The server does not take a key that others may read.
        std::fs::set_permissions(path("server.key"), Permissions::from_mode(0o600))?;
        chown(path("server.key"), Some(std::fs::metadata(dir.path())?.uid()), None)?;
        let settings = [
            "fsync=off".to_owned(),
            "listen_addresses=127.0.0.1".to_owned(),
            "ssl=on".to_owned(),
            format!("ssl_cert_file={}", path("server.pem").display()),
            format!("ssl_key_file={}", path("server.key").display()),
        ];
        Self::on(bin, dir, port, settings.into()).map(Some)
    }

    fn on(bin: PathBuf, dir: TempDir, port: u16, settings: Vec<String>) -> Result<Self> {
        let server = serve(&bin, dir.path(), port, &settings)?;
        let mut this = Self { bin, dir, settings, port, server };
        this.is_answering()?;
        Ok(this)
    }

    /// Stops the server, as for an update: connections are cut.
    ///
    /// # Errors
    /// When it does not stop.
    pub fn stop(&mut self) -> Result {
        if let Some(id) = i32::try_from(self.server.id()).ok().and_then(Pid::from_raw) {
            kill_process(id, Signal::INT)?;
        }
        self.server.wait()?;
        Ok(())
    }

    /// Starts a server that was stopped again, with all that it had.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_again(&mut self) -> Result {
        self.server = serve(&self.bin, self.dir.path(), self.port, &self.settings)?;
        self.is_answering()
    }

    fn is_answering(&mut self) -> Result {
        let answers = || match self.server.try_wait()? {
            Some(status) => Err(Failure::new(format!("the database server has ended: {status}"))),
            None => Ok(self.sql("SELECT 1").is_ok().then_some(())),
        };
        let outcome = eventually(PATIENCE, "the database server to listen", answers);
        outcome.map_err(|failure| Failure::new(format!("{failure}\n{}", self.log())))
    }

    /// The address of one that encrypts, by TCP and the name in its certificate; more may be added to it.
    #[must_use]
    pub fn encrypted_url(&self) -> String {
        format!("postgres://potluck@{NAME}:{}/postgres?hostaddr=127.0.0.1", self.port)
    }

    /// The certificate of who signed that of one that encrypts; and of somebody else.
    #[must_use]
    pub fn authorities(&self) -> (PathBuf, PathBuf) {
        (self.dir.path().join("authority.pem"), self.dir.path().join("another.pem"))
    }

    /// The address of its database, as a tracker takes it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres:///postgres?user=potluck&host={}&port={}", self.dir.path().display(), self.port)
    }

    /// Runs statements, and returns what the last one found: a row a line, `|` between columns.
    ///
    /// # Errors
    /// When the server refuses.
    pub fn sql(&self, statements: &str) -> Result<String> {
        let mut psql = Command::new(self.bin.join("psql"));
        psql.arg("-h").arg(self.dir.path()).args(["-p", &self.port.to_string()]).args([
            "-U",
            "potluck",
            "-d",
            "postgres",
            "-qAtX",
            "-v",
            "ON_ERROR_STOP=1",
            "-c",
            statements,
        ]);
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

/// A folder with a new database in it, and where the server's programs are; `None` when none are installed.
fn make_cluster() -> Result<Option<(PathBuf, TempDir)>> {
    let Some(bin) = installed() else { return Ok(None) };
    let dir = tempfile::Builder::new().prefix("postgres").tempdir()?;
    if getuid().is_root() {
        let user = Command::new("id").args(["-u", USER]).output()?;
        let user = String::from_utf8_lossy(&user.stdout).trim().parse()?;
        chown(dir.path(), Some(user), None)?;
    }
    let mut initdb = unprivileged(&bin.join("initdb"));
    initdb.args(["--no-sync", "--auth=trust", "--username=potluck", "--encoding=UTF8", "--locale=C.UTF-8", "--pgdata"]);
    let made = initdb.arg(dir.path().join("data")).current_dir("/").output()?;
    if !made.status.success() {
        return Err(Failure::new(format!("no database was made: {}", String::from_utf8_lossy(&made.stderr))));
    }
    Ok(Some((bin, dir)))
}

fn serve(bin: &Path, dir: &Path, port: u16, settings: &[String]) -> Result<Child> {
    let mut server = unprivileged(&bin.join("postgres"));
    server.arg("-D").arg(dir.join("data")).arg("-k").arg(dir).args(["-c", "listen_addresses=", "-p", &port.to_string()]);
    for setting in settings {
        server.args(["-c", setting]);
    }
    let log = File::options().create(true).append(true).open(dir.join("log"))?;
    Ok(server.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn()?)
}

/// Somebody who signs certificates.
fn authority() -> Result<(Certificate, KeyPair), rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    Ok((params.self_signed(&key)?, key))
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
