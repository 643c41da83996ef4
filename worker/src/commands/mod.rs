//! One file per command; here is only which one runs.

pub mod activate;
pub mod bench;
pub mod check;
pub mod compile_plugin;
pub mod completions;
pub mod dev;
pub mod dlq;
pub mod doctor;
pub mod infer;
pub mod list;
pub mod load_model;
pub mod push;
pub mod replay;
pub mod rollback;
pub mod route;
mod route_stream;
pub mod show;
pub mod status;

mod local;
mod print;
mod progress;
mod stop;
mod strategy;
mod worker;

use std::process::ExitCode;

use async_nats::jetstream::{self, Context};
use inferbus::nats::connect::Connection;
use inferbus_catalog::Catalog;

use crate::cli::Command;

pub async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Worker(config) => worker::run(*config).await?,
        Command::Push(arguments) => push::run(arguments).await?,
        Command::Activate(arguments) => activate::run(arguments).await?,
        Command::Rollback(arguments) => rollback::run(arguments).await?,
        Command::Ls(arguments) => list::run(arguments).await?,
        Command::Show(arguments) => show::run(arguments).await?,
        Command::Status(arguments) => return status::run(arguments).await,
        Command::Doctor(arguments) => return doctor::run(arguments).await,
        Command::Check(arguments) => check::run(&arguments)?,
        Command::Infer(arguments) => infer::run(arguments).await?,
        Command::Bench(arguments) => return bench::run(*arguments).await,
        Command::Route(arguments) => route::run(arguments).await?,
        Command::Dlq(arguments) => return dlq::run(*arguments).await,
        Command::Replay(arguments) => replay::run(*arguments).await?,
        Command::Dev(arguments) => dev::run(*arguments).await?,
        Command::Completions(arguments) => completions::run(&arguments),
        Command::CompilePlugin => return Ok(compile_plugin::run()),
        Command::LoadModel(arguments) => return Ok(load_model::run(arguments)),
    }
    Ok(ExitCode::SUCCESS)
}

/// JetStream, to read and write messages.
async fn jetstream(connection: &Connection) -> anyhow::Result<Context> {
    let mut context = jetstream::new(connection.command().await?);
    context.set_timeout(connection.timeout());
    Ok(context)
}

/// The catalog as it is: commands that only read or switch do not create buckets.
async fn catalog(connection: &Connection) -> anyhow::Result<Catalog> {
    Ok(Catalog::open(connection.command().await?).await?)
}
