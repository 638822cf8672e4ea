//! Which services tests may not do without.

/// Whether `BITLOOP_REQUIRE`, a list with commas, names a service: then a test that misses it fails.
pub(crate) fn is_required(service: &str) -> bool {
    let required = std::env::var("BITLOOP_REQUIRE").unwrap_or_default();
    required.split(',').any(|name| name.trim() == service)
}
