//! The arrows of the architecture, kept: which file may name what. The checker has tests of its own.

use potluck_tests::{Result, arrows, programs};

#[test]
fn no_arrow_points_upward() -> Result {
    let sources = arrows::read(&programs::workspace())?;
    assert!(sources.len() > 30, "only {} sources were read", sources.len());
    let found = arrows::violations(&sources);
    assert!(found.is_empty(), "\n{}", found.join("\n"));
    Ok(())
}
