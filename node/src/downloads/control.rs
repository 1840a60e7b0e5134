//! What a user does to downloads that were begun: pauses them, goes on, tries again, gives them up.

use std::sync::Arc;

use potluck_common::transport::peer_of;

use super::Wish;
use super::engine::Engine;
use super::file::{File, Phase};
use crate::clock::now;
use crate::core::scheduler::{FileNo, Priority};
use crate::error::Failure;
use crate::store::Choice;
use crate::types::{DownloadAction, DownloadLine};

/// Failed downloads that are kept to be tried again; beyond, the oldest is forgotten.
const MAX_FAILED: usize = 1000;

/// A download that failed, as it is listed, with what it takes to try it again.
pub(super) struct Failed {
    pub(super) line: DownloadLine,
    wish: Wish,
    priority: Priority,
}

/// What a user calls some downloads.
enum Which {
    All,
    /// By number.
    Id(u64),
    /// By the folder that they were asked for with: `NAME/`, when a number or a file has the same name.
    Folder(String),
    /// By content id, by name, or by folder.
    Named(String),
}

impl Which {
    fn parse(text: &str) -> Self {
        match (text.strip_suffix('/'), text.parse()) {
            _ if text == "all" => Self::All,
            (Some(folder), _) => Self::Folder(folder.to_owned()),
            (None, Ok(id)) => Self::Id(id),
            (None, Err(_)) => Self::Named(text.to_owned()),
        }
    }

    fn fits(&self, line: &DownloadLine) -> bool {
        match self {
            Self::All => true,
            Self::Id(id) => line.id == *id,
            Self::Folder(name) => line.folder.as_ref() == Some(name),
            Self::Named(name) => line.content_id == *name || line.name == *name || line.folder.as_ref() == Some(name),
        }
    }
}

impl Engine {
    /// Does something to the downloads that are named; tells those to which it was done, as they are now.
    pub(super) fn control(&mut self, action: DownloadAction, which: &[String]) -> Vec<DownloadLine> {
        let which: Vec<Which> = which.iter().map(|text| Which::parse(text)).collect();
        let is_meant = |line: &DownloadLine| which.iter().any(|which| which.fits(line));
        let open: Vec<FileNo> = self.files.iter().filter(|(no, file)| is_meant(&self.line(**no, file))).map(|(no, _)| *no).collect();
        let mut lines: Vec<DownloadLine> = match action {
            DownloadAction::Cancel => open.into_iter().filter_map(|no| self.cancel(no)).collect(),
            action => {
                let changed: Vec<FileNo> = open.into_iter().filter(|no| self.control_one(action, *no).is_some()).collect();
                self.keep_choices(&changed);
                changed.iter().filter_map(|no| Some(self.line(*no, self.files.get(no)?))).collect()
            }
        };
        let failed: Vec<u64> = self.failed.iter().filter(|failed| is_meant(&failed.line)).map(|failed| failed.line.id).collect();
        match action {
            DownloadAction::Retry => lines.extend(failed.into_iter().filter_map(|id| self.try_again(id))),
            DownloadAction::Cancel => {
                lines.extend(failed.into_iter().filter_map(|id| self.forget_failed(id)).map(|failed| cancelled(failed.line)));
                let (gone, kept) = std::mem::take(&mut self.done).into_iter().partition(|line| is_meant(line));
                self.done = kept;
                lines.extend::<Vec<_>>(gone);
            }
            DownloadAction::Pause | DownloadAction::Resume | DownloadAction::High | DownloadAction::Normal | DownloadAction::Low => {}
        }
        lines
    }

    /// The same for one file; `None` where it makes no difference.
    fn control_one(&mut self, action: DownloadAction, no: FileNo) -> Option<()> {
        match action {
            DownloadAction::Pause => self.pause(no),
            DownloadAction::Resume => self.resume(no),
            DownloadAction::Retry => self.hasten(no),
            DownloadAction::Cancel => self.cancel(no).map(drop),
            DownloadAction::High => self.prioritise(no, Priority::High),
            DownloadAction::Normal => self.prioritise(no, Priority::Normal),
            DownloadAction::Low => self.prioritise(no, Priority::Low),
        }
    }

    fn pause(&mut self, no: FileNo) -> Option<()> {
        let file = self.files.get_mut(&no).filter(|file| !file.is_settled() && file.phase != Phase::Paused)?;
        file.phase = Phase::Paused;
        self.scheduler.pause(no);
        self.save(no);
        Some(())
    }

    fn prioritise(&mut self, no: FileNo, priority: Priority) -> Option<()> {
        let file = self.files.get_mut(&no).filter(|file| !file.is_settled())?;
        file.priority = priority;
        self.scheduler.prioritise(no, priority);
        Some(())
    }

    /// Goes on with a file; `None` when it was not paused.
    pub(super) fn resume(&mut self, no: FileNo) -> Option<()> {
        let file = self.files.get_mut(&no).filter(|file| file.phase == Phase::Paused)?;
        file.phase = Phase::Fetching;
        self.scheduler.resume(no);
        self.wanting.insert(no);
        Some(())
    }

    /// Tries at once what would be tried later: a disk that was full, sources that could not be reached.
    fn hasten(&mut self, no: FileNo) -> Option<()> {
        if self.resume(no).is_some() {
            return Some(());
        }
        let file = self.files.get_mut(&no).filter(|file| !file.is_settled())?;
        if let Phase::Waiting { until, .. } = &mut file.phase {
            *until = now();
        }
        self.wanting.insert(no);
        Some(())
    }

    /// Gives a file up. What was fetched of it is deleted: it is ours, and nobody else can use it.
    fn cancel(&mut self, no: FileNo) -> Option<DownloadLine> {
        let file = self.files.get(&no).filter(|file| !file.is_settled())?;
        let (line, shelf) = (self.line(no, file), Arc::clone(&file.shelf));
        self.scheduler.remove(no);
        self.settle_failed(no, Failure::Interrupted, "it was cancelled");
        self.forget_failed(line.id);
        tokio::task::spawn_blocking(move || {
            if let Some(Err(error)) = shelf.abandon().map(|part| part.discard()) {
                tracing::info!(%error, "what is left of a cancelled download stays");
            }
        });
        Some(cancelled(line))
    }

    /// Keeps a failed download to be listed and tried again.
    pub(super) fn keep_failed(&mut self, no: FileNo, file: &File, error: &str) {
        if self.failed.len() == MAX_FAILED {
            self.failed.remove(0);
        }
        let line = DownloadLine { state: "failed".to_owned(), rate: 0, error: Some(error.to_owned()), ..self.line(no, file) };
        let wish = Wish {
            content_id: file.shelf.content_id,
            size: file.size,
            target: file.shelf.target.clone(),
            folder: file.shelf.folder.clone(),
            mtime: file.mtime,
            on_conflict: file.shelf.on_conflict,
            sources: file.came_from.keys().filter_map(peer_of).collect(),
            purpose: file.shelf.purpose,
        };
        self.failed.push(Failed { line, wish, priority: file.priority });
    }

    fn forget_failed(&mut self, id: u64) -> Option<Failed> {
        let at = self.failed.iter().position(|failed| failed.line.id == id)?;
        Some(self.failed.remove(at))
    }

    fn try_again(&mut self, id: u64) -> Option<DownloadLine> {
        let Failed { wish, priority, .. } = self.forget_failed(id)?;
        let content_id = wish.content_id;
        drop(self.wish(vec![wish])); // nobody follows it
        let no = *self.by_content.get(&content_id)?.last()?;
        self.prioritise(no, priority);
        self.keep_choices(&[no]);
        self.files.get(&no).map(|file| self.line(no, file))
    }

    /// Remembers for the next run what the user chose for some downloads, all together: a folder may have a hundred thousand.
    pub(super) fn keep_choices(&self, files: &[FileNo]) {
        let choices: Vec<(u64, Choice)> = files.iter().filter_map(|no| self.files.get(no).map(|file| (file.id, file.choice()))).collect();
        if choices.is_empty() {
            return;
        }
        let state = Arc::clone(&self.setup.state);
        tokio::task::spawn_blocking(move || {
            if let Err(error) = state.set_download_choices(&choices) {
                tracing::warn!(%error, "it is not remembered which downloads are paused, and which come first");
            }
        });
    }
}

fn cancelled(line: DownloadLine) -> DownloadLine {
    DownloadLine { state: "cancelled".to_owned(), rate: 0, ..line }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(id: u64, name: &str, folder: Option<&str>) -> DownloadLine {
        DownloadLine {
            id,
            content_id: "ab".repeat(32),
            name: name.into(),
            folder: folder.map(Into::into),
            path: format!("/downloads/{name}"),
            bytes: 0,
            total: None,
            priority: crate::types::DownloadPriority::Normal,
            state: "fetching".into(),
            rate: 0,
            sources: Vec::new(),
            error: None,
        }
    }

    #[test]
    fn downloads_are_named_by_number_content_name_or_folder() {
        let one = line(12, "live.flac", Some("Kind of Blue"));
        for (text, fits) in [
            ("all", true),
            ("12", true),
            ("1", false),
            ("live.flac", true),
            ("Kind of Blue/", true),
            ("Kind of Blue", true),
            ("live.flac/", false),
            ("12/", false),
            ("Kind", false),
            (&"ab".repeat(32), true),
        ] {
            assert_eq!(Which::parse(text).fits(&one), fits, "{text}");
        }
    }
}
