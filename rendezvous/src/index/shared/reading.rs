//! Requests that read: rows are fetched, and a small index made of them answers.

use std::collections::{BTreeSet, HashSet};

use deadpool_postgres::Object;
use potluck_common::peer::PeerKey;
use potluck_common::search::answer::{self, PageBudget, is_named};
use potluck_common::search::{Query, is_correctable};
use potluck_common::wire::index::{Answer, List, MAX_PAGE, PeerInfo, Peers, PeersPage, Request, Search, SearchPage, Sources};
use potluck_common::wire::{Bounded, Refusal, Text};
use tokio_postgres::Row;

use super::super::refuse;
use super::desk::{Desk, Failure};
use super::finding::{MOST_RANKED, Statement, TOLD_FILES, alike, candidates};
use super::loaded::{CardRow, FileRow, Loaded};

/// Other copies of what a search has found that are fetched, to tell and to rank how many have it.
const MOST_COPIES: i64 = 8192;
/// Words of a search of which other spellings are looked for.
const MOST_CORRECTED: usize = 3;
/// Registrations of a namespace.
const CARDS: &str = "SELECT number, peer, nickname, addresses, files, bytes::text AS bytes FROM registrations r";
/// Of whom is told.
const IS_TOLD: &str = "EXISTS (SELECT FROM presence p WHERE p.registration = r.number)";

/// Files that a search has to look at, and whether the budget left some out.
struct Candidates {
    files: Vec<FileRow>,
    is_cut: bool,
}

impl Desk {
    /// Answers a request that reads. `unix_now` is the calendar in seconds since 1970-01-01 UTC.
    pub(super) async fn read(&self, request: &Request, unix_now: i64) -> Result<Answer, Failure> {
        let client = self.client().await?;
        match request {
            Request::Peers(ask) => peers(&client, ask).await.map(Answer::Peers),
            Request::List(ask) => list(&client, ask).await,
            Request::Search(ask) => search(&client, ask, unix_now).await.map(Answer::Search),
            Request::Sources(ask) => sources(&client, ask).await.map(Answer::Sources),
            Request::Publish(_) | Request::Withdraw(_) | Request::Watch(_) => Ok(refuse(Refusal::Unsupported)),
        }
    }
}

/// A page of the peers that may be told of, in the order of their keys.
async fn peers(client: &Object, ask: &Peers) -> Result<PeersPage, Failure> {
    let most = usize::try_from(ask.limit).unwrap_or(MAX_PAGE).clamp(1, MAX_PAGE);
    let after = ask.after.as_ref().and_then(|cursor| cursor.parse::<PeerKey>().ok());
    let (after, only) = (after.as_ref().map(PeerKey::as_bytes), ask.peer.as_ref().map(PeerKey::as_bytes));
    let sql = format!(
        "{CARDS} WHERE namespace = $1 AND ($2::bytea IS NULL OR peer > $2) AND ($3::bytea IS NULL OR peer = $3) AND {IS_TOLD}
         ORDER BY peer LIMIT $4"
    );
    let rows = client.query(&client.prepare_cached(&sql).await?, &[&ask.namespace.as_str(), &after, &only, &(most as i64 + 1)]).await?;
    let mut budget = PageBudget::new();
    let mut peers: Vec<PeerInfo> = Vec::new();
    let mut next = None;
    for row in &rows {
        let Some(info) = peer_info(row)? else { continue };
        if peers.len() == most || !budget.take(&info) {
            next = peers.last().map(|last| Text::truncated(&last.peer.to_string()));
            break;
        }
        peers.push(info);
    }
    Ok(PeersPage { peers: Bounded::truncated(peers), next })
}

fn peer_info(row: &Row) -> Result<Option<PeerInfo>, tokio_postgres::Error> {
    let Some(card) = CardRow::of(row)? else { return Ok(None) };
    let bytes = row.try_get::<_, &str>("bytes")?.parse().unwrap_or(u64::MAX);
    let files = row.try_get::<_, i64>("files")?.cast_unsigned();
    Ok(Some(PeerInfo { peer: card.peer, nickname: card.nickname, addresses: card.addresses, files, bytes }))
}

/// A page of a peer's files: as many as it may hold, and one more to tell whether there are.
async fn list(client: &Object, ask: &List) -> Result<Answer, Failure> {
    let sql = format!("{CARDS} WHERE namespace = $1 AND peer = $2 AND {IS_TOLD}");
    let row = client.query_opt(&client.prepare_cached(&sql).await?, &[&ask.namespace.as_str(), &ask.peer.as_bytes()]).await?;
    let Some(card) = row.as_ref().map(CardRow::of).transpose()?.flatten() else { return Ok(refuse(Refusal::NotFound)) };
    let under = ask.under.as_ref().map(|under| under.as_str());
    // What lies below a folder begins with its path and a slash; the sign after the slash ends it.
    let (below, end) = (under.map(|under| format!("{under}/")), under.map(|under| format!("{under}0")));
    let sql = "SELECT f.content, f.hashed, f.size, f.mtime, f.path, r.number FROM files f JOIN registrations r ON r.shelf = f.shelf
               WHERE r.number = $1 AND f.path > $2 AND ($3::text IS NULL OR f.path = $3 OR (f.path >= $4 AND f.path < $5))
               ORDER BY f.path LIMIT $6";
    let limit = i64::from(ask.limit).clamp(1, MAX_PAGE as i64) + 1;
    let after = ask.after.as_ref().map_or("", |after| after.as_str());
    // A cursor that no path can be like comes after none or all: a text of the database holds no NUL.
    let after = after.split('\0').next().unwrap_or_default();
    let rows = client.query(&client.prepare_cached(sql).await?, &[&card.number, &after, &under, &below, &end, &limit]).await?;
    let loaded = Loaded::new(vec![card], &files(&rows)?, 0);
    Ok(match answer::list(&loaded.index, &loaded, ask) {
        Ok(page) => Answer::List(page),
        Err(why) => refuse(why),
    })
}

/// Who has contents.
async fn sources(client: &Object, ask: &Sources) -> Result<potluck_common::wire::index::SourcesFound, Failure> {
    let ids: Vec<&[u8]> = ask.content_ids.iter().map(|id| id.as_bytes().as_slice()).collect();
    let files = copies(client, ask.namespace.as_str(), &ids).await?;
    let loaded = load(client, &files, 0).await?;
    Ok(answer::sources(&loaded.index, &loaded, ask))
}

async fn search(client: &Object, ask: &Search, unix_now: i64) -> Result<SearchPage, Failure> {
    let query = Query::parse(&ask.text);
    if query.words.iter().chain(&query.extensions).any(|word| word.contains('\0')) {
        return Ok(SearchPage::default()); // no path holds it
    }
    let namespace = ask.namespace.as_str();
    let only = if query.peers.is_empty() { None } else { Some(numbers_named(client, namespace, &query.peers).await?) };
    let words: Vec<Vec<String>> = query.words.iter().map(|word| vec![word.clone()]).collect();
    let find = async |words: &[Vec<String>]| find(client, candidates(namespace, &query, words, only.as_deref(), unix_now)).await;
    let mut found = find(&words).await?;
    let mut loaded = complete(client, namespace, &mut found, unix_now).await?;
    let mut page = answer::search(&loaded.index, &loaded, ask);
    if !found.is_cut && loaded.index.finds_little(page.total) {
        let near = near(client, namespace, &query).await?;
        let dictionary = load(client, &near, unix_now).await?;
        if let Some(words) = dictionary.index.spellings(&query, page.total) {
            found = find(&words).await?;
            // What teaches the index the spellings are names that hold them, of which the search finds those that fit.
            found.files.extend(near);
            loaded = complete(client, namespace, &mut found, unix_now).await?;
            page = answer::search(&loaded.index, &loaded, ask);
        }
    }
    page.more |= found.is_cut;
    Ok(page)
}

/// Adds the copies that there are under other names of what was found: how many have it, and who.
async fn complete(client: &Object, namespace: &str, found: &mut Candidates, unix_now: i64) -> Result<Loaded, Failure> {
    let ids: BTreeSet<_> = found.files.iter().filter_map(|file| file.entry.content_id).collect();
    let ids: Vec<&[u8]> = ids.iter().map(|id| id.as_bytes().as_slice()).collect();
    let copies = copies(client, namespace, &ids).await?;
    found.files.extend(copies);
    load(client, &found.files, unix_now).await
}

/// The files of some contents.
async fn copies(client: &Object, namespace: &str, ids: &[&[u8]]) -> Result<Vec<FileRow>, Failure> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!("{TOLD_FILES} AND f.content = ANY($2) AND f.hashed LIMIT {MOST_COPIES}");
    files(&client.query(&client.prepare_cached(&sql).await?, &[&namespace, &ids]).await?)
}

/// Names in which something like a word of a query stands.
async fn near(client: &Object, namespace: &str, query: &Query) -> Result<Vec<FileRow>, Failure> {
    let mut near = Vec::new();
    for word in query.words.iter().filter(|word| is_correctable(word)).take(MOST_CORRECTED) {
        near.extend(find(client, alike(namespace, word)).await?.files);
    }
    Ok(near)
}

async fn find(client: &Object, sql: Statement) -> Result<Candidates, Failure> {
    let rows = client.query(&client.prepare_cached(&sql.text).await?, &sql.values()).await?;
    Ok(Candidates { is_cut: rows.len() as i64 > MOST_RANKED, files: files(&rows)? })
}

fn files(rows: &[Row]) -> Result<Vec<FileRow>, Failure> {
    rows.iter().filter_map(|row| FileRow::of(row).transpose()).collect::<Result<_, _>>().map_err(Failure::from)
}

/// An index of files, with the cards of whose they are.
async fn load(client: &Object, files: &[FileRow], unix_now: i64) -> Result<Loaded, Failure> {
    let numbers: HashSet<i64> = files.iter().map(|file| file.number).collect();
    let numbers: Vec<i64> = numbers.into_iter().collect();
    let sql = format!("{CARDS} WHERE number = ANY($1)");
    let cards = match numbers.as_slice() {
        [] => Vec::new(),
        numbers => client.query(&client.prepare_cached(&sql).await?, &[&numbers]).await?,
    };
    let cards = cards.iter().filter_map(|row| CardRow::of(row).transpose()).collect::<Result<_, _>>()?;
    Ok(Loaded::new(cards, files, unix_now))
}

/// The registrations that a user means by names.
async fn numbers_named(client: &Object, namespace: &str, names: &[String]) -> Result<Vec<i64>, Failure> {
    let sql = format!("{CARDS} WHERE namespace = $1 AND {IS_TOLD}");
    let mut numbers = Vec::new();
    for row in client.query(&client.prepare_cached(&sql).await?, &[&namespace]).await? {
        let Some(card) = CardRow::of(&row)? else { continue };
        if names.iter().any(|name| is_named(name, &card.peer, &card.nickname)) {
            numbers.push(card.number);
        }
    }
    Ok(numbers)
}
