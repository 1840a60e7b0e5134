//! Where a case is played: the loopback of this machine, two ends of a long line, or a star of machines with slow uplinks.
//!
//! All but the plain loopback are network namespaces that are made for one run and removed after it, which takes root and
//! some programs of the system. Every program that takes part, ours or another's, runs in one of them.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use potluck_tests::{Failure, Result};

use super::link::{Ends, Line, PORT};

/// Packets on the long line have the size of those on most; what envelopes them needs more room.
const INNER_MTU: &str = "1500";
const OUTER_MTU: &str = "1600";

/// What a line or a switch is made with.
const TOOLS: [&str; 6] = ["ip", "tc", "ethtool", "chrt", "nsenter", "sysctl"];

/// Begins the names of our namespaces; the number of our process follows.
const PREFIX: &str = "potluck";

/// What is between the machines.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Between {
    /// Nothing: all are one machine.
    Nothing,
    /// A long line between two, whose systems send by this congestion control.
    Line(Line, &'static str),
    /// A switch that is fast enough, with so many machines at it that send at most so many megabits per second.
    Switch { machines: usize, mbit: u32 },
}

/// The machines of a run. Dropping it removes them.
#[derive(Debug)]
pub(crate) struct Ground {
    places: Vec<Place>,
    namespaces: Vec<String>,
    line: Option<Child>,
}

/// One machine.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Where its programs run; `None`: in the namespace of this program.
    namespace: Option<String>,
    /// Its address.
    pub(crate) ip: String,
    /// Its interface.
    device: String,
}

impl Between {
    /// The first program that it takes and that is not here.
    pub(crate) fn missing(self) -> Option<&'static str> {
        if self == Self::Nothing { None } else { first_missing(&TOOLS) }
    }
}

/// The first of these programs that is not installed.
pub(crate) fn first_missing(needed: &[&'static str]) -> Option<&'static str> {
    let is_missing = |program: &&&str| {
        let found = Command::new("sh").args(["-c", "command -v \"$0\"", program]).stdout(Stdio::null()).status();
        !found.is_ok_and(|status| status.success())
    };
    needed.iter().find(is_missing).copied()
}

impl Ground {
    /// Makes the machines.
    ///
    /// # Errors
    /// When the system does not let us, or lacks what it takes.
    pub(crate) fn new(between: Between) -> Result<Self> {
        remove_left();
        let mut ground = Self { places: Vec::new(), namespaces: Vec::new(), line: None };
        match between {
            Between::Nothing if !is_root() => {
                ground.places.push(Place { namespace: None, ip: "127.0.0.1".to_owned(), device: "lo".to_owned() });
            }
            Between::Nothing => {
                let namespace = ground.namespace("l")?;
                shell(&format!("ip -n {namespace} address add 10.77.0.1/32 dev lo"))?;
                ground.places.push(Place { namespace: Some(namespace), ip: "10.77.0.1".to_owned(), device: "lo".to_owned() });
            }
            Between::Line(line, congestion) => ground.make_line(line, congestion)?,
            Between::Switch { machines, mbit } => ground.make_switch(machines, mbit)?,
        }
        Ok(ground)
    }

    /// A machine by number; there is always one, and numbers beyond the last mean the last.
    pub(crate) fn place(&self, number: usize) -> Result<&Place> {
        self.places.get(number).or(self.places.last()).ok_or_else(|| Failure::new("a ground without machines"))
    }

    fn namespace(&mut self, name: &str) -> Result<String> {
        let full = format!("{PREFIX}{}{name}", std::process::id());
        shell(&format!("ip netns add {full}"))?;
        self.namespaces.push(full.clone());
        shell(&format!("ip -n {full} link set dev lo up"))?;
        Ok(full)
    }

    /// Two machines whose VXLAN tunnel runs through a third, where the line is. The devices leave nothing to hardware that
    /// is not there: what comes out of the tunnel in between is read by a program, and must be whole packets with checksums.
    fn make_line(&mut self, line: Line, congestion: &str) -> Result {
        let middle = self.namespace("m")?;
        let mut ends = Vec::new();
        for (side, number) in [("a", 1), ("b", 2)] {
            let end = self.namespace(side)?;
            let (ours, theirs) = (format!("10.90.{number}.1"), format!("10.90.{number}.2"));
            let (inner, mac) = (format!("10.78.0.{number}"), format!("02:00:00:00:00:0{number}"));
            let (other, other_mac) = (format!("10.78.0.{}", 3 - number), format!("02:00:00:00:00:0{}", 3 - number));
            shell(&format!(
                "ip link add under netns {end} mtu {OUTER_MTU} type veth peer name {side} netns {middle} mtu {OUTER_MTU}
                ip -n {middle} address add {ours}/24 dev {side}
                ip -n {middle} link set dev {side} up
                ip -n {end} address add {theirs}/24 dev under
                ip -n {end} link set dev under up
                ip -n {end} link add line mtu {INNER_MTU} address {mac} type vxlan id 1 local {theirs} remote {ours} dstport {PORT} nolearning
                nsenter --net=/run/netns/{end} ethtool -K line tx off tso off gso off >&2
                nsenter --net=/run/netns/{end} ethtool -K under tx off >&2
                ip -n {end} address add {inner}/24 dev line
                ip -n {end} link set dev line txqueuelen 5000 up
                ip -n {end} neighbour add {other} lladdr {other_mac} dev line nud permanent
                sysctl -qw net.ipv4.tcp_allowed_congestion_control='reno cubic bbr' || true
                nsenter --net=/run/netns/{end} sysctl -qw net.ipv4.tcp_congestion_control={congestion}"
            ))?;
            let address = |ip: &str| -> Result<SocketAddr> { Ok(SocketAddr::new(ip.parse()?, PORT)) };
            ends.push((address(&ours)?, address(&theirs)?));
            self.places.push(Place { namespace: Some(end), ip: inner, device: "line".to_owned() });
        }
        let [left, right] = ends.as_slice() else { return Err(Failure::new("a line has two ends")) };
        let between = Place { namespace: Some(middle), ip: String::new(), device: String::new() };
        let mut command = between.command("chrt"); // it must run when a packet is due, whatever else the machine does
        command.args(["--fifo", "10"]).arg(std::env::current_exe()?).args(line.arguments(&Ends { left: *left, right: *right }));
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let said = child.stdout.take().map(BufReader::new);
        self.line = Some(child);
        let ready = said.and_then(|said| said.lines().next()).transpose()?;
        if ready.is_some() { Ok(()) } else { Err(Failure::new("the line did not come up")) }
    }

    fn make_switch(&mut self, machines: usize, mbit: u32) -> Result {
        let switch = self.namespace("sw")?;
        shell(&format!("ip -n {switch} link add switch type bridge\nip -n {switch} link set dev switch up"))?;
        for number in 1..=machines {
            let end = self.namespace(&format!("s{number}"))?;
            let ip = format!("10.79.0.{number}");
            shell(&format!(
                "ip link add port netns {end} type veth peer name v{number} netns {switch}
                ip -n {switch} link set dev v{number} master switch up
                ip -n {end} address add {ip}/24 dev port
                nsenter --net=/run/netns/{end} ethtool -K port tso off gso off >&2
                ip -n {end} link set dev port up
                tc -n {end} qdisc add dev port root tbf rate {mbit}mbit burst 64kb latency 50ms"
            ))?;
            self.places.push(Place { namespace: Some(end), ip, device: "port".to_owned() });
        }
        Ok(())
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        if let Some(line) = &mut self.line {
            let _ = line.kill(); // it may have ended
            let _ = line.wait();
        }
        for namespace in &self.namespaces {
            let _ = shell(&format!("ip netns delete {namespace}")); // what is left is seen by `ip netns`
        }
    }
}

impl Place {
    /// A program on this machine.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let Some(namespace) = &self.namespace else { return Command::new(program) };
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{namespace}")).arg("--").arg(program);
        command
    }

    /// Bytes that the machine has received so far, headers of packets with them; `None` where others receive too.
    pub(crate) fn received(&self) -> Option<u64> {
        self.namespace.as_ref()?;
        let output = self.command("cat").arg("/proc/net/dev").output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = text.lines().find_map(|line| line.trim().strip_prefix(&format!("{}:", self.device)))?;
        line.split_whitespace().next()?.parse().ok()
    }
}

/// Removes the namespaces of benchmarks that were killed.
fn remove_left() {
    for entry in std::fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(rest) = name.strip_prefix(PREFIX) else { continue };
        let owner: String = rest.chars().take_while(char::is_ascii_digit).collect();
        if !owner.is_empty() && !Path::new("/proc").join(owner).exists() {
            let _ = shell(&format!("ip netns delete {name}")); // what is left is seen by `ip netns`
        }
    }
}

/// Whether namespaces can be made.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Runs lines of shell, each of which must succeed.
fn shell(script: &str) -> Result {
    let output = Command::new("sh").args(["-ec", script]).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(Failure::new(format!("`{script}` failed: {}", String::from_utf8_lossy(&output.stderr))))
}
