//! What a node runs with, and whether it is well.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A setting, its value and where that comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SettingLine {
    /// What it is called in the configuration file.
    pub name: String,
    /// Its value, as it would be typed; several where the option can be repeated.
    pub value: Vec<String>,
    /// Where the value comes from.
    pub origin: Origin,
    /// Which file, which variable, which option; `None` for a default.
    pub place: Option<String>,
    /// What the configuration file says now, where the node runs with something else until its next start.
    pub next: Option<Vec<String>>,
}

/// Where the configuration file is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PathLine {
    /// The file; it need not be there.
    pub path: String,
}

/// Where the value of a setting comes from; each wins over those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// The configuration file.
    File,
    /// An environment variable.
    Environment,
    /// The command line.
    Option,
}

/// Something that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CheckLine {
    /// What: `configuration`, `data_folder`, `identity`, `disk`, `watches`, `clock`, `ports`, `addresses`, `trackers`, `peers`.
    pub check: String,
    /// How it is.
    pub state: CheckState,
    /// What was found; where something is wrong, with the next step.
    pub message: String,
    /// The exit code that this alone would have; 0 unless it failed.
    pub code: u8,
}

/// How something is that was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckState {
    /// As it should be.
    Good,
    /// The node works, and something could be better.
    Warning,
    /// The node does not work like this.
    Failed,
}
