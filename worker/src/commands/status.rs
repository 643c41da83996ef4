//! `inferbus status`: every worker and what it runs, asked of the workers themselves.

use std::process::ExitCode;

use clap::Args;
use inferbus::models::registry::{Counts, ModelState, Spent};
use inferbus::nats::connect::Connection;
use inferbus::status::service::{self, WorkerStatus};

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
    let surveyed = service::survey(&client, arguments.connection.timeout()).await?;
    let mut workers: Vec<WorkerStatus> = surveyed.into_iter().map(|(_, status)| status).collect();
    workers.sort_by(|one, other| one.worker.cmp(&other.worker));
    if arguments.output == Format::Json {
        print::json(&workers)?;
    } else if !workers.is_empty() {
        print::table(
            &["WORKER", "READY", "MODEL", "VERSION", "DIGEST", "STATE", "MEMORY", "IDLE", SPENT, "PER RUN", "PROBLEM"],
            &rows(&workers),
        );
        workers.iter().filter(|worker| worker.counts.cold > 0).for_each(|worker| println!("{}", summary(worker)));
    }
    if workers.is_empty() {
        eprintln!("no worker answers: start one with `inferbus worker`");
        return Ok(ExitCode::from(exit::NOT_FOUND));
    }
    Ok(ExitCode::SUCCESS)
}

fn summary(worker: &WorkerStatus) -> String {
    let WorkerStatus { worker, counts: Counts { loaded, cold }, memory_bytes, .. } = worker;
    format!(
        "{worker}: {loaded} models are loaded and take about {} MiB; {cold} are loaded when asked for",
        memory_bytes >> 20
    )
}

fn rows(workers: &[WorkerStatus]) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for worker in workers {
        let ready = if worker.ready { "yes" } else { "no" };
        let alone = |problem: String| {
            let dash = || "-".to_owned();
            vec![
                worker.worker.clone(),
                ready.into(),
                dash(),
                dash(),
                dash(),
                dash(),
                dash(),
                dash(),
                dash(),
                dash(),
                problem,
            ]
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
                ModelState::Cold => "cold",
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
                print::or_dash(model.memory_bytes.map(|bytes| format!("{} MiB", bytes.div_ceil(1 << 20)))),
                print::or_dash(model.idle_seconds.map(|seconds| format!("{seconds} s"))),
                spent(&model.spent),
                print::or_dash(model.spent.messages_per_run.map(|messages| format!("{messages:.1}"))),
                problem,
            ]);
        }
    }
    rows
}

const SPENT: &str = "QUEUE/BATCH/COMPUTE";

/// What half of the messages took at most, by where they were.
fn spent(spent: &Spent) -> String {
    let Spent { queue_p50_micros: queue, batch_p50_micros: batch, compute_p50_micros: compute, .. } = spent;
    let micros = |micros: &Option<u64>| print::or_dash(micros.map(|micros| format!("{micros}µs")));
    [queue, batch, compute].map(micros).join("/")
}
