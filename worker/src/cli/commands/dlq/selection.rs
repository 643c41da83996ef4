//! The selection of dead letters on the command line: by id, or all matching ones.

use clap::Args;
use inferbus::offline::dead_letter_stream::{DeadLetterStream, LetterFilter, SelectedLetter};
use inferbus_catalog::RouteName;

use crate::cli::exit::NotFound;

#[derive(Debug, Args)]
pub struct Selection {
    /// IDs of dead letters, as listed by `inferbus dlq ls`
    #[arg(value_name = "ID", required_unless_present = "all", conflicts_with = "all")]
    ids: Vec<u64>,
    /// Select all dead letters, or all matching ones
    #[arg(long)]
    all: bool,
    /// Only dead letters of this route
    #[arg(long, value_name = "ROUTE", requires = "all")]
    route: Option<RouteName>,
    /// Only dead letters with this reason, for example `refused`
    #[arg(long, value_name = "REASON", requires = "all")]
    reason: Option<String>,
}

impl Selection {
    /// The selected dead letters in order of arrival. Every given id must exist.
    pub async fn find(self, stream: Option<&DeadLetterStream>) -> anyhow::Result<Vec<SelectedLetter>> {
        let Self { mut ids, all, route, reason } = self;
        let Some(stream) = stream else {
            return match ids.first() {
                Some(id) => Err(missing(*id).into()),
                None => Ok(Vec::new()),
            };
        };
        if all {
            return Ok(stream.select(&LetterFilter { route, reason }).await?);
        }
        ids.sort_unstable();
        ids.dedup();
        let mut selected = Vec::new();
        for id in ids {
            selected.push(stream.summary(id).await?.ok_or_else(|| missing(id))?.into());
        }
        Ok(selected)
    }
}

pub fn missing(id: u64) -> NotFound {
    NotFound(format!("no dead letter {id}: `inferbus dlq ls` lists the dead letters"))
}

/// `1 dead letter`, `2 dead letters`.
pub fn counted(count: u64) -> String {
    format!("{count} dead letter{}", if count == 1 { "" } else { "s" })
}
