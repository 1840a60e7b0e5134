//! [`Desk`]: the pool of connections, and the short errands.

use std::error::Error as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime, Transaction};
use potluck_common::namespace::Namespace;
use potluck_common::peer::PeerKey;
use potluck_common::wire::index::Address;
use potluck_common::wire::{Bounded, MAX_ADDRESSES, Refusal};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::DatabaseError;
use super::changes::Account;
use crate::quota::Limits;

/// Connections for requests: a search keeps one core of the server busy, and few have more.
const CONNECTIONS: usize = 16;
/// How long a request waits for one of them.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long a connection may take to come about.
const CONNECTING: Duration = Duration::from_secs(5);
/// How long the other end may leave unanswered what was sent, or say nothing at rest, until a connection is given up: a machine that
/// has lost its power says no goodbye.
const SILENCE: Duration = Duration::from_secs(10);
/// What all our statements run under: no search takes a core for longer than anybody waits, plans are made for the words that
/// are asked and not for any, and rows come in the same order each time, which is what pages rely on.
const SETTINGS: &str = "-c statement_timeout=5s -c lock_timeout=3s -c idle_in_transaction_session_timeout=15s \
    -c search_path=potluck,public -c plan_cache_mode=force_custom_plan -c synchronize_seqscans=off -c jit=off \
    -c max_parallel_workers_per_gather=0 -c pg_trgm.word_similarity_threshold=0.4";

/// Where requests are carried out. Shared by their tasks.
pub(super) struct Desk {
    config: Config,
    tls: MakeRustlsConnect,
    pool: Pool,
    /// Whether the database did what the clerk asked last.
    is_answering: AtomicBool,
    /// Who this tracker is, from this start to its end.
    pub(super) run: i64,
    pub(super) limits: Limits,
    pub(super) lease: Duration,
    files: AtomicU64,
    path_bytes: AtomicU64,
}

/// Why the database did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// It has too much to do.
    #[error("the database is busy: {0}")]
    Busy(String),
    /// It cannot, or is not there.
    #[error("the database failed: {0}")]
    Broken(String),
}

impl Failure {
    pub(super) fn refusal(&self) -> Refusal {
        match self {
            Self::Busy(_) => Refusal::Busy,
            Self::Broken(why) => {
                tracing::warn!(%why, "the database of the index fails: a request is refused");
                Refusal::Unavailable
            }
        }
    }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        let is_busy = [SqlState::QUERY_CANCELED, SqlState::LOCK_NOT_AVAILABLE, SqlState::T_R_DEADLOCK_DETECTED];
        match error.code() {
            Some(code) if is_busy.contains(code) => Self::Busy(sentence(&error)),
            _ => Self::Broken(sentence(&error)),
        }
    }
}

impl From<PoolError> for Failure {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Timeout(_) => Self::Busy("all its connections are in use".to_owned()),
            PoolError::Backend(error) => error.into(),
            other => Self::Broken(other.to_string()),
        }
    }
}

impl Desk {
    /// Opens the pool, and brings the tables to the present version.
    ///
    /// # Errors
    /// When the database cannot be used.
    pub(super) async fn open(url: &str, limits: Limits, lease: Duration) -> Result<Self, DatabaseError> {
        let (mut config, tls) = super::tls::open(url)?;
        config.options(SETTINGS).application_name("potluck-tracker").connect_timeout(CONNECTING);
        config.tcp_user_timeout(SILENCE).keepalives_idle(SILENCE);
        let manager = Manager::from_config(config.clone(), tls.clone(), ManagerConfig { recycling_method: RecyclingMethod::Fast });
        let pool = Pool::builder(manager)
            .max_size(CONNECTIONS)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(PATIENCE))
            .create_timeout(Some(CONNECTING))
            .build()
            .map_err(|error| DatabaseError::Refused(error.to_string()))?;
        let run = rand::random();
        let (files, path_bytes) = (AtomicU64::new(0), AtomicU64::new(0));
        let desk = Self { config, tls, pool, is_answering: AtomicBool::new(false), run, limits, lease, files, path_bytes };
        let mut client = desk.connect().await?;
        super::schema::prepare(&mut client).await?;
        Ok(desk)
    }

    /// A connection beside the pool.
    pub(super) async fn connect(&self) -> Result<Client, tokio_postgres::Error> {
        let (client, connection) = self.config.connect(self.tls.clone()).await?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the database has ended");
            }
        });
        Ok(client)
    }

    /// A connection of the pool.
    pub(super) async fn client(&self) -> Result<Object, Failure> {
        Ok(self.pool.get().await?)
    }

    /// How much all peers offered together when it was last looked.
    pub(super) fn held(&self) -> Account {
        let load = |number: &AtomicU64| number.load(Ordering::Relaxed);
        Account { files: load(&self.files), bytes: 0, path_bytes: load(&self.path_bytes) }
    }

    pub(super) fn set_held(&self, files: u64, path_bytes: u64) {
        self.files.store(files, Ordering::Relaxed);
        self.path_bytes.store(path_bytes, Ordering::Relaxed);
    }

    /// Whether the database answers, as far as the clerk knows.
    pub(super) fn is_answering(&self) -> bool {
        self.is_answering.load(Ordering::Relaxed)
    }

    /// Returns whether this is how it was before.
    pub(super) fn set_answering(&self, is_answering: bool) -> bool {
        self.is_answering.swap(is_answering, Ordering::Relaxed) == is_answering
    }

    /// The lease as the database counts it.
    pub(super) fn lease_seconds(&self) -> f64 {
        self.lease.as_secs_f64()
    }

    /// A peer leaves a namespace, or all of them.
    pub(super) async fn withdraw(&self, peer: &PeerKey, namespace: Option<&Namespace>) -> Result<(), Failure> {
        let client = self.client().await?;
        let namespace = namespace.map(Namespace::as_str);
        let sql = "WITH gone AS (DELETE FROM registrations WHERE peer = $1 AND ($2::text IS NULL OR namespace = $2) RETURNING shelf)
                   INSERT INTO forgotten SELECT shelf FROM gone WHERE shelf IS NOT NULL";
        client.execute(&client.prepare_cached(sql).await?, &[&peer.as_bytes(), &namespace]).await?;
        Ok(())
    }

    /// A peer has registered by rendezvous. Changes nothing for one that publishes, or when there is no room.
    pub(super) async fn register_guest(
        &self,
        peer: &PeerKey,
        namespace: &Namespace,
        addresses: &Bounded<Address, MAX_ADDRESSES>,
        ttl: Duration,
    ) -> Result<(), Failure> {
        let mut client = self.client().await?;
        let step = client.transaction().await?;
        if !self.admit(&step, peer, namespace).await? {
            return Ok(());
        }
        let sql = "UPDATE registrations SET addresses = $3, expires_at = now() + $4 * interval '1 second'
                   WHERE namespace = $1 AND peer = $2 AND NOT publishes";
        let addresses = as_bytes(addresses);
        step.execute(sql, &[&namespace.as_str(), &peer.as_bytes(), &addresses, &ttl.as_secs_f64()]).await?;
        self.note_presence(&step, namespace, peer).await?;
        Ok(step.commit().await?)
    }

    /// Makes the row of a registration if there is none. `false` when there is no room for it.
    pub(super) async fn admit(&self, step: &Transaction<'_>, peer: &PeerKey, namespace: &Namespace) -> Result<bool, Failure> {
        let key: [&(dyn tokio_postgres::types::ToSql + Sync); 2] = [&namespace.as_str(), &peer.as_bytes()];
        if step.query_opt("SELECT FROM registrations WHERE namespace = $1 AND peer = $2", &key).await?.is_some() {
            return Ok(true);
        }
        let sql = "SELECT (SELECT count(*) FROM registrations WHERE namespace = $1),
                          (SELECT count(*) FROM registrations WHERE peer = $2),
                          (SELECT count(DISTINCT namespace) FROM registrations WHERE namespace <> $1)";
        let counts = step.query_one(sql, &key).await?;
        let count = |place: usize| -> Result<u64, Failure> { Ok(u64::try_from(counts.try_get::<_, i64>(place)?).unwrap_or(0)) };
        let has_room = count(0)? < self.limits.peers_per_namespace
            && count(1)? < self.limits.namespaces_per_peer
            && count(2)? < self.limits.namespaces;
        if has_room {
            let sql = "INSERT INTO registrations (namespace, peer, expires_at) VALUES ($1, $2, now() + $3 * interval '1 second')
                       ON CONFLICT (namespace, peer) DO NOTHING";
            step.execute(sql, &[&namespace.as_str(), &peer.as_bytes(), &self.lease_seconds()]).await?;
        }
        Ok(has_room)
    }

    /// A registered peer is connected here. Not noted while the others take this tracker for dead: the clerk tells again.
    pub(super) async fn note_presence(&self, step: &Transaction<'_>, namespace: &Namespace, peer: &PeerKey) -> Result<(), Failure> {
        let sql = "INSERT INTO presence SELECT r.number, t.run FROM registrations r, trackers t
                   WHERE r.namespace = $1 AND r.peer = $2 AND t.run = $3 ON CONFLICT DO NOTHING";
        step.execute(sql, &[&namespace.as_str(), &peer.as_bytes(), &self.run]).await?;
        Ok(())
    }
}

/// Addresses as they are kept: a text of a peer may hold what a text of the database may not.
pub(super) fn as_bytes(addresses: &Bounded<Address, MAX_ADDRESSES>) -> Vec<&[u8]> {
    addresses.iter().map(|address| address.as_bytes()).collect()
}

/// What was wrong with the other end's certificate, or with how it encrypts.
pub(super) fn in_tls(error: &tokio_postgres::Error) -> Option<&rustls::Error> {
    error.source()?.downcast_ref::<std::io::Error>()?.get_ref()?.downcast_ref()
}

/// What went wrong, with what it came from.
pub(super) fn sentence(error: &tokio_postgres::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
