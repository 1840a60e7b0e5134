//! [`Clerk`]: the task that says that this tracker lives, tells who is connected to it, and clears away what has lapsed.
//!
//! It has a connection of its own, so that no number of searches keeps it from its turn.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use potluck_common::namespace::Namespace;
use potluck_common::peer::PeerKey;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_postgres::Client;

use super::DatabaseError;
use super::attendance::Mark;
use super::desk::{Desk, Failure};

/// How often a tracker says that it lives.
const BEAT: Duration = Duration::from_secs(1);
/// How long one may be silent until the others take it for dead, in seconds: with a beat and a round of theirs less than the ten
/// in which a dead peer has to be out of all answers.
const SILENCE: f64 = 6.0;
/// Files of forgotten shelves that are swept at a beat: some 50 ms of the server.
const SWEEP: i64 = 5000;
/// Presence that waits to be told, in lists of one tick each.
const MAX_ORDERS: usize = 8;
/// News that the event loop has not heard.
const MAX_NEWS: usize = 8;
/// How long a beat may take. Statements have limits of their own, which a server that is cut off does not keep; after this the others
/// take this tracker for dead.
const ROUND: Duration = Duration::from_secs(6);
/// Files from which on the server is told to count what is in its tables, and each time that they have doubled. By itself it does so some
/// minutes after they have come, and until then reads the files of every registration for each search: seconds.
const WORTH_COUNTING: u64 = 1000;
/// How the server counts: a sample, some 30,000 rows, which takes a second or two.
const COUNTING: &str = "SET LOCAL statement_timeout = '60s'; ANALYZE files, registrations, presence";
/// How long the last word may take.
const CLOSING: Duration = Duration::from_secs(2);
/// One tracker at a time sweeps: `sweeper` in ASCII.
const SWEEPING: i64 = 0x0073_7765_6570_6572;

/// What the clerk has to tell.
pub(super) enum News {
    /// The others have taken this tracker for dead, or the database has lost it: all presence is to be told again.
    Forgotten,
    /// These could not be told.
    Untold(Vec<Mark>),
}

/// The clerk, seen from the event loop. Dropping it ends the task; the others notice some seconds later.
pub(super) struct Clerk {
    orders: mpsc::Sender<Vec<Mark>>,
    news: mpsc::Receiver<News>,
    task: JoinHandle<()>,
}

/// What the task owns.
struct Worker {
    desk: Arc<Desk>,
    /// `None` while the database is away.
    client: Option<Client>,
    orders: mpsc::Receiver<Vec<Mark>>,
    tell: mpsc::Sender<News>,
    /// How many files there were when the server last counted, and whether it is at it.
    counted: u64,
    counting: Option<JoinHandle<()>>,
}

impl Clerk {
    /// Puts this tracker on the list of those that live, and goes on saying so.
    ///
    /// # Errors
    /// When the database refuses.
    pub(super) async fn start(desk: Arc<Desk>) -> Result<Self, DatabaseError> {
        let client = desk.connect().await?;
        arrive(&client, &desk).await?;
        desk.set_answering(true);
        let (orders, to_do) = mpsc::channel(MAX_ORDERS);
        let (tell, news) = mpsc::channel(MAX_NEWS);
        let worker = Worker { desk, client: Some(client), orders: to_do, tell, counted: 0, counting: None };
        Ok(Self { orders, news, task: tokio::spawn(worker.run()) })
    }

    /// Tells the database who is here and who is not.
    ///
    /// # Errors
    /// When there is no room; the marks come back.
    pub(super) fn tell(&self, marks: Vec<Mark>) -> Result<(), Vec<Mark>> {
        self.orders.try_send(marks).map_err(mpsc::error::TrySendError::into_inner)
    }

    /// What it has to tell; `None` when it has ended.
    pub(super) async fn news(&mut self) -> Option<News> {
        self.news.recv().await
    }

    /// Takes this tracker off the list.
    pub(super) async fn close(self) {
        let Self { orders, news, task } = self;
        drop((orders, news));
        let _too_late = timeout(CLOSING, task).await;
    }
}

impl Worker {
    /// Works until the event loop is gone.
    async fn run(mut self) {
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = beat.tick() => self.on_beat().await,
                marks = self.orders.recv() => match marks {
                    Some(marks) => self.on_marks(marks).await,
                    None => break,
                }
            }
        }
        if let Some(client) = &self.client
            && let Err(error) = client.execute("DELETE FROM trackers WHERE run = $1", &[&self.desk.run]).await
        {
            tracing::debug!(%error, "the others notice by themselves that this tracker has ended");
        }
    }

    async fn on_beat(&mut self) {
        if self.client.is_none() {
            self.client = self.desk.connect().await.ok();
        }
        let Some(client) = &self.client else { return };
        match timeout(ROUND, beat(client, &self.desk)).await {
            Ok(Ok(is_known)) => {
                if !self.desk.set_answering(true) {
                    tracing::info!("the database of the index answers again");
                }
                self.start_counting();
                if !is_known {
                    let _loop_has_ended = self.tell.send(News::Forgotten).await;
                }
            }
            Ok(Err(error)) => self.on_silence(&error),
            Err(elapsed) => self.on_silence(&elapsed),
        }
    }

    /// The database does not do what it is asked. The next beat tries it by a new connection.
    fn on_silence(&mut self, error: &dyn std::error::Error) {
        if self.desk.set_answering(false) {
            tracing::debug!(%error, "the database of the index still does not answer");
        } else {
            tracing::warn!(%error, "the database of the index does not answer");
        }
        self.client = None;
    }

    /// Lets the server count, on a connection that no beat waits for, when there is more than when it last did.
    fn start_counting(&mut self) {
        let files = self.desk.held().files;
        let is_busy = self.counting.as_ref().is_some_and(|counting| !counting.is_finished());
        if is_busy || files < WORTH_COUNTING.max(self.counted.saturating_mul(2)) {
            return;
        }
        self.counted = files;
        let desk = Arc::clone(&self.desk);
        self.counting = Some(tokio::spawn(async move {
            if let Err(failure) = count(&desk).await {
                tracing::debug!(%failure, "the database counts its rows when it comes to it");
            }
        }));
    }

    async fn on_marks(&mut self, marks: Vec<Mark>) {
        let told = match &self.client {
            Some(client) => tell(client, self.desk.run, &marks).await,
            None => Ok(false),
        };
        if !matches!(told, Ok(true)) {
            if let Err(error) = told {
                tracing::debug!(%error, "who is connected could not be told");
            }
            let _loop_has_ended = self.tell.send(News::Untold(marks)).await;
        }
    }
}

async fn count(desk: &Desk) -> Result<(), Failure> {
    let mut client = desk.client().await?;
    let step = client.transaction().await?;
    step.batch_execute(COUNTING).await?;
    Ok(step.commit().await?)
}

/// Begins: where no tracker lives, leases count anew from here, since nobody could renew them.
async fn arrive(client: &Client, desk: &Desk) -> Result<(), tokio_postgres::Error> {
    let sql = "UPDATE registrations SET expires_at = greatest(expires_at, now() + $1 * interval '1 second')
               WHERE NOT EXISTS (SELECT FROM trackers WHERE seen_at > now() - $2 * interval '1 second')";
    client.execute(sql, &[&desk.lease_seconds(), &SILENCE]).await?;
    beat(client, desk).await.map(drop)
}

/// A sign of life, and a look at what has lapsed. `false` when this tracker was not on the list.
async fn beat(client: &Client, desk: &Desk) -> Result<bool, tokio_postgres::Error> {
    let known = client.execute("UPDATE trackers SET seen_at = now() WHERE run = $1", &[&desk.run]).await?;
    if known == 0 {
        client.execute("INSERT INTO trackers (run) VALUES ($1)", &[&desk.run]).await?;
    }
    client.execute("DELETE FROM trackers WHERE seen_at < now() - $1 * interval '1 second'", &[&SILENCE]).await?;
    let lapsed = "WITH gone AS (DELETE FROM registrations WHERE expires_at <= now() RETURNING shelf)
                  INSERT INTO forgotten SELECT shelf FROM gone WHERE shelf IS NOT NULL";
    client.execute(lapsed, &[]).await?;
    sweep(client).await?;
    let sql = "SELECT coalesce(sum(files), 0)::bigint, coalesce(sum(path_bytes), 0)::bigint FROM registrations";
    let held = client.query_one(sql, &[]).await?;
    desk.set_held(held.try_get::<_, i64>(0)?.cast_unsigned(), held.try_get::<_, i64>(1)?.cast_unsigned());
    Ok(known > 0)
}

/// Clears some of what stands on shelves that belong to nobody.
async fn sweep(client: &Client) -> Result<(), tokio_postgres::Error> {
    let Some(shelf) = client.query_opt("SELECT shelf FROM forgotten LIMIT 1", &[]).await? else { return Ok(()) };
    let shelf: i64 = shelf.try_get(0)?;
    if !client.query_one("SELECT pg_try_advisory_lock($1)", &[&SWEEPING]).await?.try_get::<_, bool>(0)? {
        return Ok(());
    }
    let sql = "DELETE FROM files WHERE (content, shelf, place) IN (SELECT content, shelf, place FROM files WHERE shelf = $1 LIMIT $2)";
    let swept = client.execute(sql, &[&shelf, &SWEEP]).await;
    if let Ok(0) = swept {
        client.execute("DELETE FROM forgotten WHERE shelf = $1", &[&shelf]).await?;
    }
    client.query_one("SELECT pg_advisory_unlock($1)", &[&SWEEPING]).await?;
    swept.map(drop)
}

/// Tells who is here and who is not. `false` when this tracker is not on the list, so that it cannot be told.
async fn tell(client: &Client, run: i64, marks: &[Mark]) -> Result<bool, tokio_postgres::Error> {
    let mut lists: HashMap<bool, (Vec<&str>, Vec<&[u8]>)> = HashMap::new();
    for (namespace, peer, is_here) in marks {
        let (namespaces, peers) = lists.entry(*is_here).or_default();
        namespaces.push(Namespace::as_str(namespace));
        peers.push(PeerKey::as_bytes(peer));
    }
    if let Some((namespaces, peers)) = lists.get(&false) {
        let sql = "DELETE FROM presence p USING registrations r, unnest($1::text[], $2::bytea[]) AS gone(namespace, peer)
                   WHERE p.tracker = $3 AND p.registration = r.number AND r.namespace = gone.namespace AND r.peer = gone.peer";
        client.execute(sql, &[namespaces, peers, &run]).await?;
    }
    if let Some((namespaces, peers)) = lists.get(&true) {
        let sql = "INSERT INTO presence SELECT r.number, t.run FROM trackers t, registrations r, unnest($1::text[], $2::bytea[]) AS here(namespace, peer)
                   WHERE t.run = $3 AND r.namespace = here.namespace AND r.peer = here.peer ON CONFLICT DO NOTHING";
        client.execute(sql, &[namespaces, peers, &run]).await?;
        return Ok(!client.query("SELECT FROM trackers WHERE run = $1", &[&run]).await?.is_empty());
    }
    Ok(true)
}
