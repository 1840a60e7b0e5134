//! [`Intake`]: what a page of changes makes of what a peer offers, before any of it is written. Pure.

use std::collections::HashMap;

use potluck_common::wire::index::{Change, Entry};

use crate::quota::Limits;

/// How much one peer offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) files: u64,
    pub(super) bytes: u64,
    pub(super) path_bytes: u64,
}

/// What is to be written.
#[derive(Debug)]
pub(super) struct Intake<'a> {
    /// Paths of which a file is there that has to go, to be replaced or for good.
    pub(super) gone: Vec<&'a str>,
    /// Files that are to come.
    pub(super) put: Vec<&'a Entry>,
    /// What the peer offers then.
    pub(super) account: Account,
    /// A change did not fit: it and what follows is left out.
    pub(super) is_over_quota: bool,
}

impl<'a> Intake<'a> {
    /// Takes changes as long as they fit. `known` are the sizes of the files that are there, of the paths that the changes name;
    /// `held` is what all peers offer together, this one included.
    pub(super) fn of(changes: &'a [Change], known: &HashMap<String, u64>, mut account: Account, held: Account, limits: &Limits) -> Self {
        let others = (held.files.saturating_sub(account.files), held.path_bytes.saturating_sub(account.path_bytes));
        let mut latest: HashMap<&str, Option<&Entry>> = HashMap::with_capacity(changes.len());
        let mut is_over_quota = false;
        for change in changes {
            let (path, entry) = match change {
                Change::Put(entry) => (entry.path.as_str(), Some(entry)),
                Change::Remove(path) => (path.as_str(), None),
            };
            let before = match latest.get(path) {
                Some(entry) => entry.map(|entry| entry.size),
                None => known.get(path).copied(),
            };
            let mut after = account;
            if let Some(size) = before {
                after = after.without(path, size);
            }
            if let Some(entry) = entry {
                after = after.with(path, entry.size);
            }
            let is_more = after.files > account.files;
            let is_within_own = after.files <= limits.files_per_peer && after.path_bytes <= limits.path_bytes_per_peer;
            let is_within_all = others.0 + after.files <= limits.files && others.1 + after.path_bytes <= limits.path_bytes;
            if is_more && !(is_within_own && is_within_all) {
                is_over_quota = true;
                break;
            }
            account = after;
            latest.insert(path, entry);
        }
        let gone = latest.keys().copied().filter(|path| known.contains_key(*path)).collect();
        Self { gone, put: latest.into_values().flatten().collect(), account, is_over_quota }
    }
}

impl Account {
    fn with(self, path: &str, size: u64) -> Self {
        Self { files: self.files + 1, bytes: self.bytes.saturating_add(size), path_bytes: self.path_bytes + path.len() as u64 }
    }

    fn without(self, path: &str, size: u64) -> Self {
        Self {
            files: self.files.saturating_sub(1),
            bytes: self.bytes.saturating_sub(size),
            path_bytes: self.path_bytes.saturating_sub(path.len() as u64),
        }
    }
}

#[cfg(test)]
mod tests {
    use potluck_common::share_path::SharePath;

    use super::*;

    fn put(path: &str, size: u64) -> Change {
        Change::Put(Entry { path: SharePath::parse(path).unwrap(), size, mtime: 0, content_id: None })
    }

    fn remove(path: &str) -> Change {
        Change::Remove(SharePath::parse(path).unwrap())
    }

    fn known(files: &[(&str, u64)]) -> HashMap<String, u64> {
        files.iter().map(|(path, size)| ((*path).to_owned(), *size)).collect()
    }

    #[test]
    fn the_last_change_of_a_path_counts() {
        let changes = [put("s/a", 1), remove("s/a"), put("s/b", 2), put("s/b", 3), remove("s/c"), remove("s/none")];
        let before = Account { files: 1, bytes: 9, path_bytes: 3 };
        let taken = Intake::of(&changes, &known(&[("s/c", 9)]), before, before, &Limits::default());
        assert_eq!(taken.put.iter().map(|entry| entry.size).collect::<Vec<_>>(), [3]);
        assert_eq!((taken.gone, taken.is_over_quota), (vec!["s/c"], false));
        assert_eq!(taken.account, Account { files: 1, bytes: 3, path_bytes: 3 });
    }

    #[test]
    fn what_does_not_fit_is_left_out_with_all_that_follows() {
        let limits = Limits { files_per_peer: 2, ..Limits::default() };
        let changes = [put("s/a", 1), put("s/b", 1), put("s/c", 1), remove("s/a")];
        let taken = Intake::of(&changes, &known(&[]), Account::default(), Account::default(), &limits);
        assert_eq!((taken.account.files, taken.is_over_quota), (2, true));
        let replaced = [put("s/a", 7)];
        let full = Account { files: 2, bytes: 2, path_bytes: 6 };
        assert!(!Intake::of(&replaced, &known(&[("s/a", 1)]), full, full, &limits).is_over_quota, "replacing needs no room");
    }

    #[test]
    fn what_others_offer_counts_for_the_limit_in_all() {
        let limits = Limits { files: 10, ..Limits::default() };
        let held = Account { files: 10, bytes: 0, path_bytes: 0 };
        assert!(Intake::of(&[put("s/a", 1)], &known(&[]), Account::default(), held, &limits).is_over_quota);
    }
}
