//! Networks of their own, in which public addresses are this machine's: it takes no rights to make one, but not every system allows it.

use std::path::Path;
use std::process::Command;

use crate::failure::{Failure, Result};
use crate::programs::Programs;

/// Says that the test already runs in the network of its own.
const INSIDE: &str = "POTLUCK_TEST_INSIDE";

/// Whether this is the network of a test, to play in. If not, the test of this name in this module is played in one, where these addresses,
/// each with the length of its prefix, are the machine's; or, where networks cannot be made, says that it is skipped.
///
/// # Errors
/// When the test fails inside, with all it said.
#[track_caller]
pub fn is_inside(module: &str, test: &str, addresses: &[&str]) -> Result<bool> {
    if std::env::var_os(INSIDE).is_some() {
        return Ok(true);
    }
    let addresses: String = addresses.iter().map(|address| format!("ip address add {address} dev lo && ")).collect();
    let network = |program: &Path| {
        let mut command = Command::new("unshare");
        let become_it = format!("ip link set lo up && {addresses}exec \"$0\" \"$@\"");
        command.args(["--user", "--map-root-user", "--net", "sh", "-c", &become_it]).arg(program);
        command
    };
    if !network("true".as_ref()).output().is_ok_and(|output| output.status.success()) {
        println!("skipped: this machine does not let a test have a network of its own (`unshare --user --net`)");
        return Ok(false);
    }
    let name = format!("{}::{test}", module.rsplit("::").next().unwrap_or_default());
    let mut again = network(&std::env::current_exe()?);
    again.args(["--exact", &name, "--nocapture"]).env(INSIDE, "1");
    again.env("POTLUCK_BIN", Programs::get()?.node.parent().ok_or_else(|| Failure::new("a program without a folder"))?);
    let output = again.output()?;
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() && said.contains("1 passed") { Ok(false) } else { Err(Failure::new(said)) }
}
