//! Probes and metrics over HTTP: `/healthz`, `/readyz`, `/metrics`. Nothing here changes anything.

use super::documents;
use super::member::Member;
use crate::clock;
use crate::document::{ConnectionState, ReportDocument};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Type of Prometheus' text format.
const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Serves until `stop`.
pub(super) async fn serve(
    member: Arc<Member>,
    listener: TcpListener,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(member);
    axum::serve(listener, router)
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
}

async fn metrics(State(member): State<Arc<Member>>) -> Response {
    let report = member.engine.report().await.map(ReportDocument::from);
    match member.metrics.scrape(&member, report.as_ref()) {
        Ok(text) => ([(header::CONTENT_TYPE, METRICS_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Ready: the state is recovered and known to be the majority's. A lost cluster or an unreadable repository is
/// named, and no reason to take the member away: the others are still served.
async fn readyz(State(member): State<Arc<Member>>) -> (StatusCode, Json<Value>) {
    let status = member.replica.status();
    let age_ms = member
        .confirmed_at()
        .map(|at| clock::now().millis_since(at));
    let fresh = age_ms.is_some_and(|age_ms| age_ms <= regraft_engine::CONFIRMED_MS);
    let standings = member.clusters.standings();
    let in_state = |state: ConnectionState| -> Vec<String> {
        let found = standings
            .iter()
            .filter(|(_, standing)| standing.state == state);
        found
            .map(|(name, standing)| match standing.message.as_str() {
                "" => name.to_string(),
                message => format!("{name}: {message}"),
            })
            .collect()
    };
    let connecting = in_state(ConnectionState::Unknown);
    let mut waits_for = Vec::new();
    if !status.recovered {
        waits_for.push("the state to be recovered".to_owned());
    }
    if status.leader.is_none() {
        waits_for.push("a leader".to_owned());
    }
    if !fresh {
        waits_for.push("proof that the state here is the majority's".to_owned());
    }
    waits_for.extend(
        connecting
            .iter()
            .map(|name| format!("the first word of cluster {name}")),
    );
    let code = match waits_for.is_empty() && status.fatal.is_none() {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    let unreadable: Vec<String> = documents::obstacles(&member)
        .filter_map(|(name, problem)| Some(format!("{name}: {}", problem?.message)))
        .collect();
    let body = json!({
        "ready": code == StatusCode::OK,
        "waitsFor": waits_for,
        "lostClusters": in_state(ConnectionState::Lost),
        "unreadableRepositories": unreadable,
        "leader": status.leader,
        "applied": status.applied,
        "fullDisk": status.full_disk,
        "halted": status.fatal,
    });
    (code, Json(body))
}
