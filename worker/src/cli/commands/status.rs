//! `inferbus status`: all workers and their models, as reported by the workers.

use std::process::ExitCode;

use clap::Args;
use inferbus::models::registry::{Counts, ModelState, ModelStatus, Spent};
use inferbus::nats::connect::Connection;
use inferbus::status::service::{self, WorkerStatus};

use crate::cli::exit;
use crate::cli::print::{self, Format};

const EXAMPLES: &str = "\
Examples:
  inferbus status
  inferbus status --output json

The exit code is 4 if no worker answers. `nats micro ls` and `nats micro stats inferbus` query the same workers.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Output format
    #[arg(long, value_enum, default_value = "text")]
    output: Format,
    #[command(flatten)]
    connection: Connection,
}

/// Median times of a message: waiting in the queue, waiting for its batch, computing.
const TIMES: &str = "QUEUE/BATCH/COMPUTE";

const HEADER: [&str; 11] =
    ["WORKER", "READY", "MODEL", "VERSION", "DIGEST", "STATE", "MEMORY", "IDLE", TIMES, "PER RUN", "PROBLEM"];

pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let client = arguments.connection.command().await?;
    let answers = service::survey(&client, arguments.connection.timeout()).await?;
    let mut workers: Vec<WorkerStatus> = answers.into_iter().map(|(_, status)| status).collect();
    workers.sort_by(|one, other| one.worker.cmp(&other.worker));
    if arguments.output == Format::Json {
        print::json(&workers)?;
    } else if !workers.is_empty() {
        let rows: Vec<Vec<String>> = workers.iter().flat_map(worker_rows).collect();
        print::table(&HEADER, &rows);
        for worker in workers.iter().filter(|worker| worker.counts.cold > 0) {
            print::line!("{}", summary(worker));
        }
    }
    if workers.is_empty() {
        eprintln!("no worker answers: start one with `inferbus worker`");
        return Ok(ExitCode::from(exit::NOT_FOUND));
    }
    Ok(ExitCode::SUCCESS)
}

fn summary(worker: &WorkerStatus) -> String {
    let WorkerStatus { worker, counts: Counts { loaded, cold }, memory_bytes, .. } = worker;
    format!("{worker}: {loaded} models loaded in about {} MiB; {cold} load on request", memory_bytes >> 20)
}

/// One row per model, and one row for a worker without models or catalog.
fn worker_rows(worker: &WorkerStatus) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    if let Some(why) = &worker.catalog {
        rows.push(problem_row(worker, format!("catalog: {why}")));
    } else if worker.models.is_empty() {
        rows.push(problem_row(worker, worker.unready.join("; ")));
    }
    rows.extend(worker.models.iter().map(|model| model_row(worker, model)));
    rows
}

fn problem_row(worker: &WorkerStatus, problem: String) -> Vec<String> {
    let mut row = vec!["-".to_owned(); HEADER.len()];
    row[0].clone_from(&worker.worker);
    row[1] = ready(worker);
    row[HEADER.len() - 1] = problem;
    row
}

fn model_row(worker: &WorkerStatus, model: &ModelStatus) -> Vec<String> {
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
    vec![
        worker.worker.clone(),
        ready(worker),
        model.model.clone(),
        version,
        print::or_dash(digest),
        state.into(),
        print::or_dash(model.memory_bytes.map(|bytes| format!("{} MiB", bytes.div_ceil(1 << 20)))),
        print::or_dash(model.idle_seconds.map(|seconds| format!("{seconds} s"))),
        times(&model.spent),
        print::or_dash(model.spent.messages_per_run.map(|messages| format!("{messages:.1}"))),
        model.error.clone().unwrap_or_default(),
    ]
}

fn ready(worker: &WorkerStatus) -> String {
    if worker.ready { "yes".into() } else { "no".into() }
}

fn times(spent: &Spent) -> String {
    let Spent { queue_p50_micros: queue, batch_p50_micros: batch, compute_p50_micros: compute, .. } = spent;
    let micros = |micros: &Option<u64>| print::or_dash(micros.map(|micros| format!("{micros}µs")));
    [queue, batch, compute].map(micros).join("/")
}
