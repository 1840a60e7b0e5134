//! Has the allocator keep the memory of a node together.
//!
//! jemalloc deals threads out to four arenas a core, each of which has pages that are used in part and tables of its own. The threads of a
//! node are few, and what they move lies in buffers that are used again, so one arena is enough: an idle node of a hundred thousand files
//! takes up to a MiB less. jemalloc reads how many there should be from the environment, before `main`; so the node is started once more,
//! with the one variable set, in the same process.

use std::ffi::OsStr;

/// What this program's jemalloc reads before it starts.
const VARIABLE: &str = "_RJEM_MALLOC_CONF";
const ONE_ARENA: &str = "narenas:1";

/// Starts the program once more in this process, unless the variable says something already. Does nothing when that fails.
pub fn ensure() {
    if is_wanted(std::env::var_os(VARIABLE).as_deref()) {
        // Returns only when it fails; then the program goes on as it is, and a little larger.
        let _ = crate::again::start_again(Some((VARIABLE, OsStr::new(ONE_ARENA))));
    }
}

/// Whether the variable is to be set, given what it is: not twice, and not over what somebody chose.
fn is_wanted(now: Option<&OsStr>) -> bool {
    now.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_is_set_once_and_a_choice_is_kept() {
        assert!(is_wanted(None));
        for set in [ONE_ARENA, "narenas:8", ""] {
            assert!(!is_wanted(Some(OsStr::new(set))), "or the program would start for ever");
        }
    }
}
