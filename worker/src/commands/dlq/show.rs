//! `inferbus dlq show`: all that is known of one dead letter.

use std::io::Write as _;

use anyhow::bail;
use clap::Args;
use inferbus::nats::connect::Connection;
use inferbus::offline::excerpt::{excerpt, plain};
use inferbus::offline::letter::{Letter, written};

use super::choice;
use crate::commands::print::say;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  inferbus dlq show 12\n  inferbus dlq show 12 --payload > message.bin")]
pub struct Arguments {
    id: u64,
    /// Write the message's payload to standard output as it came, and nothing else
    #[arg(long)]
    payload: bool,
    #[command(flatten)]
    connection: Connection,
}

pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { id, payload, connection } = arguments;
    let context = crate::commands::jetstream(&connection).await?;
    let letter = match choice::open(&context).await? {
        Some(letters) => letters.letter(id).await?,
        None => None,
    };
    let letter = letter.ok_or_else(|| choice::missing(id))?;
    if payload {
        return write_payload(&letter);
    }
    say_letter(&letter);
    Ok(())
}

fn write_payload(letter: &Letter) -> anyhow::Result<()> {
    match &letter.payload {
        Ok(payload) => {
            let mut out = std::io::stdout().lock();
            out.write_all(payload)?;
            Ok(out.flush()?)
        }
        Err(why) => bail!("dead letter {} has no payload: {why}", letter.summary.id),
    }
}

fn say_letter(letter: &Letter) {
    let about = &letter.summary;
    say!("dead letter {} of {}", about.id, written(about.at));
    let times = if about.deliveries == 1 { "once".into() } else { format!("{} times", about.deliveries) };
    let model = [about.model.as_str(), &about.version, &about.digest].join(" ");
    for (what, text) in [
        ("route", about.route.as_str()),
        ("message", &format!("{} on {}, delivered {times}", about.message(), about.subject)),
        ("model", model.trim()),
        ("stage", &about.stage),
        ("reason", &about.reason),
        ("error", &about.error),
        ("id", &plain(&about.message_id)),
    ] {
        if !text.is_empty() {
            say!("  {what:8} {text}");
        }
    }
    let mut headers: Vec<_> = letter.headers.iter().collect();
    headers.sort_by_key(|(name, _)| name.to_string());
    for (name, value) in headers.into_iter().flat_map(|(name, values)| values.iter().map(move |value| (name, value))) {
        say!("  header   {name}: {}", plain(value.as_str()));
    }
    match &letter.payload {
        Ok(payload) => say!("  payload  {} bytes: {}", payload.len(), excerpt(payload)),
        Err(why) => say!("  payload  {why}"),
    }
}
