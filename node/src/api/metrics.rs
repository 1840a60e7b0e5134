//! What Prometheus and service managers ask.

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::Api;
use super::reply::Refused;
use crate::error::{CommandError, Failure};
use crate::types::StatusLine;

/// The notation of OpenMetrics, as Prometheus asks for it.
const KIND: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(super) async fn health() -> &'static str {
    "ok\n"
}

/// A node is ready when its shares are listed and, if it has trackers, one of them has it registered.
pub(super) async fn ready(State(api): State<Api>) -> Result<(StatusCode, &'static str), Refused> {
    let status = api.status_line().await?;
    let is_listed = api.share_lines().await?.iter().all(|share| share.state != "listing");
    let is_registered = status.trackers.is_empty() || status.trackers.iter().any(|tracker| tracker.registered);
    Ok(match (is_listed, is_registered) {
        (true, true) => (StatusCode::OK, "ready\n"),
        (false, _) => (StatusCode::SERVICE_UNAVAILABLE, "shares are being listed\n"),
        (_, false) => (StatusCode::SERVICE_UNAVAILABLE, "no tracker has it registered\n"),
    })
}

pub(super) async fn metrics(State(api): State<Api>) -> Result<Response, Refused> {
    let status = api.status_line().await?;
    let mut text = String::new();
    encode(&mut text, &registry(&status, api.0.node.refusals())).map_err(|error| CommandError::new(Failure::Other, error.to_string()))?;
    Ok(([(CONTENT_TYPE, HeaderValue::from_static(KIND))], text).into_response())
}

fn registry(status: &StatusLine, refusals: Vec<(&'static str, u64)>) -> Registry {
    let mut registry = Registry::with_prefix("potluck");
    let gauges = [
        ("shares", "Shared folders", status.shares),
        ("shared_files", "Files in them", status.files),
        ("shared_bytes", "Bytes in them", status.bytes),
        ("hashed_bytes", "Bytes in them that are hashed", status.hashed_bytes),
        ("open_downloads", "Downloads that are not done", status.downloads),
        ("receiving_bytes_per_second", "How fast it receives", status.rate_down),
        ("sending_bytes_per_second", "How fast it sends", status.rate_up),
        ("connected_peers", "Peers and trackers that are connected", status.connected_peers),
        ("trackers", "Trackers that are known", status.trackers.len() as u64),
        (
            "registrations",
            "Trackers that have the node registered",
            status.trackers.iter().filter(|tracker| tracker.registered).count() as u64,
        ),
    ];
    for (name, help, value) in gauges {
        registry.register(name, help, ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)));
    }
    let counters =
        [("received_bytes", "Verified bytes received", status.bytes_down), ("sent_bytes", "Bytes of files sent", status.bytes_up)];
    for (name, help, value) in counters {
        registry.register(name, help, ConstCounter::new(value));
    }
    let refused = Family::<[(&str, &str); 1], Counter>::default();
    for (limit, count) in refusals {
        refused.get_or_create(&[("limit", limit)]).inc_by(count);
    }
    registry.register("refused", "What others did beyond a limit, by the limit that stopped them", refused);
    registry
}
