//! [`FolderView`]: what lies directly in a folder, out of listings that go in the order of paths.
//!
//! A listing tells files only. Those below a subfolder follow each other, so one of them is enough to know the subfolder,
//! and the listing goes on behind the last of them: a folder with three subfolders of a million files takes four pages.

use potluck_common::share_path::SharePath;
use potluck_common::wire::index::Entry;

/// Sorts behind everything in a folder, and before what follows the folder.
const LAST: char = '\u{10ffff}';

/// What lies in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Child {
    /// A subfolder; of a peer's root, a share.
    Folder(SharePath),
    /// A file.
    File(Entry),
}

/// Gathers what lies directly in a folder.
///
/// What happened: [`handle_page`](Self::handle_page), a page of the listing at a time. What to do next:
/// [`next`](Self::next), where the listing is to go on.
#[derive(Debug)]
pub struct FolderView {
    folder: Option<SharePath>,
    limit: usize,
    children: Vec<Child>,
    next: Option<String>,
    is_complete: bool,
}

impl FolderView {
    /// A view of a folder, or of a peer's root, from a cursor on; of `limit` children at most.
    #[must_use]
    pub fn new(folder: Option<SharePath>, after: Option<String>, limit: usize) -> Self {
        Self { folder, limit, children: Vec::new(), next: after, is_complete: false }
    }

    /// Whether another page of the listing is needed.
    #[must_use]
    pub fn wants_more(&self) -> bool {
        !self.is_complete && self.children.len() < self.limit
    }

    /// Where the listing, or the next view, goes on; `None`: at the beginning, or nothing follows.
    #[must_use]
    pub fn next(&self) -> Option<&str> {
        self.next.as_deref()
    }

    /// Takes a page of the listing that begins at [`next`](Self::next); `more`: whether the listing goes on.
    ///
    /// A page that leads nowhere ends the view: a peer that tells the same for ever is not asked for ever.
    pub fn handle_page(&mut self, entries: Vec<Entry>, more: bool) {
        let before = self.next.clone();
        for entry in entries {
            if self.children.len() >= self.limit {
                return;
            }
            if self.next.as_deref().is_some_and(|next| entry.path.as_str() <= next) {
                continue; // below the subfolder that was told last
            }
            let Some(child) = self.child_of(&entry.path) else { continue };
            if child == entry.path {
                self.next = Some(entry.path.to_string());
                self.children.push(Child::File(entry));
            } else {
                self.next = Some(format!("{child}/{LAST}"));
                self.children.push(Child::Folder(child));
            }
        }
        if !more || self.next == before {
            self.is_complete = true;
            self.next = None;
        }
    }

    /// What was gathered, in the order of paths.
    #[must_use]
    pub fn into_children(self) -> Vec<Child> {
        self.children
    }

    /// The child of the folder in which a path lies, or which it is.
    fn child_of(&self, path: &SharePath) -> Option<SharePath> {
        let depth = self.folder.as_ref().map_or(0, |folder| folder.components().count());
        if self.folder.as_ref().is_some_and(|folder| !path.is_within(folder) || folder == path) {
            return self.folder.as_ref().filter(|folder| *folder == path).cloned(); // a file was looked at, not a folder
        }
        let names: Vec<&str> = path.components().take(depth + 1).collect();
        SharePath::parse(&names.join("/")).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str) -> Entry {
        Entry { path: SharePath::parse(path).unwrap(), size: 1, mtime: 0, content_id: None }
    }

    /// A peer that lists `paths` in pages of `page`.
    fn view(paths: &[&str], folder: Option<&str>, page: usize, limit: usize) -> (Vec<String>, usize) {
        let mut paths = paths.to_vec();
        paths.sort_unstable();
        let (mut told, mut pages, mut after) = (Vec::new(), 0, None);
        loop {
            let mut view = FolderView::new(folder.map(|folder| SharePath::parse(folder).unwrap()), after, limit);
            while view.wants_more() {
                let from = view.next().unwrap_or("").to_owned();
                let within = |path: &&&str| folder.is_none_or(|folder| **path == folder || path.starts_with(&format!("{folder}/")));
                let rest: Vec<Entry> = paths.iter().filter(within).filter(|path| **path > from.as_str()).map(|path| entry(path)).collect();
                let more = rest.len() > page;
                view.handle_page(rest.into_iter().take(page).collect(), more);
                pages += 1;
            }
            after = view.next().map(ToOwned::to_owned);
            told.extend(view.into_children().into_iter().map(|child| match child {
                Child::Folder(path) => format!("{path}/"),
                Child::File(entry) => entry.path.to_string(),
            }));
            if after.is_none() {
                return (told, pages);
            }
        }
    }

    const TREE: [&str; 8] = ["m/a/1", "m/a/2", "m/a/b/3", "m/a-2/x", "m/a0", "m/z", "n/1", "n/2"];

    #[test]
    fn a_folder_shows_its_files_and_subfolders_once_each_whatever_the_pages() {
        for page in 1..10 {
            for limit in 1..10 {
                assert_eq!(view(&TREE, Some("m"), page, limit).0, ["m/a-2/", "m/a/", "m/a0", "m/z"], "{page} {limit}");
                assert_eq!(view(&TREE, None, page, limit).0, ["m/", "n/"]);
                assert_eq!(view(&TREE, Some("m/a"), page, limit).0, ["m/a/1", "m/a/2", "m/a/b/"]);
                assert_eq!(view(&TREE, Some("m/z"), page, limit).0, ["m/z"]);
                assert_eq!(view(&TREE, Some("none"), page, limit).0, Vec::<String>::new());
            }
        }
    }

    #[test]
    fn subfolders_with_many_files_cost_a_page_each() {
        let paths: Vec<String> = (0..3).flat_map(|folder| (0..1000).map(move |file| format!("m/{folder}/{file:04}"))).collect();
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        let (told, pages) = view(&paths, Some("m"), 100, 1000);
        assert_eq!((told, pages), (vec!["m/0/".to_owned(), "m/1/".to_owned(), "m/2/".to_owned()], 4));
    }

    #[test]
    fn a_peer_that_tells_the_same_for_ever_is_not_asked_for_ever() {
        let mut view = FolderView::new(None, None, 10);
        let mut pages = 0;
        while view.wants_more() {
            view.handle_page(vec![entry("m/a"), entry("m/b")], true);
            pages += 1;
        }
        assert_eq!((pages, view.into_children().len()), (2, 1));
    }
}
