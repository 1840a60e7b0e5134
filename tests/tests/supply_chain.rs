//! G092 and G093: what we are built from is what `.deny.toml` allows. Advisories need cargo-deny: `just deny`.

use std::fs;
use std::path::Path;

use potluck_tests::Result;
use potluck_tests::supply::{Rules, licences, locked};

/// The workspace's folder.
const WORKSPACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

fn rules() -> Result<Rules> {
    Rules::parse(&fs::read_to_string(Path::new(WORKSPACE).join(".deny.toml"))?)
}

#[test]
fn dependencies_have_allowed_sources_and_versions_and_no_unexplained_duplicates() -> Result {
    let packages = locked(&fs::read_to_string(Path::new(WORKSPACE).join("Cargo.lock"))?)?;
    assert!(packages.len() > 100, "{} packages cannot be all", packages.len());
    let violations = rules()?.violations(&packages);
    assert!(violations.is_empty(), "{}", violations.join("\n"));
    Ok(())
}

#[test]
fn dependencies_have_allowed_licences() -> Result {
    let (rules, licences) = (rules()?, licences(Path::new(WORKSPACE))?);
    assert!(licences.len() > 100, "{} packages cannot be all", licences.len());
    let refused: Vec<_> = licences.iter().filter(|(_, licence)| !rules.allows(licence)).collect();
    assert!(refused.is_empty(), "{refused:#?}");
    Ok(())
}
