//! `inferbus dlq ls`: dead letters as a table, newest last.

use clap::Args;
use inferbus::excerpt::shortened;
use inferbus::limits;
use inferbus::nats::connect::Connection;
use inferbus::offline::dead_letter::{DeadLetterSummary, rfc3339};
use inferbus::offline::dead_letter_stream::{DeadLetterStream, LetterFilter, Listing};
use inferbus_catalog::RouteName;

use super::selection::counted;
use crate::cli::open;
use crate::cli::print::{self, Format};

const EXAMPLES: &str = "\
Examples:
  inferbus dlq ls
  inferbus dlq ls --route cameras --reason refused --limit 10 --output json";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Only dead letters of this route
    #[arg(long, value_name = "ROUTE")]
    route: Option<RouteName>,
    /// Only dead letters with this reason, for example `refused`
    #[arg(long, value_name = "REASON")]
    reason: Option<String>,
    /// Show the newest N
    #[arg(long, value_name = "N", default_value_t = limits::LETTERS_SHOWN)]
    limit: usize,
    /// Output format
    #[arg(long, value_enum, default_value = "text")]
    output: Format,
    #[command(flatten)]
    connection: Connection,
}

pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { route, reason, limit, output, connection } = arguments;
    let context = open::jetstream(&connection).await?;
    let filter = LetterFilter { route, reason };
    let listing = match DeadLetterStream::open(&context).await? {
        Some(stream) => stream.list(&filter, limit).await?,
        None => Listing::default(),
    };
    if output == Format::Json {
        return print::json(&listing.letters);
    }
    if !listing.letters.is_empty() {
        let rows: Vec<_> = listing.letters.iter().map(row).collect();
        print::table(&["ID", "WHEN", "ROUTE", "MESSAGE", "VERSION", "STAGE", "REASON", "ERROR"], &rows);
    }
    print::line!("{}", summary(&listing));
    Ok(())
}

fn row(letter: &DeadLetterSummary) -> Vec<String> {
    let or_dash = |text: &str| print::or_dash((!text.is_empty()).then_some(text));
    vec![
        letter.id.to_string(),
        rfc3339(letter.at),
        or_dash(&letter.route),
        letter.message(),
        or_dash(&letter.version),
        or_dash(&letter.stage),
        or_dash(&letter.reason),
        shortened(&letter.error),
    ]
}

fn summary(listing: &Listing) -> String {
    let Listing { letters, matching, all } = listing;
    match letters.len() as u64 {
        shown if shown == *all => counted(*all),
        shown if shown == *matching => format!("{matching} of {}", counted(*all)),
        shown => format!("the newest {shown} of {matching} matching, out of {}", counted(*all)),
    }
}
