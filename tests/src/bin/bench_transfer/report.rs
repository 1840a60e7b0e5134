//! Results: one JSON object a run, and at the end a table of medians, and of ratios by the byte.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::Command;

use potluck_tests::programs::workspace;
use serde_json::{Value, json};

use super::cases::{CASES, Case, Stock};

/// How our own results are called.
pub(crate) const OURS: &str = "potluck";

/// What one run cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    pub(crate) seconds: f64,
    pub(crate) sender_cpu_s: f64,
    pub(crate) receiver_cpu_s: f64,
    /// The most memory of all processes of that side together.
    pub(crate) sender_peak_bytes: u64,
    pub(crate) receiver_peak_bytes: u64,
    /// Their memory before, where they ran before.
    pub(crate) sender_idle_bytes: Option<u64>,
    pub(crate) receiver_idle_bytes: Option<u64>,
    /// Bytes that the first receiver's machine received, headers with them.
    pub(crate) wire_bytes: Option<u64>,
}

/// All results of this run of the benchmark.
#[derive(Debug, Default)]
pub(crate) struct Results {
    lines: Vec<Value>,
}

impl Results {
    /// Takes a result and gives back the line to print.
    pub(crate) fn add(&mut self, case: &Case, stock: &Stock, who: &str, measured: &Measured, about: &Value) -> &Value {
        let moved = stock.bytes * case.sinks as u64;
        let mut line = json!({
            "case": case.name,
            "who": who,
            "files": stock.contents.len(),
            "bytes": stock.bytes,
            "seconds": rounded(measured.seconds),
            "mb_per_s": rounded(moved as f64 / 1e6 / measured.seconds),
            "sender_cpu_s": rounded(measured.sender_cpu_s),
            "receiver_cpu_s": rounded(measured.receiver_cpu_s),
            "cpu_s_per_gb": (moved > 1 << 20).then(|| rounded((measured.sender_cpu_s + measured.receiver_cpu_s) / (moved as f64 / 1e9))),
            "sender_peak_bytes": measured.sender_peak_bytes,
            "receiver_peak_bytes": measured.receiver_peak_bytes,
            "sender_idle_bytes": measured.sender_idle_bytes,
            "receiver_idle_bytes": measured.receiver_idle_bytes,
            "wire_bytes": measured.wire_bytes,
            "fetched_twice": measured.wire_bytes.filter(|_| case.is_cut).map(|wire| wire.saturating_sub(stock.bytes)),
        });
        if let (Some(line), Some(about)) = (line.as_object_mut(), about.as_object()) {
            line.extend(about.clone());
        }
        self.lines.push(line);
        self.lines.last().unwrap_or(&Value::Null)
    }

    /// Medians of every case, and how many times as long others took.
    pub(crate) fn table(&self) -> String {
        let mut table = String::from(
            "| case | who | runs | seconds (least–most) | MB/s | ours is | CPU s/GB | sender MiB | receiver MiB | twice |\n\
             |---|---|---|---|---|---|---|---|---|---|\n",
        );
        for case in CASES {
            let mut by_who: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
            for line in self.lines.iter().filter(|line| line["case"] == case.name) {
                by_who.entry(line["who"].as_str().unwrap_or_default()).or_default().push(line);
            }
            let ours = by_who.get(OURS).and_then(|lines| Some(median(lines, "seconds")? / median(lines, "bytes")?));
            let mut rows: Vec<_> = by_who.iter().collect();
            rows.sort_by(|one, other| median(one.1, "seconds").unwrap_or(0.0).total_cmp(&median(other.1, "seconds").unwrap_or(0.0)));
            for (who, lines) in rows {
                row(&mut table, case, who, lines, ours);
            }
        }
        table
    }
}

fn row(table: &mut String, case: &Case, who: &str, lines: &[&Value], ours: Option<f64>) {
    let value = |key: &str| median(lines, key);
    let seconds = value("seconds").unwrap_or(0.0);
    let all = || lines.iter().filter_map(|line| line["seconds"].as_f64());
    let (least, most) = (all().fold(f64::MAX, f64::min), all().fold(0.0, f64::max));
    let mib = |key: &str| value(key).map_or_else(|| "–".to_owned(), |bytes| format!("{:.0}", bytes / f64::from(1 << 20)));
    let rate = value("mb_per_s").filter(|rate| *rate >= 0.1).map_or_else(|| "–".to_owned(), |rate| format!("{rate:.1}"));
    let cpu = value("cpu_s_per_gb").map_or_else(|| "–".to_owned(), |cpu| format!("{cpu:.2}"));
    let bytes = value("bytes").unwrap_or(0.0);
    let ratio = ours.filter(|_| who != OURS).map_or_else(|| "–".to_owned(), |ours| format!("× {:.2}", seconds / bytes / ours));
    let twice = value("fetched_twice").map_or_else(|| "–".to_owned(), |twice| format!("{:.1} %", 100.0 * twice / bytes));
    let _ = writeln!(
        table,
        "| {} | {who} | {} | {seconds:.3} ({least:.3}–{most:.3}) | {rate} | {ratio} | {cpu} | {} | {} | {twice} |",
        case.name,
        lines.len(),
        mib("sender_peak_bytes"),
        mib("receiver_peak_bytes"),
    ); // writing to a string cannot fail
}

/// The middle one of the values of a key, where there are any.
fn median(lines: &[&Value], key: &str) -> Option<f64> {
    let mut values: Vec<f64> = lines.iter().filter_map(|line| line[key].as_f64()).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// Which machine and which source this is.
pub(crate) fn about() -> Value {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")).map(|rest| rest.trim_start_matches([' ', '\t', ':']));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    json!({
        "machine": { "cpu": model, "cores": cores, "kernel": first_line(Command::new("uname").arg("-r")) },
        "commit": first_line(Command::new("git").args(["describe", "--always", "--dirty"]).current_dir(workspace())),
        "date": first_line(Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%SZ"])),
    })
}

/// What a small program says; `None` where it is not there.
fn first_line(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    String::from_utf8_lossy(&output.stdout).lines().next().map(str::to_owned)
}

/// Three digits after the point are more than a measurement tells.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_results_that_have_a_value_is_taken() {
        let lines = [json!({ "x": 3 }), json!({ "x": null }), json!({ "x": 1.5 }), json!({ "x": 9 })];
        assert_eq!(median(&lines.iter().collect::<Vec<_>>(), "x"), Some(3.0));
        assert_eq!(median(&lines.iter().collect::<Vec<_>>(), "y"), None);
    }
}
