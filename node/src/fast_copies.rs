//! Has glibc copy memory the fast way on processors of AMD.
//!
//! On Zen 3 and later `rep movsb`, which glibc before 2.40 uses there for every copy of more than a few KiB, takes fifteen
//! times as long when the target lies 1 to 15 bytes further into its page than the source (glibc bug 30994). Just
//! that is what Noise and yamux do with every frame, behind headers of 2 and 12 bytes: it was 40 % of a transfer's processor
//! time. glibc reads how it should copy from the environment, before `main`; so the program is started once more, with
//! the one variable set, in the same process. Nothing happens on other processors and systems, or when the variable says
//! something about it already.

use std::ffi::{OsStr, OsString};

/// What glibc reads before a program starts.
const VARIABLE: &str = "GLIBC_TUNABLES";
/// From how many bytes on `rep movsb` is used.
const TUNABLE: &str = "glibc.cpu.x86_rep_movsb_threshold";
/// More bytes than are ever copied at once (1 GiB): never.
const NEVER: &str = "1073741824";

/// Starts the program once more in this process if its copies would be slow. To be called first of all; does nothing when
/// that is not needed, or fails.
pub fn ensure() {
    #[cfg(all(target_os = "linux", target_env = "gnu", target_arch = "x86_64"))]
    if let Some(value) = wanted(std::env::var_os(VARIABLE).as_deref(), crate::store::processors().as_deref()) {
        // Returns only when it fails; then the program goes on as it is, and copies slowly.
        let _ = crate::again::start_again(Some((VARIABLE, &value)));
    }
}

/// What the variable should be, given what it is and what the processor says; `None` when it is right as it is.
fn wanted(now: Option<&OsStr>, processor: Option<&str>) -> Option<OsString> {
    let processor = processor?.split("\n\n").next()?;
    let says = |key: &str, word: &str| {
        let mut lines = processor.lines().filter(|line| line.starts_with(key));
        lines.any(|line| line.split_whitespace().any(|found| found == word))
    };
    if !says("vendor_id", "AuthenticAMD") || !(says("flags", "fsrm") || says("flags", "erms")) {
        return None;
    }
    let now = now.unwrap_or_default();
    if now.to_string_lossy().contains(TUNABLE) {
        return None;
    }
    let mut value = now.to_owned();
    if !value.is_empty() {
        value.push(":");
    }
    value.push(format!("{TUNABLE}={NEVER}"));
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZEN: &str = "processor\t: 0\nvendor_id\t: AuthenticAMD\nflags\t\t: fpu sse2 erms fsrm\n\nprocessor\t: 1\n";

    #[test]
    fn processors_with_slow_copies_get_the_tunable_once() {
        let value = wanted(None, Some(ZEN)).unwrap();
        assert_eq!(value, "glibc.cpu.x86_rep_movsb_threshold=1073741824");
        assert_eq!(wanted(Some(&value), Some(ZEN)), None, "or the program would start for ever");
        let kept = wanted(Some(OsStr::new("glibc.malloc.check=3")), Some(ZEN)).unwrap();
        assert_eq!(kept, "glibc.malloc.check=3:glibc.cpu.x86_rep_movsb_threshold=1073741824");
    }

    #[test]
    fn others_are_left_alone() {
        let intel = ZEN.replace("AuthenticAMD", "GenuineIntel");
        let old = ZEN.replace(" erms fsrm", "");
        for processor in [None, Some(""), Some(intel.as_str()), Some(old.as_str())] {
            assert_eq!(wanted(None, processor), None);
        }
    }
}
