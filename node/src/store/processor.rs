//! What the kernel says of the machine.

/// The kernel's description of its processors, a paragraph each; `None` where there is none.
pub(crate) fn processors() -> Option<String> {
    std::fs::read_to_string("/proc/cpuinfo").ok()
}
