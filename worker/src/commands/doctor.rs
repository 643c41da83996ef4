//! `inferbus doctor`: looks at a deployment, and says what endangers its promises and what to do.

use std::process::ExitCode;

use clap::Args;
use inferbus::config::EngineSettings;
use inferbus::doctor::finding::{Finding, Level};
use inferbus::doctor::gather::Options;
use inferbus::doctor::{gather, judge, library};
use inferbus::nats::connect::Connection;

use super::print::{self, say};
use crate::cli::Format;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  inferbus doctor --monitor http://127.0.0.1:8222\n  inferbus doctor --as-worker --context worker\n  inferbus doctor --output json\n\nIt changes nothing. Ends with code 1 if it finds a danger. Run it as the operator: what may not be seen is `unknown`."
)]
pub struct Arguments {
    /// The server's monitoring address, which alone says when it writes to disk
    #[arg(long, value_name = "URL", env = "INFERBUS_MONITOR")]
    monitor: Option<String>,
    /// Also check that this connection may do what a worker needs
    #[arg(long)]
    as_worker: bool,
    /// The prefix of the workers' request subjects
    #[arg(long, value_name = "SUBJECT", env = "INFERBUS_PREFIX", default_value = "infer")]
    prefix: String,
    /// As a worker here would be told
    #[command(flatten)]
    engine: EngineSettings,
    #[arg(long, value_enum, default_value = "text")]
    output: Format,
    #[command(flatten)]
    connection: Connection,
}

pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let Arguments { monitor, as_worker, prefix, engine, output, connection } = arguments;
    let client = connection.command().await?;
    let options = Options { monitor, as_worker, prefix, patience: connection.timeout() };
    let mut findings = judge::all(&gather::facts(&client, options).await);
    findings.push(library::look(&engine, as_worker));
    match output {
        Format::Json => print::json(&findings)?,
        Format::Text => tell(&findings),
    }
    let dangerous = findings.iter().any(|finding| finding.level == Level::Danger);
    Ok(ExitCode::from(u8::from(dangerous)))
}

fn tell(findings: &[Finding]) {
    for Finding { check, level, what, todo } in findings {
        let level = match level {
            Level::Ok => "ok",
            Level::Unknown => "unknown",
            Level::Warning => "WARNING",
            Level::Danger => "DANGER",
        };
        say!("{level:8} {check:13} {what}");
        if !todo.is_empty() {
            say!("{:22} → {todo}", "");
        }
    }
}
