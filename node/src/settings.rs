//! What the node runs with: told, and taken over again while it runs.

use crate::commands::Lines;
use crate::config::Config;
use crate::error::{CommandError, Failure};
use crate::node::Node;
use crate::store::ShareDir;
use crate::types::{Event, Item, SettingLine};

/// Settings that are taken over while the node runs; the others wait for its next start.
const LIVE: [&str; 2] = ["limit_up", "share"];

impl Node {
    /// Tells every setting; with `reload` the configuration is read again first.
    pub(crate) async fn settings(&self, reload: bool, out: &Lines) -> Result<(), CommandError> {
        if reload {
            self.reload().await?;
        }
        for line in self.config().settings.lines() {
            out.send(Item::Setting(line)).await;
        }
        Ok(())
    }

    /// Takes over what was changed in the configuration file. A folder that is named no longer stays shared: `share rm` ends
    /// that.
    async fn reload(&self) -> Result<(), CommandError> {
        let Some(reread) = self.config().reread.clone() else { return Ok(()) };
        let read = tokio::task::spawn_blocking(move || reread.read()).await;
        let new = read.map_err(|error| CommandError::new(Failure::Other, error.to_string()))??;
        let before = self.config().settings.lines();
        let after: Vec<SettingLine> = new.settings.lines().into_iter().map(|line| taken_over(line, &before)).collect();
        if has_changed("limit_up", &before, &after) {
            self.uploads().set_limit(new.limit_up);
        }
        if has_changed("share", &before, &after) {
            self.share_more(&new).await?;
        }
        let waiting: Vec<&str> = after.iter().filter(|line| line.next.is_some()).map(|line| line.name.as_str()).collect();
        if !waiting.is_empty() {
            self.tell(Event::Warning { message: format!("changed, and taken over at the next start: {}", waiting.join(", ")) });
        }
        self.config().settings.replace(after);
        Ok(())
    }

    /// Shares the folders that are not shared yet.
    async fn share_more(&self, new: &Config) -> Result<(), CommandError> {
        let shared: Vec<String> = self.shares().lines().into_iter().map(|line| line.dir).collect();
        for (name, dir) in new.shares.iter().filter(|(_, dir)| !shared.contains(&dir.display().to_string())) {
            let share = name.clone().unwrap_or_else(|| ShareDir::default_name(dir));
            let guests: Vec<String> = new.share_for.iter().filter(|(of, _)| *of == share).map(|(_, guest)| guest.to_string()).collect();
            self.share_add(name.clone(), dir.clone(), &guests, &Lines::to_nobody()).await?;
        }
        Ok(())
    }
}

/// A setting as it is after a reload: what cannot change while the node runs stays, and says what comes next.
fn taken_over(new: SettingLine, before: &[SettingLine]) -> SettingLine {
    match before.iter().find(|old| old.name == new.name) {
        Some(old) if !LIVE.contains(&new.name.as_str()) => {
            let next = (old.value != new.value).then_some(new.value);
            SettingLine { next, ..old.clone() }
        }
        _ => new,
    }
}

fn has_changed(name: &str, before: &[SettingLine], after: &[SettingLine]) -> bool {
    let value = |lines: &[SettingLine]| lines.iter().find(|line| line.name == name).map(|line| line.value.clone());
    value(before) != value(after)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Origin;

    fn line(name: &str, value: &str) -> SettingLine {
        SettingLine { name: name.into(), value: vec![value.into()], origin: Origin::File, place: None, next: None }
    }

    #[test]
    fn what_cannot_change_while_the_node_runs_waits_and_says_so() {
        let before = [line("nickname", "ada"), line("limit_up", "1k")];
        let after: Vec<_> = [line("nickname", "eve"), line("limit_up", "2k")].map(|new| taken_over(new, &before)).into();
        assert_eq!((after[0].value[0].as_str(), after[0].next.as_deref()), ("ada", Some(&["eve".to_owned()][..])));
        assert_eq!((after[1].value[0].as_str(), &after[1].next), ("2k", &None));
        assert!(has_changed("limit_up", &before, &after) && !has_changed("nickname", &before, &after));
        assert_eq!(taken_over(line("nickname", "ada"), &after).next, None, "changed back");
    }
}
