//! The verbs of `share`, and opening the shares at the start.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::commands::Lines;
use crate::config::Config;
use crate::core::audience::{Audience, Guest};
use crate::error::{CommandError, Failure};
use crate::node::{Node, state_error};
use crate::shares::Shares;
use crate::store::{ShareDir, ShareError, ShareRecord};
use crate::types::{Item, ShareLine};

/// A share that is to be opened.
pub(crate) struct OpenedShare {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    /// `None`: it is away.
    pub(crate) dir: Option<ShareDir>,
    pub(crate) audience: Audience,
}

/// Takes shares into the table; tells their names.
pub(crate) fn take_in(shares: &Shares, folders: Vec<OpenedShare>) -> Vec<String> {
    let take = |OpenedShare { name, path, dir, audience }: OpenedShare| {
        shares.change(|table| table.add_share(&name, path, dir.map(Arc::new), audience));
        name
    };
    folders.into_iter().map(take).collect()
}

impl Node {
    /// Has shares listed.
    pub(crate) fn list_shares(&self, names: &[String]) {
        names.iter().for_each(|name| self.indexer().list(name));
    }

    /// Shares one more folder, now and after restarts.
    pub(crate) async fn share_add(&self, name: Option<String>, dir: PathBuf, guests: &[String], out: &Lines) -> Result<(), CommandError> {
        let guests = guests.iter().map(|guest| guest.parse::<Guest>()).collect::<Result<Vec<_>, _>>();
        let audience = Audience::new(guests.map_err(|error| CommandError::new(Failure::Usage, error.to_string()))?);
        let name = name.unwrap_or_else(|| ShareDir::default_name(&dir));
        if self.shares().lock().has_share(&name) {
            let message = format!("there is a share {name} already; choose another name with NAME={}", dir.display());
            return Err(CommandError::new(Failure::Usage, message));
        }
        let opened = ShareDir::open(&name, &dir).map_err(|error| share_error(&error))?;
        let record = ShareRecord { name: name.clone(), dir: dir.clone(), root: Some(opened.root()), audience: audience.clone() };
        self.state().put_share(&record).map_err(|error| state_error(&error))?;
        self.list_shares(&take_in(self.shares(), vec![OpenedShare { name: name.clone(), path: dir, dir: Some(opened), audience }]));
        let line = self.shares().lines().into_iter().find(|line| line.name == name);
        if let Some(line) = line {
            out.send(Item::Share(line)).await;
        }
        Ok(())
    }

    /// The shares as the database knows them: a short-lived node opens none, so it cannot tell what is in them.
    pub(crate) fn remembered_shares(&self) -> Result<Vec<ShareLine>, CommandError> {
        let line = |share: ShareRecord| ShareLine {
            name: share.name,
            dir: share.dir.display().to_string(),
            guests: share.audience.names(),
            state: "offline".to_owned(),
            files: 0,
            bytes: 0,
            hashed_bytes: 0,
            skipped: Vec::new(),
            skipped_count: 0,
        };
        Ok(self.state().shares().map_err(|error| state_error(&error))?.into_iter().map(line).collect())
    }

    /// Lists a share again, or all.
    pub(crate) async fn share_rescan(&self, name: Option<&str>, out: &Lines) -> Result<(), CommandError> {
        let known: Vec<String> = match name {
            Some(name) => self.shares().lock().share_named(name).into_iter().collect(),
            None => self.shares().lines().into_iter().map(|line| line.name).collect(),
        };
        if known.is_empty() {
            let what = name.map_or_else(|| "nothing is shared".to_owned(), |name| format!("no share is called {name}"));
            return Err(CommandError::new(Failure::NotFound, format!("{what}; `potluck share ls` lists the shares")));
        }
        known.iter().for_each(|name| self.indexer().list(name));
        for line in self.shares().lines().into_iter().filter(|line| known.contains(&line.name)) {
            out.send(Item::Share(line)).await;
        }
        Ok(())
    }

    /// Shares a folder no longer.
    pub(crate) async fn share_remove(&self, name: &str, out: &Lines) -> Result<(), CommandError> {
        let remembered = self.state().shares().map_err(|error| state_error(&error))?;
        let stored = remembered.into_iter().find(|share| share.name == name || share.dir.as_os_str() == name).map(|share| share.name);
        let open = self.shares().lock().share_named(name);
        let Some(known) = open.or(stored) else {
            return Err(CommandError::new(Failure::NotFound, format!("no share is called {name}; `potluck share ls` lists them")));
        };
        let line = self.shares().lines().into_iter().find(|line| line.name == known);
        self.state().remove_share(&known).map_err(|error| state_error(&error))?;
        self.shares().change(|table| table.close_share(&known));
        self.indexer().list(&known); // it notices that the share is no more, and no longer watches its folder
        if let Some(line) = line {
            out.send(Item::Share(ShareLine { state: "removed".to_owned(), ..line })).await;
        }
        Ok(())
    }
}

/// Opens the folders of the command line, which must be there, and those that are remembered, which may be away. Who they are for
/// is what was said last.
pub(crate) fn open_shares(config: &Config, remembered: &[ShareRecord]) -> Result<Vec<OpenedShare>, CommandError> {
    let mut all: Vec<OpenedShare> = Vec::new();
    for (name, dir) in &config.shares {
        let name = name.clone().unwrap_or_else(|| ShareDir::default_name(dir));
        if let Some(other) = all.iter().find(|known| known.name == name) {
            let message = format!(
                "{} and {} would both be shared as {name}; give one another name with --share NAME=DIR",
                other.path.display(),
                dir.display()
            );
            return Err(CommandError::new(Failure::Usage, message));
        }
        let opened = ShareDir::open(&name, dir).map_err(|error| share_error(&error))?;
        let known = remembered.iter().find(|share| share.name == name && is_same(&share.dir, dir));
        let audience = known.map(|share| share.audience.clone()).unwrap_or_default();
        all.push(OpenedShare { name, path: dir.clone(), dir: Some(opened), audience });
    }
    for share in remembered {
        if all.iter().any(|known| known.name == share.name) {
            continue;
        }
        let opened = ShareDir::open(&share.name, &share.dir).and_then(|dir| dir.check(share.root).map(|()| dir));
        if let Err(error) = &opened {
            tracing::warn!(share = %share.name, "{error}");
        }
        all.push(OpenedShare { name: share.name.clone(), path: share.dir.clone(), dir: opened.ok(), audience: share.audience.clone() });
    }
    limit(&mut all, &config.share_for)?;
    Ok(all)
}

/// Limits shares to those whom the command line names. A name that fits no share is an error: its folder might be open to everybody.
fn limit(shares: &mut [OpenedShare], share_for: &[(String, Guest)]) -> Result<(), CommandError> {
    for (name, _) in share_for {
        let Some(share) = shares.iter_mut().find(|share| share.name == *name) else {
            let message = format!("--share-for {name}=… limits a share that there is not; `potluck share ls` lists the shares");
            return Err(CommandError::new(Failure::Usage, message));
        };
        share.audience = Audience::new(share_for.iter().filter(|(known, _)| known == name).map(|(_, guest)| guest.clone()));
    }
    Ok(())
}

/// Whether two paths name one folder, as far as can be told without opening them.
fn is_same(one: &Path, other: &Path) -> bool {
    one == other || matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

fn share_error(error: &ShareError) -> CommandError {
    let failure = if matches!(error, ShareError::BadName { .. }) { Failure::Usage } else { Failure::LocalFile };
    CommandError::new(failure, error.to_string())
}
