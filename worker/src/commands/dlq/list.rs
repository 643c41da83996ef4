//! `inferbus dlq ls`: dead letters as a table, the newest last.

use clap::Args;
use inferbus::limits;
use inferbus::nats::connect::Connection;
use inferbus::offline::dead_letters::{Choice, Listing};
use inferbus::offline::excerpt::shortened;
use inferbus::offline::letter::{Summary, written};
use inferbus_catalog::RouteName;

use super::choice::{self, letters};
use crate::cli::Format;
use crate::commands::print::{self, say};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  inferbus dlq ls\n  inferbus dlq ls --route cameras --reason refused --limit 10 --output json"
)]
pub struct Arguments {
    /// Only those of this route
    #[arg(long, value_name = "ROUTE")]
    route: Option<RouteName>,
    /// Only those with this reason, for example `refused`
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,
    /// The newest so many
    #[arg(long, value_name = "N", default_value_t = limits::LETTERS_SHOWN)]
    limit: usize,
    #[arg(long, value_enum, default_value = "text")]
    output: Format,
    #[command(flatten)]
    connection: Connection,
}

pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { route, reason, limit, output, connection } = arguments;
    let context = crate::commands::jetstream(&connection).await?;
    let choice = Choice { route, reason };
    let listing = match choice::open(&context).await? {
        Some(letters) => letters.list(&choice, limit).await?,
        None => Listing::default(),
    };
    if output == Format::Json {
        return print::json(&listing.letters);
    }
    if !listing.letters.is_empty() {
        let rows: Vec<_> = listing.letters.iter().map(row).collect();
        print::table(&["ID", "WHEN", "ROUTE", "MESSAGE", "VERSION", "STAGE", "REASON", "ERROR"], &rows);
    }
    say!("{}", summary(&listing));
    Ok(())
}

fn row(letter: &Summary) -> Vec<String> {
    let or_dash = |text: &str| print::or_dash((!text.is_empty()).then_some(text));
    vec![
        letter.id.to_string(),
        written(letter.at),
        or_dash(&letter.route),
        letter.message(),
        or_dash(&letter.version),
        or_dash(&letter.stage),
        or_dash(&letter.reason),
        shortened(&letter.error),
    ]
}

fn summary(listing: &Listing) -> String {
    let Listing { letters: shown, chosen, all } = listing;
    match shown.len() as u64 {
        shown if shown == *all => letters(*all),
        shown if shown == *chosen => format!("{chosen} of {}", letters(*all)),
        shown => format!("the newest {shown} of {chosen} that fit, of {} in all", letters(*all)),
    }
}
