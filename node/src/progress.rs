//! [`Progress`]: a bar for each file or folder that is on its way, on stderr, and what is said when all is done.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use potluck_common::escape::Escaped;

use crate::console::Console;
use crate::human;
use crate::output::shorten;
use crate::types::TransferLine;

/// Bars at a time: what fits on a screen. More downloads go on without one.
const MAX_BARS: usize = 16;
/// Columns of a name beside its bar.
const NAME_COLUMNS: usize = 28;
/// Draws a second: as many as the node tells of progress.
const DRAW_HZ: u8 = 4;

/// What a command has fetched so far.
#[derive(Debug)]
pub(crate) struct Progress {
    console: Console,
    started: Instant,
    bars: Option<Bars>,
    files: u64,
    fetched: u64,
    sources: u32,
}

#[derive(Debug)]
struct Bars {
    all: MultiProgress,
    by_download: HashMap<String, ProgressBar>,
}

impl Progress {
    /// Starts to follow downloads; with `bars`, draws them on stderr.
    pub(crate) fn start(console: &Console, bars: bool, now: Instant) -> Self {
        let bars = bars.then(|| Bars {
            all: MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(DRAW_HZ)),
            by_download: HashMap::new(),
        });
        console.set_bars(bars.as_ref().map(|bars| bars.all.clone()));
        Self { console: console.clone(), started: now, bars, files: 0, fetched: 0, sources: 0 }
    }

    /// Takes what happened to a download.
    pub(crate) fn handle(&mut self, line: &TransferLine) {
        match line {
            TransferLine::Progress { content_id, name, bytes, total, .. } => {
                let key = content_id.as_ref().unwrap_or(name);
                if let Some(bar) = self.bars.as_mut().and_then(|bars| bars.bar(key, name)) {
                    bar.set_length(*total);
                    bar.set_position(*bytes);
                    bar.set_message(figures(line));
                }
            }
            TransferLine::Done { content_id, fetched, sources, already_there, .. } => {
                self.remove(content_id);
                if !already_there {
                    self.files += 1;
                    self.fetched += fetched;
                    self.sources = self.sources.max(*sources);
                }
            }
            TransferLine::Failed { name, content_id, .. } => self.remove(content_id.as_ref().unwrap_or(name)),
        }
    }

    /// Takes the bars away, and sums up what was fetched; `None` when that was nothing.
    pub(crate) fn finish(mut self, now: Instant) -> Option<String> {
        self.clear();
        (self.files > 0).then(|| summary(self.files, self.fetched, self.sources, now.duration_since(self.started)))
    }

    fn remove(&mut self, key: &str) {
        if let Some(bars) = &mut self.bars
            && let Some(bar) = bars.by_download.remove(key)
        {
            bars.all.remove(&bar);
        }
    }

    fn clear(&mut self) {
        if let Some(bars) = self.bars.take() {
            let _ = bars.all.clear(); // a terminal that is gone needs no clearing
            self.console.set_bars(None);
        }
    }
}

impl Drop for Progress {
    /// An interrupted command leaves no bar behind.
    fn drop(&mut self) {
        self.clear();
    }
}

impl Bars {
    /// The bar of a download; `None` when there are enough.
    fn bar(&mut self, key: &str, name: &str) -> Option<&ProgressBar> {
        if !self.by_download.contains_key(key) {
            if self.by_download.len() >= MAX_BARS {
                return None;
            }
            let style = ProgressStyle::with_template("{prefix}  {percent:>3} %  {wide_bar}  {msg}").ok()?;
            let bar = ProgressBar::new(0).with_style(style.progress_chars("█▌░"));
            let bar = self.all.add(bar.with_prefix(format!("{:NAME_COLUMNS$}", shorten(&Escaped(name).to_string(), NAME_COLUMNS))));
            self.by_download.insert(key.to_owned(), bar);
        }
        self.by_download.get(key)
    }
}

/// What stands behind the bar: `1.4 GiB/2.0 GiB  98 MiB/s  eta 6 s  4 sources`.
fn figures(line: &TransferLine) -> String {
    let TransferLine::Progress { bytes, total, rate, sources, files_done, files, .. } = line else { return String::new() };
    let mut parts = vec![format!("{}/{}", human::size(*bytes), human::size(*total))];
    if *files > 1 {
        parts.push(format!("{}/{}", human::count(*files_done), human::some(*files, "file")));
    }
    match total.saturating_sub(*bytes).checked_div(*rate) {
        _ if *sources == 0 && bytes < total => parts.push("waiting for a source".to_owned()),
        Some(seconds) => {
            parts.extend([human::rate(*rate), format!("eta {}", human::duration(Duration::from_secs(seconds)))]);
            parts.push(human::some(u64::from(*sources), "source"));
        }
        None => parts.push(human::some(u64::from(*sources), "source")),
    }
    parts.join("  ")
}

fn summary(files: u64, fetched: u64, sources: u32, took: Duration) -> String {
    let (files, bytes) = (human::some(files, "file"), human::size(fetched));
    let rate = (fetched as f64 / took.as_secs_f64().max(0.001)) as u64; // a float as u64 saturates
    let from = match sources {
        0 => String::new(),
        1 => " from 1 source".to_owned(),
        many => format!(" from up to {many} sources"),
    };
    format!("{files} done: {bytes} fetched in {} ({}){from}, all verified", human::duration(took), human::rate(rate))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::console::recorded;

    fn progress(bytes: u64, rate: u64, sources: u32, files: u64) -> TransferLine {
        TransferLine::Progress {
            content_id: Some("c".into()),
            name: "live\u{1b}[2J.flac".into(),
            bytes,
            total: 2 << 30,
            rate,
            sources,
            files_done: 0,
            files,
        }
    }

    #[test]
    fn the_figures_tell_how_far_how_fast_how_long_and_from_how_many() {
        assert_eq!(figures(&progress(1 << 30, 100 << 20, 4, 1)), "1.0 GiB/2.0 GiB  100 MiB/s  eta 10 s  4 sources");
        assert_eq!(figures(&progress(1 << 30, 100 << 20, 1, 20)), "1.0 GiB/2.0 GiB  0/20 files  100 MiB/s  eta 10 s  1 source");
        assert_eq!(figures(&progress(0, 0, 0, 1)), "0 B/2.0 GiB  waiting for a source");
        assert_eq!(figures(&progress(0, 0, 2, 1)), "0 B/2.0 GiB  2 sources");
    }

    #[test]
    fn the_end_sums_up_what_was_fetched_and_not_what_was_there() {
        let (console, ..) = recorded::console();
        let start = clock::now();
        let mut all = Progress::start(&console, false, start);
        all.handle(&progress(1, 1, 1, 1));
        let done = |fetched, sources, already_there| TransferLine::Done {
            path: "/d/f".into(),
            content_id: "c".into(),
            bytes: 100 << 20,
            fetched,
            sources,
            already_there,
            kept: None,
        };
        all.handle(&done(100 << 20, 3, false));
        all.handle(&done(0, 0, true));
        let told = all.finish(start + Duration::from_secs(10)).unwrap();
        assert_eq!(told, "1 file done: 100 MiB fetched in 10 s (10 MiB/s) from up to 3 sources, all verified");
        assert_eq!(Progress::start(&console, false, start).finish(start), None);
    }

    #[test]
    fn no_more_bars_are_made_than_fit_and_their_names_are_escaped() {
        let mut bars = Bars { all: MultiProgress::with_draw_target(ProgressDrawTarget::hidden()), by_download: HashMap::new() };
        for number in 0..100 {
            let bar = bars.bar(&number.to_string(), "a\u{1b}[2J\n\u{202e}b").cloned();
            assert_eq!(bar.is_some(), number < MAX_BARS);
            assert!(bar.is_none_or(|bar| !bar.prefix().chars().any(char::is_control)));
        }
    }
}
