//! Starts the program once more, in the same process: with the same arguments, terminal and process id, so that neither a
//! person nor a service manager notices more than a short pause.

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Starts the program once more, with this changed in its environment. What was opened is closed by that. Returns only when
/// it fails: why, and everything is as it was.
pub fn start_again(changed: Option<(&str, &OsStr)>) -> io::Error {
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    match std::env::current_exe() {
        Ok(program) => Command::new(program).arg0(name).args(arguments).envs(changed).exec(),
        Err(error) => error,
    }
}
