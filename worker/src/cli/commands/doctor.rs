//! `inferbus doctor`: reports risks to the guarantees of a deployment, with remedies.

use std::process::ExitCode;

use clap::Args;
use inferbus::config::EngineSettings;
use inferbus::doctor::finding::{Finding, Level};
use inferbus::doctor::gather::Options;
use inferbus::doctor::{checks, gather, library};
use inferbus::nats::connect::Connection;

use crate::cli::print::{self, Format};

const EXAMPLES: &str = "\
Examples:
  inferbus doctor --monitor http://127.0.0.1:8222
  inferbus doctor --as-worker --context worker
  inferbus doctor --output json

Read-only. The exit code is 1 if there is a danger. \
Run it as the operator: facts hidden by missing permissions are `unknown`.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Monitoring address of the server, the only source of its disk settings
    #[arg(long, value_name = "URL", env = "INFERBUS_MONITOR")]
    monitor: Option<String>,
    /// Also check the permissions of this connection against a worker's
    #[arg(long)]
    as_worker: bool,
    /// Prefix of the request subjects
    #[arg(long, value_name = "SUBJECT", env = "INFERBUS_PREFIX", default_value = "infer")]
    prefix: String,
    // The settings of a worker on this machine.
    #[command(flatten)]
    engine: EngineSettings,
    /// Output format
    #[arg(long, value_enum, default_value = "text")]
    output: Format,
    #[command(flatten)]
    connection: Connection,
}

pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let Arguments { monitor, as_worker, prefix, engine, output, connection } = arguments;
    let client = connection.command().await?;
    let options = Options { monitor, as_worker, prefix, timeout: connection.timeout() };
    let mut findings = checks::run(&gather::facts(&client, options).await);
    findings.push(library::check(&engine, as_worker));
    match output {
        Format::Json => print::json(&findings)?,
        Format::Text => print_findings(&findings),
    }
    let dangerous = findings.iter().any(|finding| finding.level == Level::Danger);
    Ok(ExitCode::from(u8::from(dangerous)))
}

fn print_findings(findings: &[Finding]) {
    for Finding { check, level, message, remedy } in findings {
        let level = match level {
            Level::Ok => "ok",
            Level::Unknown => "unknown",
            Level::Warning => "WARNING",
            Level::Danger => "DANGER",
        };
        print::line!("{level:8} {check:13} {message}");
        if !remedy.is_empty() {
            print::line!("{:22} → {remedy}", "");
        }
    }
}
