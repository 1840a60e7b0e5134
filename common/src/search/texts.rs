//! [`Texts`]: the paths of all documents, from the leaf that is being written to the greatest segment.
//!
//! Documents are numbered as they are written: `leaf × 8192 + place`. The *open* leaf takes new paths as plain text, and is
//! scanned by searches. A full one is scanned too until it has been made into a segment; sixteen segments of one leaf are
//! joined to one of 16, eight of those to one of 128: every path is copied twice, and ten million documents are some 25
//! segments to search. All of that is [`Job`]s that hold what they read, so that they run beside searches and puts.
//!
//! For each leaf, joined or not, there is a [`Promise`]: what its blocks are worth at best to a search. It changes with the
//! number of sources, and so is kept outside of the segments.

use std::sync::Arc;

use super::fold::fold_into;
use super::names::{BLOCK, Names};
use super::rank::MOST_PROMISE;
use super::relation::DocNo;
use super::segment::{LEAF, LEAF_BLOCKS, MAX_LEAVES, Segment};

/// How many segments of one size are joined, and the size in leaves that they have together.
const TIERS: [(usize, usize); 2] = [(16, 16), (8, MAX_LEAVES)];
/// Full leaves that may wait for a job. One more is made into a segment by the put that fills it: some 10 ms.
const MAX_WAITING: usize = 4;
/// Points between two levels of promise.
const LEVEL_POINTS: u32 = 16;
/// Points for sources from which on a document is popular: eight sources promised, so four or more.
const POPULAR: u32 = 48;
/// Levels of promise, the best first.
pub(super) const LEVELS: usize = (MOST_PROMISE / LEVEL_POINTS) as usize + 1;

/// The paths of all documents.
#[derive(Debug, Default)]
pub(super) struct Texts {
    leaves: Vec<LeafState>,
    free_leaves: Vec<u32>,
    open: Option<Leaf>,
    waiting: Vec<Arc<Leaf>>,
    segments: Vec<Option<Arc<Segment>>>,
    /// Which segments a job joins, or which leaf it makes into one.
    busy: Vec<Busy>,
}

/// What is known of a leaf, wherever its text is.
#[derive(Debug)]
struct LeafState {
    home: Home,
    promise: Box<Promise>,
    /// How many of its documents somebody holds.
    live: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Home {
    Free,
    Open,
    Waiting,
    Segment { number: u32, place: u32 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Busy {
    Leaf(u32),
    Segment(u32),
}

/// Paths that are scanned.
#[derive(Debug)]
pub(super) struct Leaf {
    pub(super) number: u32,
    paths: Lines,
    folded: Lines,
}

/// Texts, each with a line feed behind it, which no path holds.
#[derive(Debug, Default)]
struct Lines {
    text: String,
    ends: Vec<u32>,
}

/// What the blocks of a leaf are worth at best, in levels: for short paths and many sources together, and for sources alone.
#[derive(Debug)]
pub(super) struct Promise {
    /// The level of each block, and what its sources are worth in levels: together, since whoever looks at one looks at the other.
    of_block: [[u8; 2]; LEAF_BLOCKS],
    blocks: [[u64; LEAF_BLOCKS / 64]; LEVELS],
    popular: [u64; LEAF_BLOCKS / 64],
}

/// Work on the texts that needs no index while it is done.
#[derive(Debug)]
pub struct Job(Inputs);

#[derive(Debug)]
enum Inputs {
    Leaf(Arc<Leaf>),
    Segments(Vec<(u32, Arc<Segment>)>),
}

/// A job that is done.
#[derive(Debug)]
pub struct Done {
    job: Job,
    segment: Segment,
}

impl Job {
    /// Does the work: up to 100 ms of one core.
    #[must_use]
    pub fn run(self) -> Done {
        let segment = match &self.0 {
            Inputs::Leaf(leaf) => Segment::of_leaf(leaf.number, Names::code((0..LEAF).map(|place| leaf.paths.get(place)))),
            Inputs::Segments(parts) => Segment::join(&parts.iter().map(|(_, part)| part.as_ref()).collect::<Vec<_>>()),
        };
        Done { job: self, segment }
    }
}

impl Texts {
    /// Writes a path, and tells the number of its document and the length of the folded path. `None` when all numbers are given out.
    pub(super) fn write(&mut self, path: &str) -> Option<(DocNo, usize)> {
        if self.open.as_ref().is_none_or(|open| open.len() == LEAF) {
            self.open_leaf()?;
        }
        let open = self.open.as_mut()?;
        let doc = open.number * LEAF as u32 + open.len() as u32;
        let len = open.write(path);
        Some((doc, len))
    }

    fn open_leaf(&mut self) -> Option<()> {
        if let Some(full) = self.open.take() {
            self.leaves[full.number as usize].home = Home::Waiting;
            self.waiting.push(Arc::new(full));
            while self.waiting.len() > MAX_WAITING {
                let Some(job) = self.leaf_job() else { break };
                self.finish(job.run());
            }
        }
        let number = match self.free_leaves.pop() {
            Some(number) => number,
            None if self.leaves.len() >= (super::table::MAX_ROWS as usize) / LEAF => return None,
            None => {
                self.leaves.push(LeafState { home: Home::Free, promise: Box::default(), live: 0 });
                self.leaves.len() as u32 - 1
            }
        };
        self.leaves[number as usize] = LeafState { home: Home::Open, promise: Box::default(), live: 0 };
        self.open = Some(Leaf { number, paths: Lines::default(), folded: Lines::default() });
        Some(())
    }

    /// Reads the path of a document.
    pub(super) fn read(&self, doc: DocNo, path: &mut Vec<u8>) {
        let (leaf, place) = (doc / LEAF as u32, doc as usize % LEAF);
        match self.leaves.get(leaf as usize).map(|state| state.home) {
            Some(Home::Segment { number, place: at }) => {
                if let Some(segment) = self.segment(number) {
                    segment.names.read(at as usize * LEAF + place, path);
                }
            }
            _ => {
                path.clear();
                path.extend(self.scanned().find(|known| known.number == leaf).map(|known| known.paths.get(place)).unwrap_or_default());
            }
        }
    }

    /// The leaves that are scanned.
    pub(super) fn scanned(&self) -> impl Iterator<Item = &Leaf> {
        self.open.iter().chain(self.waiting.iter().map(Arc::as_ref))
    }

    /// The segments that are searched, with their numbers.
    pub(super) fn segments(&self) -> impl Iterator<Item = (u32, &Segment)> {
        self.segments.iter().enumerate().filter_map(|(number, segment)| Some((number as u32, segment.as_deref()?)))
    }

    pub(super) fn segment(&self, number: u32) -> Option<&Segment> {
        self.segments.get(number as usize)?.as_deref()
    }

    /// Says that a document is worth at least so many points before it is read: for its sources, and for its short path.
    pub(super) fn promise(&mut self, doc: DocNo, popularity: u32, shortness: u32) {
        if let Some(state) = self.leaves.get_mut(doc as usize / LEAF) {
            state.promise.raise(doc as usize % LEAF / BLOCK, popularity, shortness);
        }
    }

    /// Which blocks of a leaf hold a popular document.
    pub(super) fn popular(&self, leaf: u32) -> &[u64] {
        self.leaves.get(leaf as usize).map(|state| state.promise.popular.as_slice()).unwrap_or_default()
    }

    /// What the documents in a block of a leaf are worth at most for their sources and their length together, those whose length is
    /// worth `short` at most.
    pub(super) fn most_worth(&self, leaf: u32, block: usize, short: u32) -> u32 {
        let Some(promise) = self.leaves.get(leaf as usize).map(|state| &state.promise) else { return 0 };
        let Some([level, popularity]) = promise.of_block.get(block) else { return 0 };
        (u32::from(*popularity) * LEVEL_POINTS + short).min(Promise::most(usize::from(*level).min(LEVELS - 1)))
    }

    /// What a block of a leaf is worth at most for its shortest and most popular name; `None` when it never held any.
    pub(super) fn most_promise(&self, leaf: u32, block: usize) -> Option<u32> {
        let level = usize::from(self.leaves.get(leaf as usize)?.promise.of_block.get(block)?[0]);
        (level < LEVELS).then(|| Promise::most(level))
    }

    /// Which blocks of a leaf have a level of promise, as words of 64 blocks.
    pub(super) fn promised(&self, leaf: u32, level: usize) -> &[u64] {
        self.leaves.get(leaf as usize).and_then(|state| state.promise.blocks.get(level)).map(<[u64; _]>::as_slice).unwrap_or_default()
    }

    /// Counts a document that somebody holds now, or nobody any more.
    pub(super) fn count_live(&mut self, doc: DocNo, live: bool) {
        if let Some(state) = self.leaves.get_mut(doc as usize / LEAF) {
            state.live = if live { state.live.saturating_add(1) } else { state.live.saturating_sub(1) };
        }
    }

    /// The next work that can be done beside everything else.
    pub(super) fn next_job(&mut self) -> Option<Job> {
        self.leaf_job().or_else(|| self.join_job())
    }

    /// Joins all segments that wait for others of their size, if there are several.
    pub(super) fn settling_job(&mut self) -> Option<Job> {
        let (_, least) = TIERS[0];
        let small = |(number, segment): (usize, &Option<Arc<Segment>>)| {
            let segment = segment.as_ref().filter(|segment| segment.leaves.len() < least)?;
            (!self.busy.contains(&Busy::Segment(number as u32))).then(|| (number as u32, Arc::clone(segment)))
        };
        let parts: Vec<(u32, Arc<Segment>)> = self.segments.iter().enumerate().filter_map(small).collect();
        (parts.len() > 1).then(|| self.join(parts))
    }

    fn join(&mut self, parts: Vec<(u32, Arc<Segment>)>) -> Job {
        self.busy.extend(parts.iter().map(|(number, _)| Busy::Segment(*number)));
        Job(Inputs::Segments(parts))
    }

    fn leaf_job(&mut self) -> Option<Job> {
        let leaf = self.waiting.iter().find(|leaf| !self.busy.contains(&Busy::Leaf(leaf.number)))?;
        self.busy.push(Busy::Leaf(leaf.number));
        Some(Job(Inputs::Leaf(Arc::clone(leaf))))
    }

    fn join_job(&mut self) -> Option<Job> {
        for (count, together) in TIERS {
            // Of one size only: what is joined with lesser ones would be of a size that is never joined again.
            let fits = |segment: &&Arc<Segment>| segment.leaves.len() * count == together;
            let all =
                self.segments.iter().enumerate().filter_map(|(number, segment)| Some((number as u32, segment.as_ref().filter(fits)?)));
            let free = all.filter(|(number, _)| !self.busy.contains(&Busy::Segment(*number)));
            let parts: Vec<(u32, Arc<Segment>)> = free.take(count).map(|(number, segment)| (number, Arc::clone(segment))).collect();
            if parts.len() == count {
                return Some(self.join(parts));
            }
        }
        None
    }

    /// Puts the result of a job in the place of what it was made of.
    pub(super) fn finish(&mut self, done: Done) {
        match done.job.0 {
            Inputs::Leaf(leaf) => {
                self.busy.retain(|busy| *busy != Busy::Leaf(leaf.number));
                self.waiting.retain(|waiting| waiting.number != leaf.number);
            }
            Inputs::Segments(parts) => {
                for (number, _) in parts {
                    self.busy.retain(|busy| *busy != Busy::Segment(number));
                    self.segments[number as usize] = None;
                }
            }
        }
        let number = self.segments.iter().position(Option::is_none).unwrap_or(self.segments.len());
        for (place, leaf) in done.segment.leaves.iter().enumerate() {
            self.leaves[*leaf as usize].home = Home::Segment { number: number as u32, place: place as u32 };
        }
        let segment = Some(Arc::new(done.segment));
        match self.segments.get_mut(number) {
            Some(free) => *free = segment,
            None => self.segments.push(segment),
        }
    }

    /// A segment of whose documents most are held by nobody, that no job works on.
    pub(super) fn mostly_dead(&self) -> Option<u32> {
        let is_dead = |number: u32, segment: &Segment| {
            let live: usize = segment.leaves.iter().map(|leaf| usize::from(self.leaves[*leaf as usize].live)).sum();
            live * 2 < segment.leaves.len() * LEAF && !self.busy.contains(&Busy::Segment(number))
        };
        self.segments().find(|(number, segment)| is_dead(*number, segment)).map(|(number, _)| number)
    }

    /// Keeps jobs from a segment, while its documents move out.
    pub(super) fn reserve(&mut self, number: u32) {
        self.busy.push(Busy::Segment(number));
    }

    /// Drops a segment whose documents have moved out; their numbers are given out again.
    pub(super) fn drop_segment(&mut self, number: u32) {
        self.busy.retain(|busy| *busy != Busy::Segment(number));
        let Some(segment) = self.segments.get_mut(number as usize).and_then(Option::take) else { return };
        for leaf in &segment.leaves {
            self.leaves[*leaf as usize].home = Home::Free;
            self.free_leaves.push(*leaf);
        }
    }

    /// Bytes on the heap, by what they are for.
    pub(super) fn heap_parts(&self) -> Vec<(&'static str, usize)> {
        let scanned: usize = self.scanned().map(|leaf| leaf.paths.heap_bytes() + leaf.folded.heap_bytes()).sum();
        let promises = self.leaves.len() * (size_of::<LeafState>() + size_of::<Promise>());
        let segments = self.segments().map(|(_, segment)| segment.heap_bytes());
        let [names, postings, words] = segments.fold([0; 3], |sum, part| std::array::from_fn(|kind| sum[kind] + part[kind]));
        vec![("scanned leaves", scanned), ("promises", promises), ("names", names), ("postings", postings), ("words", words)]
    }
}

impl Leaf {
    /// How many paths it has.
    pub(super) fn len(&self) -> usize {
        self.paths.ends.len()
    }

    fn write(&mut self, path: &str) -> usize {
        self.paths.write(|text| text.push_str(path));
        self.folded.write(|text| fold_into(path, text))
    }

    /// A folded path.
    pub(super) fn folded(&self, place: usize) -> &[u8] {
        self.folded.get(place)
    }

    /// A path as published.
    pub(super) fn path(&self, place: usize) -> &[u8] {
        self.paths.get(place)
    }

    /// All folded paths, each with a line feed behind it.
    pub(super) fn all_folded(&self) -> &[u8] {
        self.folded.text.as_bytes()
    }

    /// Which path a byte of [`all_folded`](Self::all_folded) belongs to.
    pub(super) fn place_of(&self, at: usize) -> usize {
        self.folded.ends.partition_point(|end| *end as usize <= at)
    }

    /// Where the path after a place starts in [`all_folded`](Self::all_folded).
    pub(super) fn after(&self, place: usize) -> usize {
        self.folded.ends.get(place).map_or(self.folded.text.len(), |end| *end as usize)
    }
}

impl Lines {
    fn write(&mut self, write: impl FnOnce(&mut String)) -> usize {
        let start = self.text.len();
        write(&mut self.text);
        let len = self.text.len() - start;
        self.text.push('\n');
        self.ends.push(self.text.len() as u32);
        len
    }

    fn get(&self, place: usize) -> &[u8] {
        let start = place.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |end| *end as usize);
        self.ends.get(place).and_then(|end| self.text.as_bytes().get(start..*end as usize - 1)).unwrap_or_default()
    }

    fn heap_bytes(&self) -> usize {
        self.text.capacity() + self.ends.capacity() * 4
    }
}

impl Default for Promise {
    fn default() -> Self {
        Self { of_block: [[LEVELS as u8, 0]; LEAF_BLOCKS], blocks: [[0; LEAF_BLOCKS / 64]; LEVELS], popular: [0; LEAF_BLOCKS / 64] }
    }
}

impl Promise {
    fn raise(&mut self, block: usize, popularity: u32, shortness: u32) {
        let [before, sources] = &mut self.of_block[block];
        *sources = (popularity.div_ceil(LEVEL_POINTS) as u8).max(*sources);
        if popularity >= POPULAR {
            self.popular[block / 64] |= 1 << (block % 64);
        }
        let level = (MOST_PROMISE.saturating_sub(popularity + shortness) / LEVEL_POINTS) as u8;
        if level < *before {
            if let Some(blocks) = self.blocks.get_mut(usize::from(std::mem::replace(before, level))) {
                blocks[block / 64] &= !(1 << (block % 64));
            }
            self.blocks[level as usize][block / 64] |= 1 << (block % 64);
        }
    }

    /// What a block of this level is worth at most.
    pub(super) fn most(level: usize) -> u32 {
        MOST_PROMISE - LEVEL_POINTS * level as u32
    }
}
