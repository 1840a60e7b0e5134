//! The configuration file beside what is typed.
//!
//! Its keys are the long names of options, and its values become their defaults. So the same parsers read both, an
//! environment variable wins over the file, an option over the variable, and `--help` shows what holds without either.

use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, CommandFactory, Subcommand};
use toml_edit::{Array, DocumentMut, Item, Value};

use super::Cli;
use crate::error::{CommandError, Failure};
use crate::store::{config_path, read_config, write_config};
use crate::types::{Origin, SettingLine};

/// What can stand in the file: the names of options, with `_` for `-`.
const KEYS: [&str; 15] = [
    "share",
    "share_for",
    "reject_hardlinks",
    "tracker",
    "namespace",
    "dial",
    "no_mdns",
    "listen",
    "nickname",
    "download_dir",
    "limit_up",
    "limit",
    "page",
    "page_host",
    "log_format",
];
/// Those that name folders. A file has no working directory, so they are whole.
const FOLDERS: [&str; 2] = ["share", "download_dir"];
/// How a new file begins.
const HEAD: &str = "# What this node runs with. Environment variables (POTLUCK_...) and options win over it; `potluck config show` tells\n\
                    # what holds and why, `kill -HUP` or `potluck config set` makes a running node read it again.\n\n";

/// What `config` takes.
#[derive(Clone, Debug, Subcommand)]
pub enum ConfigVerb {
    /// Show what the node runs with, and where each value comes from
    #[command(after_help = "Examples:\n  potluck config show\n  potluck config show --json")]
    Show,
    /// Write a value into the configuration file; a node that runs takes over what it can at once
    #[command(after_help = "\
Examples:
  potluck config set nickname ada
  potluck config set limit_up 5MiB/s
  potluck config set share ~/Music films=/mnt/disk/Films")]
    Set {
        /// The setting, as `config show` calls it
        #[arg(value_name = "NAME")]
        name: String,
        /// Its value; several where the option can be repeated
        #[arg(value_name = "VALUE", required = true)]
        value: Vec<String>,
    },
    /// Take a value out of the configuration file
    #[command(after_help = "Example:\n  potluck config unset limit_up")]
    Unset {
        /// The setting
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Print where the configuration file is, or would be
    #[command(after_help = "Example:\n  $EDITOR \"$(potluck config path)\"")]
    Path,
}

/// A configuration file that was read and understood; empty when there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigFile {
    path: PathBuf,
    values: Vec<(&'static str, Vec<String>)>,
}

impl ConfigFile {
    /// Reads the file of a data folder. Blocks.
    ///
    /// # Errors
    /// When it cannot be read, or says what makes no sense.
    pub fn of(data_dir: &Path) -> Result<Self, CommandError> {
        Self::parse(config_path(data_dir), &text_of(data_dir)?)
    }

    /// What a text means that stands at `path`.
    fn parse(path: PathBuf, text: &str) -> Result<Self, CommandError> {
        let wrong = |message: String| usage(format!("{}: {message}", path.display()));
        let document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| wrong(error.to_string()))?;
        let mut values = Vec::new();
        for (name, item) in document.iter() {
            let key = key(name).map_err(&wrong)?;
            if values.iter().any(|(known, _)| *known == key) {
                return Err(wrong(format!("{key} stands there twice; keep one of the two")));
            }
            let value =
                texts(item).ok_or_else(|| wrong(format!("{name} is neither a text nor a list of texts; write {name} = \"...\"")))?;
            check(key, &value).map_err(&wrong)?;
            values.push((key, value));
        }
        Ok(Self { path, values })
    }

    fn value(&self, key: &str) -> Option<&[String]> {
        self.values.iter().find(|(known, _)| *known == key).map(|(_, value)| value.as_slice())
    }

    /// The grammar with the file's values as defaults.
    pub(super) fn grammar(&self) -> clap::Command {
        let is_of_node = |key: &str| Cli::command().get_arguments().all(|arg| arg.get_id() != key);
        let default = |value: &[String]| {
            let value = value.to_vec();
            move |arg: Arg| arg.default_values(value)
        };
        self.values.iter().fold(Cli::command(), |grammar, (key, value)| {
            if is_of_node(key) {
                grammar.mut_subcommand("node", |node| node.mut_arg(key, default(value)))
            } else {
                grammar.mut_arg(key, default(value))
            }
        })
    }

    /// Every setting as it follows from matches of [`Self::grammar`], the one that wins of several; what nobody set has no
    /// value.
    pub(super) fn lines(&self, matches: &[&ArgMatches]) -> Vec<SettingLine> {
        KEYS.iter().map(|key| self.line(key, matches)).collect()
    }

    fn line(&self, key: &str, matches: &[&ArgMatches]) -> SettingLine {
        let found = matches.iter().filter(|matches| matches.try_contains_id(key).unwrap_or(false));
        let best = found.max_by_key(|matches| matches.value_source(key));
        let value = best.and_then(|matches| matches.get_raw(key)).into_iter().flatten();
        let value = value.map(|part| part.to_string_lossy().into_owned()).collect();
        let option = arg(key);
        let (origin, place) = match best.and_then(|matches| matches.value_source(key)) {
            Some(ValueSource::CommandLine) => (Origin::Option, option.as_ref().and_then(Arg::get_long).map(|long| format!("--{long}"))),
            Some(ValueSource::EnvVariable) => {
                (Origin::Environment, option.as_ref().and_then(Arg::get_env).map(|name| name.to_string_lossy().into_owned()))
            }
            _ if self.value(key).is_some() => (Origin::File, Some(self.path.display().to_string())),
            _ => (Origin::Default, None),
        };
        SettingLine { name: key.to_owned(), value, origin, place, next: None }
    }
}

/// Writes a setting into the file of a data folder, or takes it out; what else stands there stays as it is. Blocks.
///
/// # Errors
/// When there is no such setting, the value makes no sense, or the file cannot be written.
pub fn edit(data_dir: &Path, name: &str, value: Option<&[String]>, here: &Path) -> Result<(), CommandError> {
    let key = key(name).map_err(usage)?;
    let value = value.map(|value| value.iter().map(|part| whole(key, part, here)).collect::<Vec<_>>());
    if let Some(value) = &value {
        check(key, value).map_err(usage)?;
    }
    let before = text_of(data_dir)?;
    let after = edited(&before, key, value.as_deref()).map_err(|error| usage(format!("{}: {error}", config_path(data_dir).display())))?;
    ConfigFile::parse(config_path(data_dir), &after)?;
    write_config(data_dir, &after).map_err(|error| local(format!("cannot write {}: {error}", config_path(data_dir).display())))
}

/// The text with another value for a setting, or without it.
fn edited(text: &str, key: &str, value: Option<&[String]>) -> Result<String, toml_edit::TomlError> {
    let mut document: DocumentMut = text.parse()?;
    let Some(value) = value else {
        let names: Vec<String> = document.iter().map(|(name, _)| name.to_owned()).filter(|name| name.replace('-', "_") == key).collect();
        names.iter().for_each(|name| drop(document.remove(name)));
        return Ok(document.to_string());
    };
    let name = if document.contains_key(&key.replace('_', "-")) { key.replace('_', "-") } else { key.to_owned() };
    let new = match value {
        [only] if is_flag(key) => Value::from(only == "true"),
        [only] if !is_list(key) => Value::from(only.as_str()),
        all => Value::Array(all.iter().map(String::as_str).collect::<Array>()),
    };
    // A comment behind the old value stays behind the new one.
    match document.get_mut(&name).and_then(Item::as_value_mut) {
        Some(old) => {
            let decor = old.decor().clone();
            *old = new;
            *old.decor_mut() = decor;
        }
        None => {
            document.insert(&name, Item::Value(new));
        }
    }
    let head = if text.is_empty() { HEAD } else { "" };
    Ok(format!("{head}{document}"))
}

fn text_of(data_dir: &Path) -> Result<String, CommandError> {
    let read = read_config(data_dir);
    let text = read.map_err(|error| local(format!("cannot read {}: {error}; mend it or move it away", config_path(data_dir).display())))?;
    Ok(text.unwrap_or_default())
}

/// The setting of a name, which may be written as on the command line.
fn key(name: &str) -> Result<&'static str, String> {
    let plain = name.trim_start_matches('-').replace('-', "_");
    let known = KEYS.into_iter().find(|key| *key == plain);
    known.ok_or_else(|| format!("there is no setting {name}; there are {}", KEYS.join(", ")))
}

/// The option of a setting.
fn arg(key: &str) -> Option<Arg> {
    let grammar = Cli::command();
    let node = grammar.find_subcommand("node");
    let of_node = node.into_iter().flat_map(clap::Command::get_arguments);
    grammar.get_arguments().chain(of_node).find(|arg| arg.get_id() == key).cloned()
}

fn is_flag(key: &str) -> bool {
    arg(key).is_some_and(|arg| matches!(arg.get_action(), ArgAction::SetTrue))
}

fn is_list(key: &str) -> bool {
    arg(key).is_some_and(|arg| matches!(arg.get_action(), ArgAction::Append))
}

/// The texts of a TOML value; `None` for tables and the like.
fn texts(item: &Item) -> Option<Vec<String>> {
    let one = |value: &Value| match value {
        Value::String(text) => Some(text.value().clone()),
        Value::Integer(number) => Some(number.value().to_string()),
        Value::Boolean(flag) => Some(flag.value().to_string()),
        _ => None,
    };
    match item.as_value()? {
        Value::Array(all) => all.iter().map(one).collect(),
        value => Some(vec![one(value)?]),
    }
}

/// Has the option's own parser look at a value.
fn check(key: &str, value: &[String]) -> Result<(), String> {
    if let Some(part) = value.iter().find(|part| FOLDERS.contains(&key) && folder_of(key, part).1.is_relative()) {
        return Err(format!("{key} `{part}` does not begin with /; a file has no working directory, so write the whole path"));
    }
    let long = key.replace('_', "-");
    let options: Vec<String> = match value {
        [flag] if is_flag(key) => match flag.as_str() {
            "true" | "false" => return Ok(()),
            other => return Err(format!("{key} is true or false, and not {other}")),
        },
        [_] => value.iter().map(|part| format!("--{long}={part}")).collect(),
        _ if !is_list(key) => return Err(format!("{key} has one value")),
        many => many.iter().map(|part| format!("--{long}={part}")).collect(),
    };
    let words = ["potluck", "node"].map(str::to_owned).into_iter().chain(options);
    match Cli::command().color(clap::ColorChoice::Never).try_get_matches_from(words) {
        Ok(_) => Ok(()),
        Err(error) => {
            let text = error.render().to_string();
            Err(text.trim_start_matches("error: ").split("\n\n").next().unwrap_or_default().trim_end().to_owned())
        }
    }
}

/// The name of a share with its `=`, and the folder.
fn folder_of<'a>(key: &str, text: &'a str) -> (&'a str, &'a Path) {
    match text.split_once('=') {
        Some((name, _)) if key == "share" && !name.contains('/') => {
            let (name, dir) = text.split_at(name.len() + 1);
            (name, Path::new(dir))
        }
        _ => ("", Path::new(text)),
    }
}

/// A typed value as it is written down: folders begin at the working directory.
fn whole(key: &str, text: &str, here: &Path) -> String {
    if !FOLDERS.contains(&key) {
        return text.to_owned();
    }
    let (name, dir) = folder_of(key, text);
    format!("{name}{}", here.join(dir).display())
}

fn usage(message: impl Into<String>) -> CommandError {
    CommandError::new(Failure::Usage, message)
}

fn local(message: String) -> CommandError {
    CommandError::new(Failure::LocalFile, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ConfigFile, CommandError> {
        ConfigFile::parse("/d/config.toml".into(), text)
    }

    #[test]
    fn every_setting_is_an_option_with_a_variable() {
        for key in KEYS {
            let arg = arg(key).unwrap_or_else(|| panic!("no option {key}"));
            assert_eq!(arg.get_long().unwrap(), key.replace('_', "-"));
            let variable = format!("POTLUCK_{}", key.to_uppercase());
            assert_eq!(arg.get_env().unwrap(), variable.as_str());
        }
    }

    #[test]
    fn a_file_is_read_with_the_parsers_of_the_options() {
        let text = "nickname = \"ada\"\nlimit-up = \"5MiB/s\" # slow line\nno_mdns = true\nshare = [\"/music\", \"films=/mnt/Films\"]\n";
        let file = parse(text).unwrap();
        assert_eq!(file.value("limit_up"), Some(&["5MiB/s".to_owned()][..]));
        assert_eq!(file.value("share").map(<[String]>::len), Some(2));
        for (text, part) in [
            ("nickname = ", "config.toml: TOML parse error at line 1"),
            ("colour = \"red\"", "there is no setting colour; there are share, share_for, reject_hardlinks, tracker"),
            ("nickname = \"a\"\nnick-name = 3", "there is no setting nick-name"),
            ("limit_up = \"1k\"\nlimit-up = \"2k\"", "stands there twice"),
            ("limit_up = \"fast\"", "give bytes per second"),
            ("limit_up = [\"1k\", \"2k\"]", "has one value"),
            ("no_mdns = \"perhaps\"", "is true or false"),
            ("share = \"music\"", "does not begin with /"),
            ("share = [\"m=music\"]", "does not begin with /"),
            ("[node]\nnickname = \"a\"", "there is no setting node"),
            ("nickname = { a = 1 }", "is neither a text nor a list"),
            ("tracker = [\"localhost:1\"]", "write it as a multiaddr"),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(error.failure, Failure::Usage);
            assert!(error.message.contains(part), "{text}: {}", error.message);
        }
    }

    #[test]
    fn a_setting_is_changed_where_it_stands_and_all_else_stays() {
        let text = "# mine\nlimit-up = \"1k\" # slow\n\nnickname = \"ada\"\n";
        let value = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        assert_eq!(edited(text, "limit_up", Some(&value(&["2k"]))).unwrap(), text.replace("1k", "2k"));
        let shares = edited(text, "share", Some(&value(&["/a", "b=/b"]))).unwrap();
        assert_eq!(shares, format!("{text}share = [\"/a\", \"b=/b\"]\n"));
        assert_eq!(edited(text, "nickname", None).unwrap(), "# mine\nlimit-up = \"1k\" # slow\n");
        assert_eq!(edited("", "no_mdns", Some(&value(&["true"]))).unwrap(), format!("{HEAD}no_mdns = true\n"));
    }
}
