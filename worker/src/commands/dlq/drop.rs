//! `inferbus dlq drop`: deletes dead letters, and asks before.

use std::io::{IsTerminal as _, Write as _};

use anyhow::bail;
use clap::Args;
use inferbus::nats::connect::Connection;

use super::choice::{self, Chosen, letters};
use crate::commands::print::say;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  inferbus dlq drop 12 13\n  inferbus dlq drop --all --route cameras --reason refused --yes"
)]
pub struct Arguments {
    #[command(flatten)]
    chosen: Chosen,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    connection: Connection,
}

pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { chosen, yes, connection } = arguments;
    let context = crate::commands::jetstream(&connection).await?;
    let dead = choice::open(&context).await?;
    let picks = chosen.picks(dead.as_ref()).await?;
    let count = picks.len() as u64;
    if !yes && count > 0 && !confirmed(count)? {
        say!("nothing deleted");
        return Ok(());
    }
    let mut deleted = 0;
    if let Some(dead) = &dead {
        for pick in picks {
            deleted += u64::from(dead.delete(pick.id).await?);
        }
    }
    say!("{} deleted", letters(deleted));
    Ok(())
}

fn confirmed(count: u64) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!("{} would be deleted for good: say --yes", letters(count));
    }
    eprint!("delete {} for good? [y/N] ", letters(count));
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
