//! `inferbus bench`: load on a deployment, and what became of every request.
//!
//! Follow a request: `arrivals.rs` says when it is due, `mix.rs` for whom it is and `payload.rs` what it carries; `drive.rs`
//! sends it and hears the answers; `ledger.rs` knows what is outstanding, `book.rs` the same of a stream's messages,
//! `contents.rs` whether an answer is the right one, and `tally.rs` keeps what came of it. `run.rs` is one run, `sweep.rs`
//! searches the highest rate that holds, `report.rs`, `page.rs` and `chart.rs` draw. Nothing here prints.

pub mod arrivals;
pub mod book;
pub mod chart;
pub mod contents;
pub mod dice;
pub mod drive;
pub mod fault;
pub mod ledger;
pub mod mix;
pub mod outcome;
pub mod page;
pub mod payload;
pub mod report;
pub mod run;
pub mod sweep;
pub mod tally;
pub mod zeros;
