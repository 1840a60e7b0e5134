//! How the pages describe for programs what they answer: the part of an OpenAPI document that both programs make alike.

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;

/// Makes shapes from types, for a document that keeps them at `components.schemas`.
#[must_use]
pub fn shapes() -> SchemaGenerator {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = "/components/schemas".into();
    settings.into_generator()
}
