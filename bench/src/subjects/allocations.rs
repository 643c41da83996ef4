//! Heap allocations of a message in the worker, and in an echo with the same client library.

use std::process::Stdio;

use anyhow::Context as _;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{ChildStdin, ChildStdout, Command};

use crate::load::Load;
use crate::opponents::contestant::{Contestant, wait_for, worker_arguments};
use crate::paper::figure::Figure;

const ROUNDS: usize = 3;

/// A contestant with an allocation counter.
struct Counting {
    contestant: Contestant,
    questions: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

/// Returns the figures of the worker and of the echo.
pub async fn measure(load: &Load, server: &str) -> anyhow::Result<[Figure; 2]> {
    let worker = per_message(load, worker(server).await?).await?;
    let echo = per_message(load, echo(server).await?).await?;
    let unit = "heap allocations per message";
    Ok([
        Figure::of("worker.allocations_per_message", unit, worker),
        Figure::of("echo.allocations_per_message", unit, echo),
    ])
}

async fn worker(server: &str) -> anyhow::Result<Counting> {
    let mut command = program()?;
    command.arg("worker").args(worker_arguments(server)).args(["--prefix", "counted"]);
    let mut contestant = Contestant::spawn_worker("counted", "counted.digits", &mut command).await?;
    let answers = contestant.child.stdout.take().context("the program's output")?;
    Counting::new(contestant, BufReader::new(answers).lines())
}

async fn echo(server: &str) -> anyhow::Result<Counting> {
    let mut child = program()?.args(["echo", server, "counted.echo"]).spawn()?;
    let output = child.stdout.take().context("the program's output")?;
    let answers = wait_for(output, "ready").await?;
    let contestant =
        Contestant { name: "counted echo", subject: "counted.echo", classifies: false, child, _state: None };
    Counting::new(contestant, answers)
}

/// Built in the folder of this program.
fn program() -> anyhow::Result<Command> {
    let program = std::env::current_exe()?.with_file_name("inferbus-bench-counting");
    anyhow::ensure!(program.exists(), "{} is missing: `make bench` builds it", program.display());
    let mut command = Command::new(program);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    Ok(command)
}

impl Counting {
    fn new(mut contestant: Contestant, answers: Lines<BufReader<ChildStdout>>) -> anyhow::Result<Self> {
        let questions = contestant.child.stdin.take().context("the program's input")?;
        Ok(Self { contestant, questions, answers })
    }

    async fn count(&mut self) -> anyhow::Result<u64> {
        self.questions.write_all(b"\n").await?;
        let answer = self.answers.next_line().await?.context("the program has ended")?;
        answer.parse().with_context(|| format!("`{answer}` is not a number"))
    }
}

/// The allocations of a round, minus those of an equal idle time.
async fn per_message(load: &Load, mut counting: Counting) -> anyhow::Result<Vec<f64>> {
    load.round(&counting.contestant).await?;
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let before = counting.count().await?;
        let round = load.round(&counting.contestant).await?;
        let busy = counting.count().await?;
        tokio::time::sleep(round.wall()).await;
        let idle = counting.count().await?;
        rounds.push(((busy - before) as f64 - (idle - busy) as f64) / load.requests as f64);
    }
    counting.contestant.stop().await?;
    Ok(rounds)
}
