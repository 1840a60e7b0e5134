//! libFuzzer's way into the targets: the name of one in the environment (`POTLUCK_FUZZ`), libFuzzer's own options as arguments.
#![no_main]

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use potluck_fuzz::{Target, target};
use rustix::time::{ClockId, clock_gettime};

/// An input that takes more of a core than this is a finding. Of a core, not of the day: the machine may be busy.
const MOST_TIME: Duration = Duration::from_millis(100);

fuzz_target!(|input: &[u8]| {
    static CHOSEN: OnceLock<Option<Target>> = OnceLock::new();
    static SLOWEST: AtomicU64 = AtomicU64::new(1000);
    let chosen = CHOSEN.get_or_init(|| target(&std::env::var("POTLUCK_FUZZ").ok()?));
    let Some(run) = chosen else {
        eprintln!("POTLUCK_FUZZ must name a target: see tests/fuzz/src/lib.rs");
        std::process::exit(2);
    };
    let start = time_used();
    run(input);
    let taken = time_used().saturating_sub(start);
    let micros = taken.as_micros() as u64;
    if SLOWEST.fetch_max(micros, Ordering::Relaxed) < micros {
        eprintln!("slowest: {micros} us for {} bytes", input.len());
    }
    assert!(taken <= MOST_TIME, "{taken:?} for {} bytes", input.len());
});

/// What this thread has had of a core.
fn time_used() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}
