//! Who has what: contents, documents and holders, apart from all text.
//!
//! A *document* is a content under a path. What a peer offers is a *holder* of a document: the peer's slot and the time of
//! the file's last change. So a file that a hundred peers have under one name costs its text once, and a peer that
//! leaves and returns touches no text at all.
//!
//! ```text
//! content  size 8 · documents 4                    one document, or the number of a list of them
//! its id   32                                      apart: a search looks at those of its hits only
//! document content 4 · slot 4 · time 4             one holder, or the number of a list of them
//! ```
//!
//! 44 and 12 bytes; nearly all contents have one document, and most documents one holder. A content is its id *and* size: a
//! peer that lies about a size makes a content of its own and spoils nobody's. A file that is not hashed yet has a content to
//! itself, which no one else can meet; in an index of such files only, ids take no memory.

use std::hash::{BuildHasher, RandomState};

use super::chunks::Chunks;
use super::lists::{Item, ListNo, Lists};
use super::table::{MAX_ROWS, Table};
use crate::content_id::ContentId;

/// The number of a document: its place in the text index.
pub(super) type DocNo = u32;
/// The number of a content.
pub(super) type ContentNo = u32;

/// No document, no content, no holder.
const NONE: u32 = u32::MAX;
/// In a field for one number: this is the number of a list.
const IS_LIST: u32 = 1 << 31;
/// In a document's content: its file is not hashed yet.
const UNHASHED: u32 = 1 << 31;
/// In a document's content: it may have other documents.
const SHARED: u32 = 1 << 30;

/// A peer that has a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Holder {
    /// The peer's slot.
    pub(super) slot: u32,
    /// The time of its file's last change, in seconds since 1970-01-01 UTC. What is before or after is told as the nearest.
    pub(super) mtime: u32,
}

impl Item for Holder {
    const NONE: Self = Self { slot: NONE, mtime: 0 };
}

/// The tables.
#[derive(Debug, Default)]
pub(super) struct Relation {
    contents: Chunks<Content>,
    /// Of the contents up to the last that is hashed.
    ids: Chunks<[u8; 32]>,
    free_contents: Vec<ContentNo>,
    by_id: Table,
    hasher: IdHasher,
    docs: Chunks<Doc>,
    doc_lists: Lists<DocNo>,
    holder_lists: Lists<Holder>,
}

#[derive(Debug)]
struct Content {
    /// In two halves, so that a row needs no padding.
    size: [u32; 2],
    /// A document, or a list of them.
    docs: u32,
}

#[derive(Clone, Copy, Debug)]
struct Doc {
    /// With [`UNHASHED`] and [`SHARED`].
    content: u32,
    /// A slot of [`IS_LIST`] says that the rest of the bits is a list.
    holder: Holder,
}

/// Hashes content ids: each half is multiplied with the other under a secret key, and both products are folded. A peer may say
/// any 32 bytes, so that taking some of them as they are would let it crowd one place of the table.
#[derive(Debug)]
struct IdHasher([u64; 4]);

impl Default for IdHasher {
    fn default() -> Self {
        let random = RandomState::new();
        Self(std::array::from_fn(|number| random.hash_one(number)))
    }
}

impl IdHasher {
    fn hash(&self, id: &[u8; 32]) -> u64 {
        let words = id.as_chunks::<8>().0;
        let keyed = |at: usize| u64::from_le_bytes(words[at]) ^ self.0[at];
        let fold = |a: u64, b: u64| {
            let product = u128::from(a) * u128::from(b);
            product as u64 ^ (product >> 64) as u64
        };
        fold(fold(keyed(0), keyed(1)) ^ self.0[2], fold(keyed(2), keyed(3)) ^ self.0[0])
    }
}

impl Relation {
    /// The content of this id and size.
    pub(super) fn find_content(&self, id: &ContentId, size: u64) -> Option<ContentNo> {
        self.by_id.find(self.hasher.hash(id.as_bytes()), |row| self.ids[row] == *id.as_bytes() && self.size(row) == size)
    }

    /// All contents of this id: one, unless somebody lies.
    pub(super) fn contents_of(&self, id: &ContentId) -> Vec<ContentNo> {
        let mut all = Vec::new();
        self.by_id.find(self.hasher.hash(id.as_bytes()), |row| {
            if self.ids[row] == *id.as_bytes() {
                all.push(row);
            }
            false
        });
        all
    }

    /// A new content without documents: link one at once. `None` when there is no room for more.
    pub(super) fn add_content(&mut self, id: Option<&ContentId>, size: u64) -> Option<ContentNo> {
        let content = Content { size: [(size >> 32) as u32, size as u32], docs: NONE };
        let row = match self.free_contents.pop() {
            Some(row) => {
                self.contents[row] = content;
                row
            }
            None if self.contents.len() >= MAX_ROWS as usize => return None,
            None => {
                self.contents.push(content);
                self.contents.len() as u32 - 1
            }
        };
        if let Some(id) = id {
            let Self { ids, hasher, by_id, .. } = self;
            while ids.len() <= row as usize {
                ids.push([0; 32]);
            }
            ids[row] = *id.as_bytes();
            by_id.insert(hasher.hash(id.as_bytes()), row, |row| hasher.hash(&ids[row]));
        }
        Some(row)
    }

    pub(super) fn size(&self, content: ContentNo) -> u64 {
        let [high, low] = self.contents[content].size;
        u64::from(high) << 32 | u64::from(low)
    }

    /// The id of a content that is hashed.
    pub(super) fn id(&self, content: ContentNo) -> ContentId {
        ContentId::from_bytes(self.ids[content])
    }

    /// The documents of a content, held or not.
    pub(super) fn docs_of(&self, content: ContentNo) -> &[DocNo] {
        let docs = &self.contents[content].docs;
        if *docs == NONE {
            &[]
        } else if docs & IS_LIST == 0 {
            std::slice::from_ref(docs)
        } else {
            self.doc_lists.items(ListNo(docs & !IS_LIST))
        }
    }

    /// Makes a row for a document that has just been written, without content and holders.
    pub(super) fn add_doc(&mut self, doc: DocNo) {
        let empty = Doc { content: NONE, holder: Holder::NONE };
        while self.docs.len() <= doc as usize {
            self.docs.push(empty);
        }
        self.docs[doc] = empty;
    }

    /// Says which content a document is of.
    pub(super) fn link(&mut self, doc: DocNo, content: ContentNo, hashed: bool) {
        let docs = self.contents[content].docs;
        let mut flags = if hashed { 0 } else { UNHASHED };
        self.contents[content].docs = if docs == NONE {
            doc
        } else if docs & IS_LIST == 0 {
            self.docs[docs].content |= SHARED;
            flags |= SHARED;
            self.doc_lists.pair(docs, doc).0 | IS_LIST
        } else {
            flags |= SHARED;
            self.doc_lists.push(ListNo(docs & !IS_LIST), doc).0 | IS_LIST
        };
        self.docs[doc].content = content | flags;
    }

    /// Takes a document from its content. A content without documents is gone.
    pub(super) fn unlink(&mut self, doc: DocNo) {
        let Some((content, hashed)) = self.content(doc) else { return };
        self.docs[doc].content = NONE;
        let docs = self.contents[content].docs;
        if docs & IS_LIST == 0 {
            self.free_content(content, hashed);
            return;
        }
        let list = ListNo(docs & !IS_LIST);
        if let Some(at) = self.doc_lists.items(list).iter().position(|other| *other == doc) {
            self.doc_lists.swap_remove(list, at);
        }
        if let [only] = *self.doc_lists.items(list) {
            self.doc_lists.free(list);
            self.contents[content].docs = only;
            self.docs[only].content &= !SHARED;
        }
    }

    fn free_content(&mut self, content: ContentNo, hashed: bool) {
        if hashed {
            let Self { ids, hasher, by_id, .. } = self;
            let hash_of = |row: u32| hasher.hash(&ids[row]);
            by_id.remove(hash_of(content), content, hash_of);
        }
        self.contents[content].docs = NONE;
        self.free_contents.push(content);
    }

    /// Which content a document is of, and whether that is known by its hash.
    pub(super) fn content(&self, doc: DocNo) -> Option<(ContentNo, bool)> {
        let content = self.docs[doc].content;
        (content != NONE).then_some((content & !(UNHASHED | SHARED), content & UNHASHED == 0))
    }

    /// Whether the content of a document may have other documents.
    pub(super) fn is_shared(&self, doc: DocNo) -> bool {
        self.docs[doc].content & SHARED != 0
    }

    /// Looks at the memory of the documents of a block: what comes after a first look is fast.
    pub(super) fn touch_holders(&self, first: DocNo) -> u32 {
        // Three lines of the cache.
        let last = super::names::BLOCK as u32 - 1;
        self.docs[first].content ^ self.docs[first + last / 2].content ^ self.docs[first + last].content
    }

    /// Who has a document.
    pub(super) fn holders(&self, doc: DocNo) -> &[Holder] {
        let holder = &self.docs[doc].holder;
        if holder.slot == NONE {
            &[]
        } else if holder.slot & IS_LIST == 0 {
            std::slice::from_ref(holder)
        } else {
            self.holder_lists.items(ListNo(holder.slot & !IS_LIST))
        }
    }

    /// Adds a holder that the document does not have.
    pub(super) fn hold(&mut self, doc: DocNo, holder: Holder) {
        let now = self.docs[doc].holder;
        self.docs[doc].holder = if now.slot == NONE {
            holder
        } else if now.slot & IS_LIST == 0 {
            Holder { slot: self.holder_lists.pair(now, holder).0 | IS_LIST, mtime: 0 }
        } else {
            Holder { slot: self.holder_lists.push(ListNo(now.slot & !IS_LIST), holder).0 | IS_LIST, mtime: 0 }
        };
    }

    /// Takes a holder from a document. True when nobody is left.
    pub(super) fn release(&mut self, doc: DocNo, slot: u32) -> bool {
        let now = self.docs[doc].holder;
        if now.slot & IS_LIST == 0 || now.slot == NONE {
            let was_it = now.slot == slot;
            if was_it {
                self.docs[doc].holder = Holder::NONE;
            }
            return was_it;
        }
        let list = ListNo(now.slot & !IS_LIST);
        if let Some(at) = self.holder_lists.items(list).iter().position(|holder| holder.slot == slot) {
            self.holder_lists.swap_remove(list, at);
        }
        if let [only] = *self.holder_lists.items(list) {
            self.holder_lists.free(list);
            self.docs[doc].holder = only;
        }
        false
    }

    /// Changes the time of a holder's file.
    pub(super) fn touch(&mut self, doc: DocNo, touched: Holder) {
        let holder = &mut self.docs[doc].holder;
        let holders = if holder.slot & IS_LIST == 0 {
            std::slice::from_mut(holder)
        } else {
            self.holder_lists.items_mut(ListNo(holder.slot & !IS_LIST))
        };
        holders.iter_mut().filter(|holder| holder.slot == touched.slot).for_each(|holder| *holder = touched);
    }

    /// Gives a document's content and holders to another that has neither.
    pub(super) fn move_doc(&mut self, from: DocNo, to: DocNo) {
        let Some((content, hashed)) = self.content(from) else { return };
        // Linked before it is unlinked: the content is not to vanish between.
        self.link(to, content, hashed);
        self.unlink(from);
        self.docs[to].holder = std::mem::replace(&mut self.docs[from].holder, Holder::NONE);
    }

    /// How many numbers of documents were given out.
    pub(super) fn documents(&self) -> usize {
        self.docs.len()
    }

    /// Gives back the room for more rows.
    pub(super) fn trim(&mut self) {
        self.contents.trim();
        self.ids.trim();
        self.docs.trim();
    }

    /// Bytes on the heap, by what they are for.
    pub(super) fn heap_parts(&self) -> [(&'static str, usize); 4] {
        [
            ("contents", self.contents.len() * size_of::<Content>() + self.ids.len() * 32 + self.free_contents.capacity() * 4),
            ("contents by id", self.by_id.heap_bytes()),
            ("documents", self.docs.len() * size_of::<Doc>()),
            ("lists", self.doc_lists.heap_bytes() + self.holder_lists.heap_bytes()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> ContentId {
        ContentId::of(text.as_bytes())
    }

    #[test]
    fn a_content_lives_as_long_as_one_of_its_documents() {
        let mut relation = Relation::default();
        let content = relation.add_content(Some(&id("a")), 1).unwrap();
        for doc in 0..3 {
            relation.add_doc(doc);
            relation.link(doc, content, true);
        }
        assert!(relation.is_shared(0) && relation.docs_of(content) == [0, 1, 2]);
        relation.unlink(0);
        relation.unlink(2);
        assert_eq!((relation.find_content(&id("a"), 1), relation.is_shared(1)), (Some(content), false));
        relation.unlink(1);
        assert_eq!(relation.find_content(&id("a"), 1), None);
        assert_eq!(relation.add_content(None, 5), Some(content));
    }

    #[test]
    fn the_same_id_with_another_size_is_another_content() {
        let mut relation = Relation::default();
        let (truth, lie) = (relation.add_content(Some(&id("a")), 1).unwrap(), relation.add_content(Some(&id("a")), 2).unwrap());
        assert_eq!((relation.find_content(&id("a"), 2), relation.contents_of(&id("a")).len()), (Some(lie), 2));
        assert_eq!((relation.size(truth), relation.size(lie)), (1, 2));
    }

    #[test]
    fn holders_come_and_go() {
        let mut relation = Relation::default();
        relation.add_doc(4);
        for slot in 0..40 {
            relation.hold(4, Holder { slot, mtime: slot });
        }
        relation.touch(4, Holder { slot: 7, mtime: 70 });
        for slot in (0..40).filter(|slot| *slot != 7) {
            assert!(!relation.release(4, slot));
        }
        assert_eq!(relation.holders(4), [Holder { slot: 7, mtime: 70 }]);
        assert!(relation.release(4, 7) && relation.holders(4).is_empty());
    }
}
