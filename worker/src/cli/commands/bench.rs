//! `inferbus bench`: load on a deployment, with a check of every answer.

mod arguments;
mod found;
mod mix;
mod settings;
mod show;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use inferbus_loadgen::report::html::{Report, Row};
use inferbus_loadgen::run::run as measure;
use inferbus_loadgen::settings::{Load, RunSettings, Setup};
use inferbus_loadgen::sweep::{Judge, Search};
use tokio_util::sync::CancellationToken;

pub use self::arguments::Arguments;
use self::arguments::LOWEST;
use self::found::Found;
use crate::cli::print::Format;
use crate::cli::{exit, stop};

pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let setup = Arc::new(settings::setup(&arguments).await?);
    let stop = stop::on_signal()?;
    let found = if arguments.sweep {
        sweep(&arguments, &setup, &stop).await?
    } else {
        let outcome = measure(&setup, arguments.run_settings(), &stop).await?;
        Found { rows: Row::new(outcome).into_iter().collect(), knee: None }
    };
    if let Some(file) = &arguments.report {
        let (title, settings) = (settings::title(&setup), settings::listed(&arguments, &setup));
        let report = Report { title: &title, settings: &settings, runs: &found.rows, knee: found.knee };
        std::fs::write(file, report.html())
            .with_context(|| format!("the report {} cannot be written", file.display()))?;
    }
    match arguments.output {
        Format::Json => show::json(&settings::listed(&arguments, &setup), &found)?,
        Format::Text => show::text(&found),
    }
    Ok(if show::is_good(&found) { ExitCode::SUCCESS } else { ExitCode::from(exit::FAILED) })
}

async fn sweep(arguments: &Arguments, setup: &Arc<Setup>, stop: &CancellationToken) -> anyhow::Result<Found> {
    let mut search = Search::new(arguments.rate.unwrap_or(LOWEST));
    let (mut judge, mut rows) = (Judge::new(arguments.knee_p99), Vec::new());
    while let Some(rate) = search.next() {
        let load = Load::Open { rate, arrivals: arguments.arrivals.into() };
        let outcome = measure(setup, RunSettings { load, ..arguments.run_settings() }, stop).await?;
        let stopped = outcome.stopped;
        if let Some(row) = Row::judged(outcome, &mut judge) {
            show::step(&row);
            // An interrupted step does not judge its rate.
            if !stopped {
                search.record(row.breach.is_none());
            }
            rows.push(row);
        }
        if stopped {
            break;
        }
    }
    Ok(Found { rows, knee: Some(search.knee()) })
}

#[cfg(test)]
mod tests {
    use async_nats::HeaderName;
    use inferbus::nats::headers as worker_headers;
    use inferbus::stream::names;
    use inferbus_loadgen::headers;

    #[test]
    fn the_load_generator_reads_the_headers_and_subjects_of_the_worker() {
        assert_eq!((headers::ERROR_CODE, headers::ERROR), (worker_headers::ERROR_CODE, worker_headers::ERROR));
        let pairs = [
            (headers::ROUTE, names::ROUTE),
            (headers::STREAM, names::STREAM),
            (headers::SEQUENCE, names::SEQUENCE),
            (headers::REPLAY, names::REPLAY),
            (headers::REASON, names::REASON),
            (headers::DEAD_LETTER_ERROR, names::ERROR),
        ];
        for (ours, theirs) in pairs {
            assert_eq!(HeaderName::from_static(ours), theirs);
        }
        assert_eq!(format!("{}.>", headers::DEAD_LETTER_PREFIX), names::DEAD_LETTER_SUBJECTS);
    }
}
