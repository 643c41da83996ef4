//! `inferbus status`: every worker and what it runs, asked of the workers themselves.

use std::process::ExitCode;
use std::time::Duration;

use async_nats::Client;
use async_nats::service::Stats;
use clap::Args;
use futures_util::StreamExt as _;
use inferbus::connect::Connection;
use inferbus::limits;
use inferbus::registry::ModelState;
use inferbus::service::{SERVICE, WorkerStatus};

use super::print;
use crate::cli::Format;
use crate::exit;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  inferbus status\n  inferbus status --output json\n\nEnds with code 4 if no worker answers. `nats micro ls` and `nats micro stats inferbus` ask the same workers."
)]
pub struct Arguments {
    #[arg(long, value_enum, default_value = "text")]
    output: Format,
    #[command(flatten)]
    connection: Connection,
}

pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let client = arguments.connection.command().await?;
    let mut workers = ask(&client, arguments.connection.timeout()).await?;
    workers.sort_by(|one, other| one.worker.cmp(&other.worker));
    if arguments.output == Format::Json {
        print::json(&workers)?;
    } else if !workers.is_empty() {
        print::table(&["WORKER", "READY", "MODEL", "VERSION", "DIGEST", "STATE", "PROBLEM"], &rows(&workers));
    }
    if workers.is_empty() {
        eprintln!("no worker answers: start one with `inferbus worker`");
        return Ok(ExitCode::from(exit::NOT_FOUND));
    }
    Ok(ExitCode::SUCCESS)
}

/// Asks everybody and listens until nobody has answered for a moment.
async fn ask(client: &Client, patience: Duration) -> anyhow::Result<Vec<WorkerStatus>> {
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await?;
    client.publish_with_reply(format!("$SRV.STATS.{SERVICE}"), inbox, "".into()).await?;
    let mut workers = Vec::new();
    let mut wait = patience;
    while workers.len() < limits::STATUS_WORKERS
        && let Ok(Some(answer)) = tokio::time::timeout(wait, answers.next()).await
    {
        // The server itself says at once that nobody listens.
        if answer.payload.is_empty() {
            break;
        }
        let stats: Stats = serde_json::from_slice(&answer.payload)?;
        let data = stats.endpoints.into_iter().find_map(|endpoint| endpoint.data);
        if let Some(data) = data {
            workers.push(serde_json::from_value(data)?);
        }
        wait = limits::STATUS_QUIET;
    }
    Ok(workers)
}

fn rows(workers: &[WorkerStatus]) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for worker in workers {
        let ready = if worker.ready { "yes" } else { "no" };
        let alone = |problem: String| {
            let dash = || "-".to_owned();
            vec![worker.worker.clone(), ready.into(), dash(), dash(), dash(), dash(), problem]
        };
        if let Some(why) = &worker.catalog {
            rows.push(alone(format!("catalog: {why}")));
        } else if worker.models.is_empty() {
            rows.push(alone(worker.unready.join("; ")));
        }
        for model in &worker.models {
            let state = match model.state {
                ModelState::Serving => "serving",
                ModelState::Loading => "loading",
                ModelState::Failed => "failed",
            };
            let digest = model.digest.as_ref().map(|digest| digest.chars().take(19).collect::<String>());
            let version = match (&model.version, &model.wanted) {
                (Some(version), Some(wanted)) if version != wanted => format!("{version} (wanted {wanted})"),
                (version, _) => print::or_dash(version.as_ref()),
            };
            let problem = model.error.clone().unwrap_or_default();
            rows.push(vec![
                worker.worker.clone(),
                ready.into(),
                model.model.clone(),
                version,
                print::or_dash(digest),
                state.into(),
                problem,
            ]);
        }
    }
    rows
}
