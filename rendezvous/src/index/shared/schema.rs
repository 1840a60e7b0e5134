//! The tables, and how an older database becomes the present one.

use tokio_postgres::Client;

use super::DatabaseError;

/// What leads from each version of the tables to the next. Never changed once a release has it; only added to.
const MIGRATIONS: &[&str] = &[include_str!("schema_1.sql")];
/// Trackers that start at the same time migrate one after the other: `potluck` in ASCII.
const LOCK: i64 = 0x0070_6f74_6c75_636b;

/// Brings the tables to the present version, and checks that the database can hold names in all scripts.
///
/// # Errors
/// When it cannot, or the tables are of a newer program.
pub(super) async fn prepare(client: &mut Client) -> Result<(), DatabaseError> {
    let settings = client.query_one("SELECT current_setting('server_encoding'), current_setting('lc_ctype')", &[]).await?;
    let (encoding, ctype): (String, String) = (settings.try_get(0)?, settings.try_get(1)?);
    if encoding != "UTF8" {
        return Err(DatabaseError::Encoding(encoding));
    }
    if matches!(ctype.as_str(), "C" | "POSIX") {
        tracing::warn!(
            "the database takes letters other than a to z for punctuation: searches for them are slow; create it with LC_CTYPE 'C.UTF-8'"
        );
    }
    let step = client.transaction().await?;
    step.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await?;
    step.batch_execute(
        "CREATE SCHEMA IF NOT EXISTS potluck;
         CREATE EXTENSION IF NOT EXISTS pg_trgm SCHEMA public;
         CREATE TABLE IF NOT EXISTS schema_version (version bigint PRIMARY KEY);",
    )
    .await?;
    let version: i64 = step.query_one("SELECT coalesce(max(version), 0) FROM schema_version", &[]).await?.try_get(0)?;
    let present = MIGRATIONS.len() as i64;
    if version > present {
        return Err(DatabaseError::Newer(version));
    }
    for (number, migration) in (1..).zip(MIGRATIONS).filter(|(number, _)| *number > version) {
        tracing::info!(number, "the tables are brought to a newer version");
        step.batch_execute(migration).await?;
        step.execute("INSERT INTO schema_version VALUES ($1)", &[&number]).await?;
    }
    Ok(step.commit().await?)
}
