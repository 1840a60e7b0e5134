//! The verbs that work without a node, and on what keeps one from starting: `config` and `doctor`.

use super::Run;
use crate::cli::{Cli, ConfigVerb, edit};
use crate::clock;
use crate::config::Config;
use crate::control::RunningNode;
use crate::doctor;
use crate::error::{CommandError, Failure};
use crate::executor::{Broken, Executor, ITEM_QUEUE};
use crate::node::Node;
use crate::output::Output;
use crate::store::{config_path, examine};
use crate::types::{CheckLine, CheckState, Command, Item, PathLine, SettingLine};

impl Run {
    /// Shows or changes what the node runs with.
    pub(super) async fn config(&mut self, cli: &Cli, verb: &ConfigVerb) -> Result<(), Broken> {
        let data_dir = cli.global.data_dir(&self.launch.around)?;
        let change = match verb {
            ConfigVerb::Path => {
                let path = config_path(&data_dir).display().to_string();
                return self.print(vec![Item::ConfigPath(PathLine { path })]);
            }
            ConfigVerb::Show => None,
            ConfigVerb::Set { name, value } => Some((name, Some(value.clone()))),
            ConfigVerb::Unset { name } => Some((name, None)),
        };
        if let Some((name, value)) = &change {
            Config::resolve(cli, &self.launch.around)?; // makes the data folder
            let (dir, here, name, value) = (data_dir.clone(), self.launch.around.here.clone(), (*name).clone(), value.clone());
            let edited = tokio::task::spawn_blocking(move || edit(&dir, &name, value.as_deref(), &here)).await;
            edited.map_err(|error| CommandError::new(Failure::Other, error.to_string()))??;
        }
        let name = change.map(|(name, _)| name.trim_start_matches('-').replace('-', "_"));
        let lines = match RunningNode::find(&data_dir).await? {
            Some(node) => gather(&node, Command::Settings { reload: name.is_some() }).await?,
            None => self.launch.config()?.settings.lines().into_iter().map(Item::Setting).collect(),
        };
        let is_meant = |line: &SettingLine| name.as_ref().is_none_or(|name| line.name == *name);
        self.print(lines.into_iter().filter(|item| matches!(item, Item::Setting(line) if is_meant(line))).collect())
    }

    /// Looks for what keeps the node from others.
    pub(super) async fn doctor(&mut self, cli: &Cli) -> Result<(), Broken> {
        let around = &self.launch.around;
        let data_dir = cli.global.data_dir(around)?;
        let mut lines = vec![doctor::configuration(cli.bad_file.as_ref(), &config_path(&data_dir))];
        let running = RunningNode::find(&data_dir).await?;
        let shares = match &running {
            Some(node) => gather(node, Command::ShareList).await?.into_iter().filter_map(folder).collect(),
            None => Vec::new(),
        };
        let (dir, downloads) = (data_dir.clone(), cli.download_dir(around)?);
        let found = tokio::task::spawn_blocking(move || examine(&dir, &downloads, &shares)).await;
        let found = found.map_err(|error| CommandError::new(Failure::Other, error.to_string()))?;
        lines.extend(doctor::judge(&found, &data_dir, clock::today()));
        let is_usable = lines.iter().all(|line| line.state != CheckState::Failed);
        let told = match running {
            Some(node) => gather(&node, Command::Doctor).await?,
            None if is_usable => {
                let (node, _) = Node::start(Config::resolve(cli, around)?).await?;
                let told = gather(&node, Command::Doctor).await;
                self.stop(&node).await?;
                told?
            }
            None => Vec::new(), // a node would not start here
        };
        lines.extend(told.into_iter().filter_map(check));
        let verdict = doctor::verdict(&lines);
        self.print(lines.into_iter().map(Item::Check).collect())?;
        Ok(verdict?)
    }

    fn print(&self, items: Vec<Item>) -> Result<(), Broken> {
        let mut output = Output::new(&self.console, self.face, clock::today());
        items.iter().try_for_each(|item| output.item(item, clock::now()))?;
        Ok(output.finish(clock::now())?)
    }
}

/// The whole answer to a command.
pub(super) async fn gather<E: Executor>(executor: &E, command: Command) -> Result<Vec<Item>, CommandError> {
    let (sender, mut items) = tokio::sync::mpsc::channel(ITEM_QUEUE);
    let collect = async {
        let mut all = Vec::new();
        while let Some(item) = items.recv().await {
            all.push(item);
        }
        all
    };
    let (ended, all) = tokio::join!(executor.execute(command, sender), collect);
    ended.map(|()| all)
}

fn folder(item: Item) -> Option<std::path::PathBuf> {
    match item {
        Item::Share(line) => Some(line.dir.into()),
        _ => None,
    }
}

fn check(item: Item) -> Option<CheckLine> {
    match item {
        Item::Check(line) => Some(line),
        _ => None,
    }
}
