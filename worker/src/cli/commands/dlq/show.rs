//! `inferbus dlq show`: one dead letter in full.

use std::io::Write as _;

use anyhow::bail;
use clap::Args;
use inferbus::excerpt::{excerpt, plain};
use inferbus::nats::connect::Connection;
use inferbus::offline::dead_letter::{DeadLetter, rfc3339};
use inferbus::offline::dead_letter_stream::DeadLetterStream;

use super::selection;
use crate::cli::{open, print};

const EXAMPLES: &str = "\
Examples:
  inferbus dlq show 12
  inferbus dlq show 12 --payload > message.bin";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// ID of the dead letter, as listed by `inferbus dlq ls`
    id: u64,
    /// Write only the original payload to standard output
    #[arg(long)]
    payload: bool,
    #[command(flatten)]
    connection: Connection,
}

pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { id, payload, connection } = arguments;
    let context = open::jetstream(&connection).await?;
    let letter = match DeadLetterStream::open(&context).await? {
        Some(stream) => stream.letter(id).await?,
        None => None,
    };
    let letter = letter.ok_or_else(|| selection::missing(id))?;
    if payload {
        return write_payload(&letter);
    }
    print_letter(&letter);
    Ok(())
}

fn write_payload(letter: &DeadLetter) -> anyhow::Result<()> {
    match &letter.payload {
        Ok(payload) => {
            let mut out = std::io::stdout().lock();
            out.write_all(payload)?;
            Ok(out.flush()?)
        }
        Err(why) => bail!("the payload of dead letter {} is missing: {why}", letter.summary.id),
    }
}

fn print_letter(letter: &DeadLetter) {
    let summary = &letter.summary;
    print::line!("dead letter {} of {}", summary.id, rfc3339(summary.at));
    let times = if summary.deliveries == 1 { "once".into() } else { format!("{} times", summary.deliveries) };
    let model = [summary.model.as_str(), &summary.version, &summary.digest].join(" ");
    for (label, text) in [
        ("route", summary.route.as_str()),
        ("message", &format!("{} on {}, delivered {times}", summary.message(), summary.subject)),
        ("model", model.trim()),
        ("stage", &summary.stage),
        ("reason", &summary.reason),
        ("error", &summary.error),
        ("id", &plain(&summary.message_id)),
    ] {
        if !text.is_empty() {
            print::line!("  {label:8} {text}");
        }
    }
    let mut headers: Vec<_> = letter.headers.iter().collect();
    headers.sort_by_key(|(name, _)| name.to_string());
    for (name, value) in headers.into_iter().flat_map(|(name, values)| values.iter().map(move |value| (name, value))) {
        print::line!("  header   {name}: {}", plain(value.as_str()));
    }
    match &letter.payload {
        Ok(payload) => print::line!("  payload  {} bytes: {}", payload.len(), excerpt(payload)),
        Err(why) => print::line!("  payload  {why}"),
    }
}
