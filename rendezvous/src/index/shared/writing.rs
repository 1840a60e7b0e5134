//! `Publish`, as one transaction: it is answered when the database has it on its disk.

use std::collections::HashMap;

use deadpool_postgres::Transaction;
use potluck_common::content_id::ContentId;
use potluck_common::peer::PeerKey;
use potluck_common::wire::Refusal;
use potluck_common::wire::index::{Answer, Entry, Publish};
use tokio_postgres::Row;

use super::super::{published, refuse};
use super::changes::{Account, Intake};
use super::desk::{Desk, Failure, as_bytes};
use super::finding::searchable;

/// How long another tracker that is being told everything anew is left to it. A node that knows several trackers tells all of
/// them at once; the first is listened to, and the others find themselves in step afterwards.
const WRITING: f64 = 5.0;

/// What became of a `Publish`.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) answer: Answer,
    /// The peer has a lease now.
    pub(super) is_registered: bool,
    /// Its changes are held now, by whichever tracker they came.
    pub(super) is_news: bool,
}

/// A registration, as far as publishing concerns it.
struct Held {
    number: i64,
    /// What is held of the epoch that was named; 0 for none.
    revision: u64,
    shelf: Option<i64>,
    account: Account,
    /// Another tracker has taken changes just now.
    is_being_told: bool,
}

impl Held {
    fn of(row: &Row, epoch: u64) -> Result<Self, tokio_postgres::Error> {
        let is_of_epoch = row.try_get::<_, bool>("publishes")? && row.try_get::<_, i64>("epoch")?.cast_unsigned() == epoch;
        let count = |name: &str| Ok::<_, tokio_postgres::Error>(row.try_get::<_, i64>(name)?.cast_unsigned());
        Ok(Self {
            number: row.try_get("number")?,
            revision: if is_of_epoch { count("revision")? } else { 0 },
            shelf: row.try_get("shelf")?,
            account: Account {
                files: count("files")?,
                bytes: row.try_get::<_, String>("bytes")?.parse().unwrap_or(u64::MAX),
                path_bytes: count("path_bytes")?,
            },
            is_being_told: row.try_get("is_being_told")?,
        })
    }
}

impl Outcome {
    fn refused(why: Refusal) -> Self {
        Self { answer: refuse(why), is_registered: false, is_news: false }
    }
}

impl Desk {
    /// Takes what a peer offers, or renews its lease.
    pub(super) async fn publish(&self, peer: PeerKey, publish: &Publish) -> Outcome {
        let Publish { base, revision, changes, .. } = publish;
        if revision < base || (revision == base && !changes.is_empty()) {
            return Outcome::refused(Refusal::Unsupported);
        }
        let done = if revision == base && *base != 0 { self.renew(peer, publish).await } else { self.take(peer, publish).await };
        done.unwrap_or_else(|failure| Outcome::refused(failure.refusal()))
    }

    /// The peer asks whether it is in step, which renews its lease if it is.
    async fn renew(&self, peer: PeerKey, publish: &Publish) -> Result<Outcome, Failure> {
        let mut client = self.client().await?;
        let step = client.transaction().await?;
        let sql = "UPDATE registrations SET nickname = $5, addresses = $6, expires_at = now() + $7 * interval '1 second'
                   WHERE namespace = $1 AND peer = $2 AND publishes AND epoch = $3 AND revision = $4";
        let (namespace, key) = (publish.namespace.as_str(), peer.as_bytes());
        let (epoch, revision) = (publish.epoch.cast_signed(), publish.revision.cast_signed());
        let (nickname, addresses) = (publish.nickname.as_bytes(), as_bytes(&publish.addresses));
        let sql = step.prepare_cached(sql).await?;
        let renewed = step.execute(&sql, &[&namespace, &key, &epoch, &revision, &nickname, &addresses, &self.lease_seconds()]).await?;
        if renewed == 0 {
            let sql = "SELECT revision FROM registrations WHERE namespace = $1 AND peer = $2 AND publishes AND epoch = $3";
            let held = step.query_opt(sql, &[&namespace, &key, &epoch]).await?;
            let held = held.map_or(Ok(0), |row| row.try_get::<_, i64>(0).map(i64::cast_unsigned))?;
            return Ok(Outcome { answer: published(held, self.lease), is_registered: false, is_news: false });
        }
        self.note_presence(&step, &publish.namespace, &peer).await?;
        step.commit().await?;
        Ok(Outcome { answer: published(publish.revision, self.lease), is_registered: true, is_news: false })
    }

    /// The peer has changes, or offers nothing.
    async fn take(&self, peer: PeerKey, publish: &Publish) -> Result<Outcome, Failure> {
        let mut client = self.client().await?;
        let step = client.transaction().await?;
        if publish.base == 0 && !self.admit(&step, &peer, &publish.namespace).await? {
            return Ok(Outcome::refused(Refusal::OverQuota));
        }
        let held = self.lock(&step, &peer, publish).await?;
        let Some(held) = held.filter(|held| publish.base == 0 || publish.base == held.revision) else {
            return self.out_of_step(&step, &peer, publish).await;
        };
        if publish.base == 0 && publish.revision != 0 && held.revision != 0 && held.is_being_told {
            return Ok(Outcome::refused(Refusal::Busy));
        }
        let before = if publish.base == 0 { self.start_anew(&step, held, publish).await? } else { held };
        let is_over_quota = self.write(&step, &before, publish).await?;
        self.note_presence(&step, &publish.namespace, &peer).await?;
        step.commit().await?;
        let answer = if is_over_quota { refuse(Refusal::OverQuota) } else { published(publish.revision, self.lease) };
        Ok(Outcome { answer, is_registered: true, is_news: !is_over_quota && !publish.changes.is_empty() })
    }

    /// The row of a registration, which nobody else changes until the transaction ends.
    async fn lock(&self, step: &Transaction<'_>, peer: &PeerKey, publish: &Publish) -> Result<Option<Held>, Failure> {
        let sql = "SELECT number, publishes, epoch, revision, shelf, files, bytes::text AS bytes, path_bytes,
                          writer <> $3 AND written_at > now() - $4 * interval '1 second' AS is_being_told
                   FROM registrations WHERE namespace = $1 AND peer = $2 FOR NO KEY UPDATE";
        let row = step.query_opt(sql, &[&publish.namespace.as_str(), &peer.as_bytes(), &self.run, &WRITING]).await?;
        Ok(row.map(|row| Held::of(&row, publish.epoch)).transpose()?)
    }

    /// The changes do not follow on what is held. Where another tracker was faster, they are held already.
    async fn out_of_step(&self, step: &Transaction<'_>, peer: &PeerKey, publish: &Publish) -> Result<Outcome, Failure> {
        let held = self.lock(step, peer, publish).await?.map_or(0, |held| held.revision);
        let is_held = held == publish.revision;
        Ok(Outcome { answer: published(held, self.lease), is_registered: false, is_news: is_held })
    }

    /// Puts what was offered away, and gives what comes a shelf of its own; none if nothing comes.
    async fn start_anew(&self, step: &Transaction<'_>, held: Held, publish: &Publish) -> Result<Held, Failure> {
        if let Some(old) = held.shelf {
            step.execute("INSERT INTO forgotten VALUES ($1)", &[&old]).await?;
        }
        let shelf = match publish.revision {
            0 => None,
            _ => Some(step.query_one("SELECT nextval('numbers')", &[]).await?.try_get(0)?),
        };
        Ok(Held { shelf, account: Account::default(), revision: 0, ..held })
    }

    /// Writes changes as far as they fit, and what the registration is after them. `true` when not all fitted.
    async fn write(&self, step: &Transaction<'_>, held: &Held, publish: &Publish) -> Result<bool, Failure> {
        let known = match held.shelf {
            Some(shelf) if publish.base != 0 => sizes(step, shelf, publish).await?,
            _ => HashMap::new(),
        };
        let intake = Intake::of(&publish.changes, &known, held.account, self.held(), &self.limits);
        if let Some(shelf) = held.shelf {
            if !intake.gone.is_empty() {
                let sql = step.prepare_cached("DELETE FROM files WHERE shelf = $1 AND path = ANY($2)").await?;
                step.execute(&sql, &[&shelf, &intake.gone]).await?;
            }
            put(step, shelf, &intake.put).await?;
        }
        // What did not fit leaves the revision as it is: what was taken says how things are, not how they differ.
        let revision = if intake.is_over_quota { held.revision } else { publish.revision };
        let account = intake.account;
        let sql = "UPDATE registrations SET nickname = $2, addresses = $3, publishes = true, epoch = $4, revision = $5, shelf = $6,
                   files = $7, bytes = $8::text::numeric, path_bytes = $9, writer = $10, written_at = now(),
                   expires_at = now() + $11 * interval '1 second' WHERE number = $1";
        let (nickname, addresses) = (publish.nickname.as_bytes(), as_bytes(&publish.addresses));
        let (epoch, revision) = (publish.epoch.cast_signed(), revision.cast_signed());
        let (files, path_bytes) = (account.files.cast_signed(), account.path_bytes.cast_signed());
        step.execute(
            &step.prepare_cached(sql).await?,
            &[
                &held.number,
                &nickname,
                &addresses,
                &epoch,
                &revision,
                &held.shelf,
                &files,
                &account.bytes.to_string(),
                &path_bytes,
                &self.run,
                &self.lease_seconds(),
            ],
        )
        .await?;
        Ok(intake.is_over_quota)
    }
}

/// The sizes of files that are there already, of the paths that changes name.
async fn sizes(step: &Transaction<'_>, shelf: i64, publish: &Publish) -> Result<HashMap<String, u64>, Failure> {
    use potluck_common::wire::index::Change;
    let path = |change: &Change| match change {
        Change::Put(entry) => entry.path.as_str().to_owned(),
        Change::Remove(path) => path.as_str().to_owned(),
    };
    let paths: Vec<String> = publish.changes.iter().map(path).collect();
    let sql = step.prepare_cached("SELECT path, size FROM files WHERE shelf = $1 AND path = ANY($2)").await?;
    let rows = step.query(&sql, &[&shelf, &paths]).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get::<_, i64>(1)?.cast_unsigned()))).collect()
}

/// Adds files to a shelf.
async fn put(step: &Transaction<'_>, shelf: i64, entries: &[&Entry]) -> Result<(), Failure> {
    if entries.is_empty() {
        return Ok(());
    }
    let place = |entry: &Entry| {
        ContentId::of(entry.path.as_str().as_bytes()).as_bytes().first_chunk().map_or(0, |first| i64::from_be_bytes(*first))
    };
    let own = |entry: &Entry| ContentId::of(&[&shelf.to_be_bytes(), entry.path.as_str().as_bytes()].concat());
    let contents: Vec<ContentId> = entries.iter().map(|entry| entry.content_id.unwrap_or_else(|| own(entry))).collect();
    let contents: Vec<&[u8]> = contents.iter().map(|id| id.as_bytes().as_slice()).collect();
    let places: Vec<i64> = entries.iter().map(|entry| place(entry)).collect();
    let hashed: Vec<bool> = entries.iter().map(|entry| entry.content_id.is_some()).collect();
    let sizes: Vec<i64> = entries.iter().map(|entry| i64::try_from(entry.size).unwrap_or(i64::MAX)).collect();
    let mtimes: Vec<i64> = entries.iter().map(|entry| entry.mtime).collect();
    let paths: Vec<&str> = entries.iter().map(|entry| entry.path.as_str()).collect();
    let words: Vec<String> = entries.iter().map(|entry| searchable(entry.path.as_str())).collect();
    // Two paths of one content and one shelf with the same hash: one of them is left out.
    let sql = "INSERT INTO files (shelf, content, place, hashed, size, mtime, path, words)
               SELECT $1, * FROM unnest($2::bytea[], $3::bigint[], $4::bool[], $5::bigint[], $6::bigint[], $7::text[], $8::text[])
               ON CONFLICT DO NOTHING";
    let sql = step.prepare_cached(sql).await?;
    step.execute(&sql, &[&shelf, &contents, &places, &hashed, &sizes, &mtimes, &paths, &words]).await?;
    Ok(())
}
