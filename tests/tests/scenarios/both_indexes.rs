//! A tracker's index is in its own file or in PostgreSQL, and nobody can tell which.

use std::io::Write as _;

use potluck_tests::conformance::{TRACKER_ARGS, play};
use potluck_tests::postgres::Postgres;
use potluck_tests::town::Town;
use potluck_tests::{Failure, Result};

fn plays(args: &[&str]) -> Result {
    let town = Town::new()?;
    let tracker = town.tracker_with("tracker", &[TRACKER_ARGS, args].concat())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(play(tracker.address())).map_err(|failure| Failure::new(format!("{failure}\n{}", tracker.process().stderr())))
}

#[test]
fn an_index_of_its_own_conforms() -> Result {
    plays(&[])
}

#[test]
fn an_index_in_postgresql_conforms() -> Result {
    let Some(database) = Postgres::start()? else { return skip() };
    plays(&["--index", &database.url()])?;
    // What Citus asks of a table that it is to distribute: the column by which it does stands in every unique index.
    let without = "SELECT count(*) FROM pg_index WHERE indrelid = 'files'::regclass AND indisunique AND NOT
                   (SELECT attnum FROM pg_attribute WHERE attrelid = 'files'::regclass AND attname = 'content') = ANY(indkey)";
    assert_eq!(database.sql(without)?, "0");
    Ok(())
}

/// Says on the terminal, past the capture of tests, that there is no server.
pub(crate) fn skip() -> Result {
    writeln!(std::io::stderr(), "skipped: PostgreSQL is not installed here (apt install postgresql)")?;
    Ok(())
}
