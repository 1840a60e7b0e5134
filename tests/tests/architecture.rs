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

/// just refuses a file with two recipes of a name, and then none of them works.
#[test]
fn the_justfile_names_each_recipe_once() {
    let text = std::fs::read_to_string(programs::workspace().join("justfile")).unwrap();
    let recipe = |line: &str| {
        let head = line.split_once(':').filter(|(_, rest)| !rest.starts_with('='))?.0;
        let name = head.split_whitespace().next()?;
        line.starts_with(|c: char| c.is_ascii_lowercase() || c == '_').then(|| name.to_owned())
    };
    let names: Vec<String> = text.lines().filter_map(recipe).collect();
    let mut once = names.clone();
    once.sort();
    once.dedup();
    assert!(names.len() > 10 && once.len() == names.len(), "{names:?}");
}
