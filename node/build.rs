//! Has the addresses that the system fills in at every start written in their short form, where the system knows it: a megabyte less to
//! read, which an idle node would keep in memory.
#![allow(clippy::print_stdout, reason = "how a build script speaks to cargo")]

use std::env::var;
use std::process::Command;

/// The first glibc that knows the short form (`DT_RELR`).
const LEAST: (u32, u32) = (2, 36);

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // A program runs on systems like the one that it was built on, and newer ones.
    let is_for_here = var("HOST") == var("TARGET") && var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "linux");
    if is_for_here && glibc().is_some_and(|version| version >= LEAST) {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// The version of this system's C library, if that is glibc.
fn glibc() -> Option<(u32, u32)> {
    let said = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?.stdout;
    let (major, minor) = str::from_utf8(&said).ok()?.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
}
