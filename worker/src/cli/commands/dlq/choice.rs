//! Which dead letters a command is about: those that are named, or all that fit.

use async_nats::jetstream::Context;
use clap::Args;
use inferbus::offline::dead_letters::{Choice, DeadLetters, Pick};
use inferbus_catalog::RouteName;

use crate::cli::exit::NotFound;

#[derive(Debug, Args)]
pub struct Chosen {
    /// Dead letters by the ID that `inferbus dlq ls` shows
    #[arg(value_name = "ID", required_unless_present = "all", conflicts_with = "all")]
    ids: Vec<u64>,
    /// All dead letters, or all that fit
    #[arg(long)]
    all: bool,
    /// Only those of this route
    #[arg(long, value_name = "ROUTE", requires = "all")]
    route: Option<RouteName>,
    /// Only those with this reason, for example `refused`
    #[arg(long, value_name = "REASON", requires = "all")]
    reason: Option<String>,
}

impl Chosen {
    /// The chosen letters in the order in which they came. One that is named must be there.
    pub async fn picks(self, letters: Option<&DeadLetters>) -> anyhow::Result<Vec<Pick>> {
        let Self { mut ids, all, route, reason } = self;
        let Some(letters) = letters else {
            return match ids.first() {
                Some(id) => Err(missing(*id).into()),
                None => Ok(Vec::new()),
            };
        };
        if all {
            return Ok(letters.chosen(&Choice { route, reason }).await?);
        }
        ids.sort_unstable();
        ids.dedup();
        let mut picks = Vec::new();
        for id in ids {
            picks.push(letters.summary(id).await?.ok_or_else(|| missing(id))?.into());
        }
        Ok(picks)
    }
}

pub fn missing(id: u64) -> NotFound {
    NotFound(format!("no dead letter {id}: `inferbus dlq ls` lists what there is"))
}

/// The dead letters and the way to their server.
pub async fn open(context: &Context) -> anyhow::Result<Option<DeadLetters>> {
    Ok(DeadLetters::open(context).await?)
}

/// `1 dead letter`, `2 dead letters`.
pub fn letters(count: u64) -> String {
    format!("{count} dead letter{}", if count == 1 { "" } else { "s" })
}
