//! What happens, as a stream of server-sent events that can be taken up again: each event has an id, and the last ones are
//! kept. Beside them a `tick` each second tells the rates; it has no id and is not kept, but the rates are.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::sse::{self, KeepAlive, Sse};
use futures::Stream;
use futures::stream;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::broadcast::{self, Receiver};
use tokio::time::{MissedTickBehavior, interval};

use super::Api;
use crate::clock::{rfc3339, unix_seconds};
use crate::node::Node;
use crate::types::Event;

/// Events that are kept for who comes back: some days of a quiet node.
const KEPT_EVENTS: usize = 1000;
/// Samples of the rates that are kept: five minutes.
const KEPT_SAMPLES: usize = 300;
/// Events that a slow reader may be behind before it misses some; it is told so, and can ask for those that are kept.
const QUEUE: usize = 256;
/// How often the rates are sampled.
const TICK: Duration = Duration::from_secs(1);

/// How fast it goes, at a time.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub(super) struct Sample {
    /// Seconds since 1970.
    at: i64,
    /// Bytes per second received.
    down: u64,
    /// Bytes per second sent.
    up: u64,
    /// Downloads that are not done.
    downloads: u64,
}

/// Gathers what happens and hands it on. Cloning shares it.
#[derive(Clone)]
pub(super) struct Hub(Arc<Inner>);

struct Inner {
    kept: Mutex<Kept>,
    live: broadcast::Sender<Told>,
    /// Tells events of this run from those of another, whose numbers begin anew.
    epoch: i64,
}

#[derive(Default)]
struct Kept {
    events: VecDeque<(u64, String)>,
    samples: VecDeque<Sample>,
    last: u64,
}

/// What a reader of the stream is told.
#[derive(Clone, Debug)]
enum Told {
    Event { number: u64, json: String },
    Tick(Sample),
}

impl Hub {
    /// Starts to gather what happens to a node.
    pub(super) fn start(node: Node) -> Self {
        let hub = Self(Arc::new(Inner { kept: Mutex::default(), live: broadcast::Sender::new(QUEUE), epoch: unix_seconds() }));
        tokio::spawn(hub.clone().run(node.events(), node));
        hub
    }

    async fn run(self, mut events: Receiver<Event>, node: Node) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Ok(event) => self.keep(&event),
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                },
                _ = tick.tick() => self.sample(&node),
            }
        }
    }

    fn keep(&self, event: &Event) {
        let Ok(serde_json::Value::Object(mut object)) = serde_json::to_value(event) else { return };
        object.insert("at".to_owned(), rfc3339(unix_seconds()).into());
        let json = serde_json::Value::Object(object).to_string();
        let mut kept = self.kept();
        kept.last += 1;
        let number = kept.last;
        if kept.events.len() == KEPT_EVENTS {
            kept.events.pop_front();
        }
        kept.events.push_back((number, json.clone()));
        let _ = self.0.live.send(Told::Event { number, json }); // perhaps nobody listens
    }

    fn sample(&self, node: &Node) {
        let (down, up, downloads) = node.rates();
        let sample = Sample { at: unix_seconds(), down, up, downloads };
        let mut kept = self.kept();
        if kept.samples.len() == KEPT_SAMPLES {
            kept.samples.pop_front();
        }
        kept.samples.push_back(sample);
        let _ = self.0.live.send(Told::Tick(sample));
    }

    /// What is kept after an event, then all that follows. An id of another run, or none, stands for nothing that was seen.
    fn follow(&self, since: Option<&str>) -> (VecDeque<Told>, Receiver<Told>) {
        let kept = self.kept(); // held while subscribing, so that nothing is told twice or never
        let of_this_run = since.and_then(|id| id.split_once('-')).filter(|(epoch, _)| *epoch == self.0.epoch.to_string());
        let seen = of_this_run.and_then(|(_, number)| number.parse().ok()).unwrap_or(if since.is_some() { 0 } else { kept.last });
        let missed = kept.events.iter().filter(|(number, _)| *number > seen);
        let missed = missed.map(|(number, json)| Told::Event { number: *number, json: json.clone() }).collect();
        (missed, self.0.live.subscribe())
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn told(&self, told: Told) -> sse::Event {
        match told {
            Told::Event { number, json } => sse::Event::default().id(format!("{}-{number}", self.0.epoch)).event("event").data(json),
            Told::Tick(sample) => sse::Event::default().event("tick").data(serde_json::to_string(&sample).unwrap_or_default()),
        }
    }
}

/// Where to begin.
#[derive(Debug, Deserialize)]
pub(super) struct Since {
    since: Option<String>,
}

pub(super) async fn serve(
    State(api): State<Api>,
    Query(Since { since }): Query<Since>,
    headers: HeaderMap,
) -> Sse<impl Stream<Item = Result<sse::Event, Infallible>>> {
    // What a browser sends by itself when it connects again comes before what stood in the address.
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()).map(ToOwned::to_owned);
    let hub = api.0.hub.clone();
    let (missed, live) = hub.follow(last.or(since).as_deref());
    let stream = stream::unfold((hub, missed, live), |(hub, mut missed, mut live)| async move {
        let event = match missed.pop_front() {
            Some(told) => hub.told(told),
            None => match live.recv().await {
                Ok(told) => hub.told(told),
                Err(RecvError::Lagged(count)) => sse::Event::default().event("missed").data(count.to_string()),
                Err(RecvError::Closed) => return None,
            },
        };
        Some((Ok(event), (hub, missed, live)))
    });
    Sse::new(stream).keep_alive(KeepAlive::default())
}

pub(super) async fn rates(State(api): State<Api>) -> Json<Vec<Sample>> {
    Json(api.0.hub.kept().samples.iter().copied().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub() -> Hub {
        Hub(Arc::new(Inner { kept: Mutex::default(), live: broadcast::Sender::new(QUEUE), epoch: 7 }))
    }

    fn numbers(hub: &Hub, since: Option<&str>) -> Vec<u64> {
        let number = |told| match told {
            Told::Event { number, .. } => Some(number),
            Told::Tick(_) => None,
        };
        hub.follow(since).0.into_iter().filter_map(number).collect()
    }

    #[test]
    fn who_comes_back_is_told_what_was_missed_and_no_more_than_is_kept() {
        let hub = hub();
        for _ in 0..3 {
            hub.keep(&Event::Warning { message: "x".into() });
        }
        assert_eq!(numbers(&hub, None), Vec::<u64>::new(), "who comes new is told what happens from now on");
        assert_eq!(numbers(&hub, Some("7-1")), [2, 3]);
        assert_eq!(numbers(&hub, Some("0")), [1, 2, 3]);
        assert_eq!(numbers(&hub, Some("6-3")), [1, 2, 3], "of another run");
        for _ in 0..KEPT_EVENTS {
            hub.keep(&Event::Warning { message: "x".into() });
        }
        assert_eq!(numbers(&hub, Some("7-1")).len(), KEPT_EVENTS);
    }
}
