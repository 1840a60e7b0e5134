//! The checker of what we are built from, by the one list of what may be: `.deny.toml`, which cargo-deny reads too.
//!
//! Sources, versions and duplicates are read from `Cargo.lock`, which has all packages for all systems; licences from `cargo tree`,
//! which has those that are built on this one. cargo-deny, where it is installed, also knows the advisories.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use semver::{Version, VersionReq};
use toml_edit::{DocumentMut, Item, Table, Value};

use crate::failure::{Failure, Result};

/// What may be in our dependencies.
#[derive(Debug, Default)]
pub struct Rules {
    licenses: BTreeSet<String>,
    registries: BTreeSet<String>,
    /// A crate, the versions that it must not have, and why.
    banned: Vec<(String, VersionReq, String)>,
    /// Versions that may be there beside a newer one of the same crate, and why.
    older: BTreeMap<(String, Version), String>,
}

/// A dependency, as `Cargo.lock` tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: Version,
    /// Where it is from; `None`: it is ours.
    pub source: Option<String>,
}

impl Rules {
    /// Reads `.deny.toml`.
    ///
    /// # Errors
    /// When it is not as this reader knows it.
    pub fn parse(text: &str) -> Result<Self> {
        let document: DocumentMut = text.parse()?;
        let array = |table: &str, key: &str| -> Vec<Value> {
            let items = document.get(table).and_then(|table| table.get(key)).and_then(Item::as_array);
            items.into_iter().flat_map(|items| items.iter().cloned()).collect()
        };
        let texts = |table, key| array(table, key).iter().filter_map(Value::as_str).map(ToOwned::to_owned).collect();
        let mut rules = Self { licenses: texts("licenses", "allow"), registries: texts("sources", "allow-registry"), ..Self::default() };
        for entry in array("bans", "deny") {
            let (spec, reason) = crate_and_reason(&entry)?;
            let (name, versions) = spec.split_once(':').unwrap_or((&spec, "*"));
            rules.banned.push((name.to_owned(), VersionReq::parse(versions)?, reason));
        }
        for entry in array("bans", "skip") {
            let (spec, reason) = crate_and_reason(&entry)?;
            let (name, version) = spec.split_once('@').ok_or_else(|| Failure::new(format!("{spec}: which version? NAME@VERSION")))?;
            rules.older.insert((name.to_owned(), Version::parse(version)?), reason);
        }
        Ok(rules)
    }

    /// What is wrong with the packages, a sentence each.
    #[must_use]
    pub fn violations(&self, packages: &[Package]) -> Vec<String> {
        let mut found = Vec::new();
        for package in packages {
            let (name, version) = (&package.name, &package.version);
            let is_known = package.source.as_ref().is_none_or(|source| self.is_known(source));
            if !is_known {
                found.push(format!(
                    "{name} {version}: from {}, which is not an allowed source",
                    package.source.as_deref().unwrap_or_default()
                ));
            }
            for (_, versions, reason) in self.banned.iter().filter(|(banned, _, _)| banned == name) {
                if versions.matches(&Version::new(version.major, version.minor, version.patch)) {
                    found.push(format!("{name} {version}: {reason}"));
                }
            }
        }
        found.extend(self.duplicates(packages));
        found
    }

    fn is_known(&self, source: &str) -> bool {
        source.strip_prefix("registry+").is_some_and(|registry| self.registries.contains(registry))
    }

    /// Older versions beside newer ones for which no reason is given, and reasons for what is there no longer.
    fn duplicates(&self, packages: &[Package]) -> Vec<String> {
        let mut versions: BTreeMap<&str, BTreeSet<&Version>> = BTreeMap::new();
        for package in packages {
            versions.entry(&package.name).or_default().insert(&package.version);
        }
        let older: BTreeSet<(String, Version)> = versions
            .iter()
            .flat_map(|(name, versions)| versions.iter().rev().skip(1).map(|version| ((*name).to_owned(), (*version).clone())))
            .collect();
        let unexplained = older.iter().filter(|older| !self.older.contains_key(older));
        let gone = self.older.keys().filter(|known| !older.contains(known));
        unexplained
            .map(|(name, version)| format!("{name} {version}: there is a newer one too; say in .deny.toml who needs the older"))
            .chain(gone.map(|(name, version)| format!("{name} {version}: is no duplicate any more; take it out of .deny.toml")))
            .collect()
    }

    /// Whether a licence, an SPDX expression, lets us use a package under allowed licences only.
    #[must_use]
    pub fn allows(&self, expression: &str) -> bool {
        let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
        let words: Vec<&str> = spaced.split_whitespace().collect();
        let mut words = words.as_slice();
        self.any_of(&mut words) && words.is_empty()
    }

    /// `a OR b`.
    fn any_of(&self, words: &mut &[&str]) -> bool {
        let mut allowed = self.all_of(words);
        while take(words, "OR") {
            allowed |= self.all_of(words);
        }
        allowed
    }

    /// `a AND b`.
    fn all_of(&self, words: &mut &[&str]) -> bool {
        let mut allowed = self.one(words);
        while take(words, "AND") {
            allowed &= self.one(words);
        }
        allowed
    }

    fn one(&self, words: &mut &[&str]) -> bool {
        if take(words, "(") {
            let allowed = self.any_of(words);
            return take(words, ")") && allowed;
        }
        let Some((name, rest)) = words.split_first() else { return false };
        *words = rest;
        match **words {
            ["WITH", exception, ref rest @ ..] => {
                *words = rest;
                self.licenses.contains(&format!("{name} WITH {exception}"))
            }
            _ => self.licenses.contains(*name),
        }
    }
}

/// Takes a word, if it comes next.
fn take(words: &mut &[&str], word: &str) -> bool {
    match words.split_first() {
        Some((next, rest)) if *next == word => {
            *words = rest;
            true
        }
        _ => false,
    }
}

/// `{ crate = "…", reason = "…" }`.
fn crate_and_reason(entry: &Value) -> Result<(String, String)> {
    let field = |key: &str| entry.as_inline_table().and_then(|table| table.get(key)).and_then(Value::as_str).map(ToOwned::to_owned);
    match (field("crate"), field("reason").filter(|reason| !reason.is_empty())) {
        (Some(name), Some(reason)) => Ok((name, reason)),
        _ => Err(Failure::new(format!("{entry}: needs a crate and a reason"))),
    }
}

/// The packages of a `Cargo.lock`.
///
/// # Errors
/// When it is none.
pub fn locked(text: &str) -> Result<Vec<Package>> {
    let document: DocumentMut = text.parse()?;
    let tables = document.get("package").and_then(Item::as_array_of_tables).ok_or_else(|| Failure::new("no packages"))?;
    tables.iter().map(package).collect()
}

fn package(table: &Table) -> Result<Package> {
    let field = |key: &str| table.get(key).and_then(Item::as_str).map(ToOwned::to_owned);
    let (Some(name), Some(version)) = (field("name"), field("version")) else {
        return Err(Failure::new("a package without name or version"));
    };
    Ok(Package { name, version: Version::parse(&version)?, source: field("source") })
}

/// What is built on this system, `name vVERSION`, with its licence; ours are left out.
///
/// # Errors
/// When cargo does not tell.
pub fn licences(workspace: &Path) -> Result<Vec<(String, String)>> {
    let mut cargo = Command::new(env!("CARGO"));
    let arguments = ["tree", "--locked", "--offline", "--workspace", "--edges", "all", "--prefix", "none", "--format", "{p}\t{l}"];
    let output = cargo.current_dir(workspace).args(arguments).output()?;
    if !output.status.success() {
        return Err(Failure::new(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    let text = String::from_utf8(output.stdout)?;
    let lines: BTreeSet<&str> = text.lines().map(|line| line.trim_end_matches(" (*)")).filter(|line| !line.is_empty()).collect();
    let pairs = lines.into_iter().filter_map(|line| line.split_once('\t')).filter(|(package, _)| !package.contains("(/"));
    Ok(pairs.map(|(package, licence)| (package.to_owned(), licence.to_owned())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        Rules::parse(
            r#"
            [licenses]
            allow = ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "ISC"]
            [sources]
            allow-registry = ["https://registry"]
            [bans]
            deny = [{ crate = "yamux:<0.13.10", reason = "panics" }, { crate = "cbor", reason = "unmaintained" }]
            skip = [{ crate = "rand@0.9.5", reason = "we need it" }]
            "#,
        )
        .unwrap()
    }

    fn packages(list: &[(&str, &str)]) -> Vec<Package> {
        let package = |(name, version): &(&str, &str)| Package {
            name: (*name).to_owned(),
            version: Version::parse(version).unwrap(),
            source: Some("registry+https://registry".to_owned()),
        };
        list.iter().chain(&[("rand", "0.9.5"), ("rand", "0.10.1")]).map(package).collect()
    }

    #[test]
    fn what_is_banned_is_noticed_and_its_mended_version_is_not() {
        assert_eq!(rules().violations(&packages(&[("yamux", "0.13.10"), ("other", "1.0.0")])), Vec::<String>::new());
        assert_eq!(rules().violations(&packages(&[("yamux", "0.13.9")])).len(), 1);
        assert_eq!(rules().violations(&packages(&[("yamux", "0.13.9-alpha.1")])).len(), 1);
        assert_eq!(rules().violations(&packages(&[("cbor", "9.0.0")])).len(), 1);
    }

    #[test]
    fn an_older_version_needs_a_reason_and_a_reason_an_older_version() {
        assert_eq!(rules().violations(&packages(&[("sha2", "0.10.9"), ("sha2", "0.11.1")])).len(), 1);
        let without: Vec<Package> = packages(&[]).into_iter().skip(1).collect();
        assert_eq!(rules().violations(&without).len(), 1, "rand 0.9.5 is no duplicate any more");
    }

    #[test]
    fn a_package_from_elsewhere_is_noticed() {
        let mut ours = packages(&[("a", "1.0.0")]);
        ours[0].source = None;
        assert_eq!(rules().violations(&ours), Vec::<String>::new());
        for source in ["git+https://registry", "registry+https://other"] {
            ours[0].source = Some(source.to_owned());
            assert_eq!(rules().violations(&ours).len(), 1, "{source}");
        }
    }

    #[test]
    fn licences_are_read_as_spdx_means_them() {
        for allowed in [
            "MIT",
            "MIT OR GPL-3.0",
            "GPL-3.0/MIT",
            "Apache-2.0 WITH LLVM-exception OR GPL-3.0",
            "(GPL-3.0 OR MIT) AND ISC",
            "ISC AND (Apache-2.0 OR ISC) AND MIT",
        ] {
            assert!(rules().allows(allowed), "{allowed}");
        }
        for refused in ["", "GPL-3.0", "MIT AND GPL-3.0", "(MIT OR ISC) AND GPL-3.0", "Apache-2.0 WITH other", "(MIT", "MIT ISC", "OR"] {
            assert!(!rules().allows(refused), "{refused}");
        }
    }

    #[test]
    fn a_rule_without_a_reason_is_an_error() {
        assert!(Rules::parse("[bans]\nskip = [{ crate = \"a@1.0.0\" }]").is_err());
        assert!(Rules::parse("[bans]\nskip = [{ crate = \"a\", reason = \"x\" }]").is_err());
    }
}
