//! `inferbus dlq drop`: deletes dead letters, after a confirmation.

use std::io::{IsTerminal as _, Write as _};

use anyhow::bail;
use clap::Args;
use inferbus::nats::connect::Connection;
use inferbus::offline::dead_letter_stream::DeadLetterStream;

use super::selection::{Selection, counted};
use crate::cli::{open, print};

const EXAMPLES: &str = "\
Examples:
  inferbus dlq drop 12 13
  inferbus dlq drop --all --route cameras --reason refused --yes";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(flatten)]
    selection: Selection,
    /// Skip the confirmation
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    connection: Connection,
}

pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { selection, yes, connection } = arguments;
    let context = open::jetstream(&connection).await?;
    let stream = DeadLetterStream::open(&context).await?;
    let selected = selection.find(stream.as_ref()).await?;
    let count = selected.len() as u64;
    if !yes && count > 0 && !confirmed(count)? {
        print::line!("nothing deleted");
        return Ok(());
    }
    let mut deleted = 0;
    if let Some(stream) = &stream {
        for letter in selected {
            deleted += u64::from(stream.delete(letter.id).await?);
        }
    }
    print::line!("{} deleted", counted(deleted));
    Ok(())
}

fn confirmed(count: u64) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!("{} would be deleted for good: confirm with --yes", counted(count));
    }
    eprint!("delete {} for good? [y/N] ", counted(count));
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
