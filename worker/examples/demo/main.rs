//! The demo: a server, two workers and a camera; the model's version changes while pictures stream.
//!
//! The last line accounts for every picture. The exit status is 0 only if no picture was lost or failed, and the
//! versions answered in the order of their activation.
#![forbid(unsafe_code)]

mod camera;
mod fleet;
mod screen;
mod tally;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use async_nats::Client;
use clap::Parser;
use tokio::signal::ctrl_c;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use crate::camera::{Camera, Picture};
use crate::fleet::Fleet;
use crate::screen::Screen;
use crate::tally::Tally;

/// Stream digits through two workers and switch the model's version meanwhile
#[derive(Debug, Parser)]
struct Arguments {
    /// Pictures to send
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(30..=1_000_000))]
    pictures: u32,
    /// Pictures per second
    #[arg(long, default_value_t = 250, value_parser = clap::value_parser!(u32).range(1..=5000))]
    rate: u32,
    /// URL of a running server with JetStream [default: a private server]
    #[arg(long, env = "NATS_URL")]
    server: Option<String>,
}

const FIRST: &str = "1.0.0";
const SECOND: &str = "1.1.0";

/// The limit of pictures in flight.
const MAX_IN_FLIGHT: usize = 64;

/// A picture without an answer after this time is lost.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// A phase continues until its version answers, up to this multiple of its pictures.
const MAX_PHASE_STRETCH: u32 = 20;

#[tokio::main]
async fn main() -> ExitCode {
    // On an interrupt, dropping the future ends the child processes.
    let result = tokio::select! {
        result = run(Arguments::parse()) => result,
        () = interrupted() => Err(anyhow::anyhow!("interrupted")),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(fault) => {
            eprintln!("demo: {fault:#}");
            ExitCode::FAILURE
        }
    }
}

/// Ctrl-C, or SIGTERM.
async fn interrupted() {
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = ctrl_c() => {}
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<bool> {
    let mut fleet = Fleet::server(arguments.server.as_deref()).await?;
    fleet.push(FIRST, true).await?;
    fleet.push(SECOND, false).await?;
    fleet.workers(2).await?;
    let client = fleet.client().await?;
    let pictures = camera::load(&fleet::root().join("plugins/examples/digits/model/heldout.bin"))?;
    let mut show = Show {
        camera: Camera::new(pictures, arguments.rate),
        screen: Screen::new(arguments.rate),
        tally: Tally::default(),
        client,
        in_flight: JoinSet::new(),
    };
    let share = arguments.pictures / 3;
    show.phase(FIRST, share).await?;
    show.screen.note("nats kv put models digits 1.1.0", "the new version loads in the background, then takes over");
    fleet.activate(SECOND).await?;
    show.phase(SECOND, share).await?;
    show.screen.note("nats kv put models digits 1.0.0", "back to the old version, while pictures stream");
    fleet.activate(FIRST).await?;
    show.phase(FIRST, arguments.pictures - 2 * share).await?;
    show.finish().await;
    fleet.stop().await;
    show.screen.close();
    println!("{}", show.tally.speed());
    println!("{}", show.tally.line());
    Ok(show.tally.is_good(&[FIRST, SECOND, FIRST]))
}

struct Show {
    camera: Camera,
    screen: Screen,
    tally: Tally,
    client: Client,
    in_flight: JoinSet<(Picture, anyhow::Result<tally::Answer>)>,
}

impl Show {
    /// Streams at least this number of pictures, until only this version answers.
    async fn phase(&mut self, version: &str, pictures: u32) -> anyhow::Result<()> {
        self.tally.begin_phase();
        let mut sent = 0;
        while sent < pictures || !self.tally.settled_on(version) {
            if sent >= pictures.saturating_mul(MAX_PHASE_STRETCH) {
                bail!(
                    "the other version still answers beside {version}; the workers' logs are in {}",
                    fleet::log_folder().display()
                );
            }
            while self.in_flight.len() >= MAX_IN_FLIGHT {
                self.next_answer().await;
            }
            let picture = self.next_picture().await;
            sent += 1;
            self.send(picture);
        }
        Ok(())
    }

    /// Waits for the camera, and handles answers in the meantime.
    async fn next_picture(&mut self) -> Picture {
        loop {
            tokio::select! {
                picture = self.camera.next() => return picture,
                Some(Ok((picture, answer))) = self.in_flight.join_next() => self.record(&picture, answer),
            }
        }
    }

    fn send(&mut self, picture: Picture) {
        self.tally.sent();
        let client = self.client.clone();
        self.in_flight.spawn(async move {
            let started = std::time::Instant::now();
            let answer = tokio::time::timeout(ANSWER_TIMEOUT, client.request("infer.digits", picture.payload.clone()))
                .await
                .context("no answer in time")
                .and_then(|reply| Ok(reply?))
                .and_then(|reply| tally::Answer::read(&reply, started.elapsed()));
            (picture, answer)
        });
    }

    async fn next_answer(&mut self) {
        if let Some(Ok((picture, answer))) = self.in_flight.join_next().await {
            self.record(&picture, answer);
        }
    }

    fn record(&mut self, picture: &Picture, answer: anyhow::Result<tally::Answer>) {
        self.tally.answered(&answer);
        if let Ok(answer) = answer {
            self.screen.show(picture, &answer, &self.tally);
        }
    }

    async fn finish(&mut self) {
        while !self.in_flight.is_empty() {
            self.next_answer().await;
        }
    }
}
