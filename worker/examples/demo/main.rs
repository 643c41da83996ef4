//! The demo: a server, two workers, a camera, and a version that changes while pictures stream.
//!
//! It ends with one line that accounts for every picture, and with exit status 0 only if none was lost,
//! none failed, and the versions answered in the order in which they were activated.
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

/// Stream digits through two workers and change the model's version meanwhile
#[derive(Debug, Parser)]
struct Arguments {
    /// Pictures to send
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(30..=1_000_000))]
    pictures: u32,
    /// Pictures per second
    #[arg(long, default_value_t = 250, value_parser = clap::value_parser!(u32).range(1..=5000))]
    rate: u32,
    /// A running server with JetStream to use instead of a private one
    #[arg(long, env = "NATS_URL")]
    server: Option<String>,
}

const FIRST: &str = "1.0.0";
const SECOND: &str = "1.1.0";

/// Pictures in flight; more wait at the camera.
const IN_FLIGHT: usize = 64;

/// How long one picture may take before it counts as lost.
const ANSWER: Duration = Duration::from_secs(10);

/// A phase goes on until its version answers, but not for more than this many times its pictures.
const PHASE_STRETCH: u32 = 20;

#[tokio::main]
async fn main() -> ExitCode {
    // Whatever the demo has started ends with what is dropped here.
    let ended = tokio::select! {
        ended = run(Arguments::parse()) => ended,
        () = interrupted() => Err(anyhow::anyhow!("interrupted")),
    };
    match ended {
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
    show.screen.note("nats kv put models digits 1.1.0", "the new version is loaded beside the old one, then swapped");
    fleet.put("1.1.0").await?;
    show.phase(SECOND, share).await?;
    show.screen.note("nats kv put models digits 1.0.0", "and back, while pictures stream");
    fleet.put("1.0.0").await?;
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
    /// Streams pictures until as many were sent as this phase has, and its version answers alone.
    async fn phase(&mut self, version: &str, pictures: u32) -> anyhow::Result<()> {
        self.tally.begin_phase();
        let mut sent = 0;
        while sent < pictures || !self.tally.settled_on(version) {
            if sent >= pictures.saturating_mul(PHASE_STRETCH) {
                bail!(
                    "version {version} never answered alone; the workers' logs are in {}",
                    fleet::log_folder().display()
                );
            }
            while self.in_flight.len() >= IN_FLIGHT {
                self.answered().await;
            }
            let picture = self.next_picture().await;
            sent += 1;
            self.send(picture);
        }
        Ok(())
    }

    /// Waits for the camera, and takes the answers that come meanwhile.
    async fn next_picture(&mut self) -> Picture {
        loop {
            tokio::select! {
                picture = self.camera.next() => return picture,
                Some(Ok((picture, answer))) = self.in_flight.join_next() => self.tally_and_show(&picture, answer),
            }
        }
    }

    fn send(&mut self, picture: Picture) {
        self.tally.sent();
        let client = self.client.clone();
        self.in_flight.spawn(async move {
            let started = std::time::Instant::now();
            let answer = tokio::time::timeout(ANSWER, client.request("infer.digits", picture.payload.clone()))
                .await
                .context("no answer in time")
                .and_then(|reply| Ok(reply?))
                .and_then(|reply| tally::Answer::read(&reply, started.elapsed()));
            (picture, answer)
        });
    }

    async fn answered(&mut self) {
        if let Some(Ok((picture, answer))) = self.in_flight.join_next().await {
            self.tally_and_show(&picture, answer);
        }
    }

    fn tally_and_show(&mut self, picture: &Picture, answer: anyhow::Result<tally::Answer>) {
        self.tally.answered(&answer);
        if let Ok(answer) = answer {
            self.screen.show(picture, &answer, &self.tally);
        }
    }

    async fn finish(&mut self) {
        while !self.in_flight.is_empty() {
            self.answered().await;
        }
    }
}
