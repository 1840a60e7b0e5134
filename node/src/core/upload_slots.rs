//! Who is served now, and who waits.
