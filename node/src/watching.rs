//! A saved search: hits of all trackers, as they are published.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use futures::future::join_all;
use libp2p::PeerId;
use potluck_common::wire::Refusal;
use potluck_common::wire::Text;
use potluck_common::wire::index::{Answer, Cursor, Hit, Request, Watch};
use tokio::sync::mpsc;

use crate::asking::{Asking, Unanswered};
use crate::commands::{Lines, hit_line};
use crate::error::{CommandError, Failure};
use crate::node::Node;
use crate::types::{Item, WatchLine};

/// What trackers told and is not printed yet.
const QUEUE: usize = 64;
/// The pause before a tracker is asked again that did not answer.
const RETRY: Duration = Duration::from_secs(1);
/// Hits that are remembered so that none is told twice.
const MAX_REMEMBERED: usize = 10_000;

/// What a tracker told.
enum Heard {
    /// It watches from now on.
    Begun(PeerId),
    /// Something was published.
    Hit(Box<Hit>),
    /// Something may have been missed.
    Missed(PeerId),
}

/// Which hits were told, up to [`MAX_REMEMBERED`]: a content once, a file without content id once.
#[derive(Default)]
struct Told {
    known: HashSet<String>,
    order: VecDeque<String>,
}

impl Told {
    /// Whether a hit is new.
    fn is_new(&mut self, hit: &Hit) -> bool {
        let at = hit.holders.first().map(|holder| holder.peer.to_string()).unwrap_or_default();
        let key = hit.content_id.map_or_else(|| format!("{at}:{}", hit.path), |id| id.to_string());
        if !self.known.insert(key.clone()) {
            return false;
        }
        self.order.push_back(key);
        if self.order.len() > MAX_REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}

impl Node {
    /// Tells hits as they are published, until the future is dropped.
    ///
    /// # Errors
    /// When there is no tracker, or none of them can watch.
    pub(crate) async fn watch(&self, text: &str, out: &Lines) -> Result<(), CommandError> {
        self.someone_to_ask().await?;
        let trackers = self.asking().contacts.trackers();
        if trackers.is_empty() {
            return Err(CommandError::new(
                Failure::Unreachable,
                "only a tracker can watch, and there is none; name one with --tracker ADDR",
            ));
        }
        let (tell, mut heard) = mpsc::channel(QUEUE);
        let watching = join_all(trackers.iter().map(|tracker| watch_at(self.asking(), *tracker, text, tell.clone())));
        let printing = async {
            let mut told = Told::default();
            while let Some(heard) = heard.recv().await {
                match heard {
                    Heard::Begun(tracker) => out.send(Item::Watching(line("watching", tracker))).await,
                    Heard::Missed(tracker) => out.send(Item::Watching(line("missed", tracker))).await,
                    Heard::Hit(hit) if told.is_new(&hit) => out.send(Item::News(hit_line(&hit))).await,
                    Heard::Hit(_) => {}
                }
            }
        };
        drop(tell);
        let (refusals, ()) = tokio::join!(watching, printing);
        let why: Vec<String> = trackers.iter().zip(&refusals).map(|(tracker, why)| format!("{tracker}: {why}")).collect();
        Err(CommandError::new(
            Failure::NotPermitted,
            format!("no tracker watches for you ({}); `potluck search` asks once", why.join("; ")),
        ))
    }
}

/// Asks a tracker again and again. Returns when it refuses for good.
async fn watch_at(asking: &Asking, tracker: PeerId, text: &str, tell: mpsc::Sender<Heard>) -> Unanswered {
    let mut after: Option<Cursor> = None;
    loop {
        let watch = Watch { namespace: asking.namespace.clone(), text: Text::truncated(text), after: after.clone() };
        let watched = match asking.ask(tracker, Request::Watch(watch)).await {
            Ok(Answer::Watched(watched)) => watched,
            Ok(_) => return Unanswered::Nonsense,
            Err(Unanswered::Refused(why)) if !matches!(why, Refusal::Busy | Refusal::Unavailable) => return Unanswered::Refused(why),
            Err(why) => {
                tracing::debug!(%tracker, %why, "event=watch_interrupted");
                tokio::time::sleep(RETRY).await;
                continue;
            }
        };
        let is_first = after.replace(watched.next).is_none();
        let begun = is_first.then_some(Heard::Begun(tracker));
        let missed = watched.more.then_some(Heard::Missed(tracker));
        let hits = watched.hits.into_iter().map(|hit| Heard::Hit(Box::new(hit)));
        for heard in begun.into_iter().chain(missed).chain(hits) {
            if tell.send(heard).await.is_err() {
                return Unanswered::Nonsense; // nobody listens: this future is about to be dropped
            }
        }
    }
}

fn line(event: &str, tracker: PeerId) -> WatchLine {
    WatchLine { event: event.to_owned(), tracker: tracker.to_string() }
}
