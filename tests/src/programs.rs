//! [`Programs`]: where `potluck` and `potluck-tracker` are.
//!
//! A test must run the programs of the source tree that it was built from, so they are built first, once a process, by
//! the same cargo with the same profile and target folder. That costs a fraction of a second when nothing has changed.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

use crate::failure::{Failure, Result};

/// Names a folder that holds both programs; nothing is built then.
const FOLDER_VARIABLE: &str = "POTLUCK_BIN";

/// The programs that users run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Programs {
    /// `potluck`.
    pub node: PathBuf,
    /// `potluck-tracker`.
    pub tracker: PathBuf,
}

impl Programs {
    /// Finds the programs, building them where they are out of date. Later calls return what the first one found.
    ///
    /// # Errors
    /// When they cannot be built, with what the compiler said.
    pub fn get() -> Result<&'static Self> {
        static FOUND: OnceLock<Result<Programs, String>> = OnceLock::new();
        let found = FOUND.get_or_init(|| Self::find().map_err(|failure| failure.to_string()));
        found.as_ref().map_err(|message| Failure::new(message.clone()))
    }

    fn find() -> Result<Self> {
        match std::env::var_os(FOLDER_VARIABLE) {
            Some(folder) => Self::in_folder(Path::new(&folder)),
            None => Self::build(),
        }
    }

    fn in_folder(folder: &Path) -> Result<Self> {
        let programs = Self { node: folder.join("potluck"), tracker: folder.join("potluck-tracker") };
        for program in [&programs.node, &programs.tracker] {
            if !program.is_file() {
                return Err(Failure::new(format!("{FOLDER_VARIABLE} is set, but there is no {}", program.display())));
            }
        }
        Ok(programs)
    }

    fn build() -> Result<Self> {
        let (target, profile) = build_folder(&std::env::current_exe()?);
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
        cargo.args(["build", "--quiet", "--bins", "-p", "potluck-node", "-p", "potluck-rendezvous"]);
        cargo.args(["--message-format=json-render-diagnostics", "--profile", &profile]);
        std::env::vars_os().map(|(name, _)| name).filter(|name| is_of_the_outer_run(&name.to_string_lossy())).for_each(|name| {
            cargo.env_remove(name);
        });
        if let Some(target) = target {
            cargo.arg("--target-dir").arg(target);
        }
        let output = cargo.current_dir(workspace()).stderr(Stdio::inherit()).output()?;
        if !output.status.success() {
            return Err(Failure::new(format!("`{cargo:?}` failed; its errors are above")));
        }
        let messages = String::from_utf8_lossy(&output.stdout);
        let executable = |name: &str| {
            let mut messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let artifact = messages.find(|message| message["target"]["name"] == name && message["executable"].is_string());
            let path = artifact.and_then(|artifact| artifact["executable"].as_str().map(PathBuf::from));
            path.ok_or_else(|| Failure::new(format!("cargo built no program `{name}`")))
        };
        Ok(Self { node: executable("potluck")?, tracker: executable("potluck-tracker")? })
    }
}

/// Whether cargo sets a variable for a program that it runs, about that program's package. A build script that looks at one of them, as ring's
/// does, would be run anew inside of `cargo run`, and then again outside of it: and with it everything that encrypts would be compiled anew.
fn is_of_the_outer_run(variable: &str) -> bool {
    let prefixes = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"];
    prefixes.iter().any(|prefix| variable.starts_with(prefix))
        || ["CARGO_CRATE_NAME", "CARGO_PRIMARY_PACKAGE", "OUT_DIR"].contains(&variable)
}

/// The root of the workspace.
#[must_use]
pub fn workspace() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().map_or_else(|| here.clone(), Path::to_owned)
}

/// Where cargo put a program, told from the program's own path: `TARGET/PROFILE/[deps/]PROGRAM`. The folder of the
/// profile `dev` is called `debug`. `None` when the program lies elsewhere: cargo's own rules decide then.
fn build_folder(program: &Path) -> (Option<PathBuf>, String) {
    let folder = program.parent().map(|folder| if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder });
    let name = folder.and_then(Path::file_name).and_then(|name| name.to_str());
    let target = folder.and_then(Path::parent);
    match (target, name) {
        (Some(target), Some(name)) if target.join("CACHEDIR.TAG").is_file() => {
            (Some(target.to_owned()), if name == "debug" { "dev" } else { name }.to_owned())
        }
        _ => (None, "dev".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_and_the_target_folder_are_told_from_the_path_of_the_program() {
        let dir = tempfile::tempdir().unwrap();
        let target = Some(dir.path().to_owned());
        std::fs::write(dir.path().join("CACHEDIR.TAG"), "").unwrap();
        assert_eq!(build_folder(&dir.path().join("debug/deps/x-1")), (target.clone(), "dev".to_owned()));
        assert_eq!(build_folder(&dir.path().join("release/demo")), (target, "release".to_owned()));
        assert_eq!(build_folder(Path::new("/usr/bin/demo")), (None, "dev".to_owned()));
    }

    #[test]
    fn a_folder_without_the_programs_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let refused = Programs::in_folder(dir.path()).unwrap_err();
        assert!(refused.message().contains("there is no"), "{refused}");
    }

    #[test]
    fn what_cargo_tells_of_the_program_that_runs_is_not_told_to_the_cargo_that_it_starts() {
        for told in ["CARGO_PKG_NAME", "CARGO_MANIFEST_DIR", "CARGO_BIN_EXE_demo", "CARGO_CRATE_NAME", "OUT_DIR"] {
            assert!(is_of_the_outer_run(told), "{told}");
        }
        for kept in ["CARGO", "CARGO_HOME", "CARGO_TARGET_DIR", "CARGO_INCREMENTAL", "RUSTFLAGS", "PATH"] {
            assert!(!is_of_the_outer_run(kept), "{kept}");
        }
    }
}
