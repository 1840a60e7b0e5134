//! What Prometheus and service managers ask.

use std::sync::atomic::AtomicU64;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use potluck_common::failure::Failure;
use potluck_common::web::reply::Refused;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;

use super::Desk;
use crate::admin::StatusLine;

/// The notation of OpenMetrics, as Prometheus asks for it.
const KIND: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(super) async fn health() -> &'static str {
    "ok\n"
}

/// A tracker is ready when what was saved is there again, or while its database answers.
pub(super) async fn ready(State(desk): State<Desk>) -> Result<(StatusCode, &'static str), Refused> {
    let status = desk.status().await?;
    Ok(match (status.ready, status.shares_index) {
        (true, _) => (StatusCode::OK, "ready\n"),
        (false, false) => (StatusCode::SERVICE_UNAVAILABLE, "what peers published is being read\n"),
        (false, true) => (StatusCode::SERVICE_UNAVAILABLE, "the database of the index does not answer\n"),
    })
}

pub(super) async fn metrics(State(desk): State<Desk>) -> Result<Response, Refused> {
    let status = desk.status().await?;
    let mut text = String::new();
    let broken = |error: std::fmt::Error| Refused::new(StatusCode::INTERNAL_SERVER_ERROR, Failure::Other, error.to_string());
    encode(&mut text, &registry(&status)).map_err(broken)?;
    Ok(([(CONTENT_TYPE, HeaderValue::from_static(KIND))], text).into_response())
}

fn registry(status: &StatusLine) -> Registry {
    let mut registry = Registry::with_prefix("potluck_tracker");
    let gauges = [
        ("peers", "Peers that are told of; where an index is shared, those that are at this tracker", Some(status.peers)),
        ("files", "Files that are found", status.files),
        ("namespaces", "Namespaces; where an index is shared, those of the peers at this tracker", Some(status.namespaces.len() as u64)),
        ("connections", "Peers that are connected", Some(status.connections)),
        ("members", "Members of a private tracker", status.members),
        (
            "ready",
            "Whether what was saved is there again; where an index is shared, whether its database answers",
            Some(u64::from(status.ready)),
        ),
    ];
    // What is not known has no figure: a 0 would be one.
    for (name, help, value) in gauges.into_iter().filter_map(|(name, help, value)| Some((name, help, value?))) {
        registry.register(name, help, ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)));
    }
    let rate = Gauge::<f64, AtomicU64>::default();
    rate.set(status.searches_per_second);
    registry.register("searches_per_second", "Searches a second, over the last ten", rate);
    let counters = [
        ("searches", "Searches within the limits", status.searches),
        ("publishes", "Changes to what peers offer", status.publishes),
        ("refused", "Requests that were refused", status.refused),
    ];
    for (name, help, value) in counters {
        registry.register(name, help, ConstCounter::new(value));
    }
    let stopped = Family::<[(&str, String); 1], Counter>::default();
    for (limit, count) in &status.stopped {
        stopped.get_or_create(&[("limit", limit.clone())]).inc_by(*count);
    }
    registry.register("stopped", "What others did beyond a limit, by the limit that stopped them", stopped);
    registry
}
