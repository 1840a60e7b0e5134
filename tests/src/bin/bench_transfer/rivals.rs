//! Other programs that people move files with, in the same cases: as fast as their manuals say that they can be.
//!
//! What is not installed is left out, and said so.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use potluck_tests::clock::{PATIENCE, eventually};
use potluck_tests::process::Process;
use potluck_tests::{Failure, Result};

use super::cases::{Case, Stock};
use super::ground::{Ground, Place, first_missing, is_root};
use super::meter::{self, Meter};
use super::report::Measured;

const HTTPS_PORT: u16 = 8443;
const SSH_PORT: u16 = 2222;

/// Another program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rival {
    /// curl from nginx over TLS 1.3 with AES-256, which processors have instructions for.
    CurlAes,
    /// The same with the cipher of Noise.
    CurlChaCha,
    /// rsync over ssh, without its comparison of what is not there yet.
    Rsync,
    /// scp.
    Scp,
    /// tar through ssh: the fast way to copy a folder of small files.
    TarSsh,
    /// aria2 from several nginx at once.
    Aria2,
}

/// A rival that is ready to fetch.
pub(crate) struct Contest<'a> {
    rival: Rival,
    case: &'a Case,
    stock: &'a Stock,
    sink: Place,
    dir: PathBuf,
    servers: Vec<Process>,
    /// Where each source is reached.
    hosts: Vec<String>,
}

impl Rival {
    /// How it is called in results.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::CurlAes => "curl-https-aes256",
            Self::CurlChaCha => "curl-https-chacha20",
            Self::Rsync => "rsync-ssh",
            Self::Scp => "scp",
            Self::TarSsh => "tar-ssh",
            Self::Aria2 => "aria2-https",
        }
    }

    fn is_ssh(self) -> bool {
        matches!(self, Self::Rsync | Self::Scp | Self::TarSsh)
    }

    /// The first program that it takes and that is not here.
    pub(crate) fn missing(self) -> Option<&'static str> {
        let needed: &[&str] = match self {
            Self::CurlAes | Self::CurlChaCha => &["nginx", "openssl", "curl"],
            Self::Aria2 => &["nginx", "openssl", "aria2c"],
            Self::Rsync => &["/usr/sbin/sshd", "ssh-keygen", "rsync"],
            Self::Scp => &["/usr/sbin/sshd", "ssh-keygen", "scp"],
            Self::TarSsh => &["/usr/sbin/sshd", "ssh-keygen", "ssh", "tar"],
        };
        first_missing(needed)
    }

    fn cipher_suite(self) -> &'static str {
        if self == Self::CurlChaCha { "TLS_CHACHA20_POLY1305_SHA256" } else { "TLS_AES_256_GCM_SHA384" }
    }
}

impl<'a> Contest<'a> {
    /// Starts the servers.
    ///
    /// # Errors
    /// When one of them does not come up.
    pub(crate) fn start(rival: Rival, case: &'a Case, stock: &'a Stock, ground: &Ground, dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir.join("into"))?;
        let sink = ground.place(case.sources)?.clone();
        let mut contest = Self { rival, case, stock, sink, dir: dir.to_owned(), servers: Vec::new(), hosts: Vec::new() };
        for number in 0..case.sources {
            let place = ground.place(number)?;
            let (command, port) = if rival.is_ssh() { contest.sshd(place)? } else { contest.nginx(place, number)? };
            contest.serve(place, command, port)?;
        }
        Ok(contest)
    }

    fn serve(&mut self, place: &Place, mut command: Command, port: u16) -> Result {
        self.servers.push(Process::start(format!("the server of {}", self.rival.name()), &mut command)?);
        self.hosts.push(format!("{}:{port}", place.ip));
        eventually(PATIENCE, "a server that listens", || {
            let listening = place.command("ss").args(["-Hltn", &format!("sport = :{port}")]).output()?;
            Ok((!listening.stdout.is_empty()).then_some(()))
        })
    }

    fn nginx(&self, place: &Place, number: usize) -> Result<(Command, u16)> {
        let dir = self.dir.join(format!("nginx{number}"));
        fs::create_dir_all(&dir)?;
        let name = format!("subjectAltName=IP:{}", place.ip);
        let mut openssl = Command::new("openssl");
        openssl.args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=bench",
        ]);
        openssl.args(["-addext", &name, "-keyout"]).arg(dir.join("key.pem")).arg("-out").arg(dir.join("cert.pem"));
        run_quietly(&mut openssl)?;
        let (at, root, user) = (dir.display(), self.stock.folder.display(), if is_root() { "user root;" } else { "" });
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].iter().fold(String::new(), |mut text, kind| {
            let _ = write!(text, "{kind}_temp_path {at}/{kind}; "); // writing to a string cannot fail
            text
        });
        let config = format!(
            "daemon off; master_process off; {user} pid {at}/pid; error_log {at}/errors;
            events {{ worker_connections 512; }}
            http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000; {temporary}
            server {{ listen {}:{HTTPS_PORT} ssl; root {root};
            ssl_certificate {at}/cert.pem; ssl_certificate_key {at}/key.pem; ssl_protocols TLSv1.3;
            ssl_conf_command Ciphersuites {}; ssl_buffer_size 16k; }} }}",
            place.ip,
            self.rival.cipher_suite()
        );
        fs::write(dir.join("nginx.conf"), config)?;
        let mut command = place.command("nginx");
        command.arg("-c").arg(dir.join("nginx.conf"));
        Ok((command, HTTPS_PORT))
    }

    fn sshd(&self, place: &Place) -> Result<(Command, u16)> {
        if is_root() {
            fs::create_dir_all("/run/sshd")?;
        }
        for key in ["host", "user"] {
            run_quietly(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(self.dir.join(key)))?;
        }
        let at = self.dir.display();
        let config = format!(
            "Port {SSH_PORT}\nListenAddress {}\nHostKey {at}/host\nAuthorizedKeysFile {at}/user.pub\nStrictModes no\nUsePAM no\n\
             PermitRootLogin yes\nPidFile none\nSubsystem sftp internal-sftp\nUseDNS no\n",
            place.ip
        );
        fs::write(self.dir.join("sshd.conf"), config)?;
        let mut command = place.command("/usr/sbin/sshd");
        command.args(["-D", "-e", "-f"]).arg(self.dir.join("sshd.conf"));
        Ok((command, SSH_PORT))
    }

    /// Moves the files, looks what came and tells what it cost.
    ///
    /// # Errors
    /// When something did not come, or is not what was sent.
    pub(crate) fn measure(self, limit: Duration) -> Result<Measured> {
        let servers = Meter::start(self.servers.iter().map(Process::id).collect());
        let before = servers.cpu_seconds();
        let wire = self.sink.received();
        let mut ran = Vec::new();
        if self.case.is_cut {
            let (sink, half) = (self.sink.clone(), self.stock.bytes / 2);
            let begin = wire.ok_or_else(|| Failure::new("what is fetched twice is only counted in a namespace: be root"))?;
            ran.push(meter::run(&mut self.client(false)?, limit, move || sink.received().is_some_and(|now| now - begin >= half))?);
        }
        ran.push(meter::run(&mut self.client(self.case.is_cut)?, limit, || false)?);
        if !ran.last().is_some_and(|ran| ran.status.success()) {
            return Err(Failure::new(format!("{} failed, or took longer than {limit:?}", self.rival.name())));
        }
        if !self.stock.has_come(&self.target())? {
            return Err(Failure::new("what came is not what was sent"));
        }
        Ok(Measured {
            seconds: ran.iter().map(|ran| ran.seconds).sum(),
            sender_cpu_s: servers.cpu_seconds() - before,
            receiver_cpu_s: ran.iter().map(|ran| ran.cpu_seconds).sum(),
            sender_peak_bytes: servers.peak_bytes(),
            receiver_peak_bytes: ran.iter().map(|ran| ran.peak_bytes).max().unwrap_or(0),
            sender_idle_bytes: None,
            receiver_idle_bytes: None,
            wire_bytes: self.sink.received().zip(wire).map(|(after, before)| after - before),
        })
    }

    fn target(&self) -> PathBuf {
        self.dir.join("into")
    }

    /// The program that fetches, from the start or what is missing.
    fn client(&self, goes_on: bool) -> Result<Command> {
        match self.rival {
            Rival::CurlAes | Rival::CurlChaCha => self.curl(goes_on),
            Rival::Aria2 => Ok(self.aria2()),
            Rival::Rsync | Rival::Scp | Rival::TarSsh => Ok(self.ssh(goes_on)),
        }
    }

    fn curl(&self, goes_on: bool) -> Result<Command> {
        let mut command = self.sink.command("curl");
        command.args(["--silent", "--show-error", "--fail", "--cacert"]).arg(self.dir.join("nginx0/cert.pem"));
        let base = format!("https://{}", self.hosts.join(""));
        if let Some(file) = self.stock.load.file() {
            command.args(if goes_on { &["--continue-at", "-"][..] } else { &[] });
            command.arg("--output").arg(self.target().join(file)).arg(format!("{base}/{file}"));
            return Ok(command);
        }
        let into = self.target().join(self.stock.load.folder());
        let mut list = String::new();
        for (path, _) in &self.stock.contents {
            let (url, target) = (path.display().to_string().replace(' ', "%20"), into.join(path));
            let _ = writeln!(list, "url=\"{base}/{url}\"\noutput=\"{}\"", target.display()); // writing to a string cannot fail
        }
        fs::write(self.dir.join("list"), list)?;
        command.args(["--no-progress-meter", "--create-dirs", "--parallel", "--parallel-max", "16", "--config"]).arg(self.dir.join("list"));
        Ok(command)
    }

    fn aria2(&self) -> Command {
        let file = self.stock.load.file().unwrap_or_default();
        let mut command = self.sink.command("aria2c");
        command.args(["--quiet", "--no-conf", "--file-allocation=falloc", "--check-certificate=false", "--min-split-size=1M"]);
        command.args(["--split=6", "--max-connection-per-server=2"]).arg("--dir").arg(self.target());
        command.args(self.hosts.iter().map(|host| format!("https://{host}/{file}")));
        command
    }

    fn ssh(&self, goes_on: bool) -> Command {
        let (from, into) = (self.stock.folder.display(), self.target());
        let host = self.hosts.first().and_then(|host| host.split(':').next()).unwrap_or_default().to_owned();
        let key = self.dir.join("user");
        let options = format!(
            "-o Port={SSH_PORT} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o IdentitiesOnly=yes \
             -o IdentityFile={} -c aes128-gcm@openssh.com",
            key.display()
        );
        let (folder, file) = (self.stock.load.folder(), self.stock.load.file());
        let source = file.map_or_else(|| from.to_string(), |file| format!("{from}/{file}"));
        let how = if goes_on { "--append-verify" } else { "--whole-file --inplace" };
        let into = into.display();
        let script = match self.rival {
            Rival::Rsync => format!("exec rsync -a {how} -e \"ssh {options}\" {host}:{source} {into}/"),
            Rival::Scp => format!("exec scp -q -r {options} {host}:{source} {into}/"),
            _ => format!("ssh {options} {host} tar -C {from}/.. -cf - {folder} | tar -C {into} -xf -"),
        };
        let mut command = self.sink.command("sh");
        command.args(["-c", &script]);
        command
    }
}

fn run_quietly(command: &mut Command) -> Result {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(Failure::new(format!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr))))
}
