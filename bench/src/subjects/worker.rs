//! The worker under load, alternating with a native worker, a Python worker and an echo.

use crate::load::{Load, Round};
use crate::opponents::contestant::Contestant;
use crate::paper::figure::Figure;
use crate::paper::figures::Figures;

/// Runs the rounds and returns the running worker. `floor` holds the bare model and the bare transforms.
pub async fn measure(
    load: &Load,
    server: &str,
    rounds: usize,
    floor: [Figure; 2],
    figures: &mut Figures,
) -> anyhow::Result<Contestant> {
    let contestants = [
        Contestant::worker(server).await?,
        Contestant::native(server).await?,
        Contestant::python(server).await?,
        Contestant::echo(server).await?,
    ];
    for contestant in &contestants {
        load.round(contestant).await?;
    }
    let mut ran: [Vec<Round>; 4] = Default::default();
    for number in 1..=rounds {
        for (contestant, rounds) in contestants.iter().zip(&mut ran) {
            let round = load.round(contestant).await?;
            eprintln!("round {number}: {:8} {round}", contestant.name);
            rounds.push(round);
        }
    }
    compare(figures, &ran, floor);
    let [worker, others @ ..] = contestants;
    for other in others {
        other.stop().await?;
    }
    Ok(worker)
}

fn compare(figures: &mut Figures, rounds: &[Vec<Round>; 4], floor: [Figure; 2]) {
    let [worker, native, python, echo] = rounds;
    for (name, rounds) in [("worker", worker), ("native", native), ("python", python), ("echo", echo)] {
        let mut figure = |what: &str, unit, of: fn(&Round) -> f64| {
            figures.add(Figure::of(&format!("{name}.{what}"), unit, rounds.iter().map(of)));
        };
        figure("cpu_us", "µs per message", Round::cpu_micros);
        figure("rate", "requests/s", Round::rate);
        figure("p50_us", "µs", |round| round.latency(0.5));
        figure("p99_us", "µs", |round| round.latency(0.99));
    }
    let model: f64 = floor.iter().map(|figure| figure.value).sum();
    floor.into_iter().for_each(|figure| figures.add(figure));
    let ratio = |of: fn(&Round) -> f64, other: &[Round], more: f64| {
        worker.iter().zip(other).map(|(ours, theirs)| of(ours) / (of(theirs) + more)).collect::<Vec<_>>()
    };
    let cpu = Round::cpu_micros;
    figures.add(Figure::of("worker.cpu_vs_native", "× native.cpu_us", ratio(cpu, native, 0.0)));
    figures.add(Figure::of("worker.cpu_vs_python", "× python.cpu_us", ratio(cpu, python, 0.0)));
    figures.add(Figure::of("worker.rate_vs_python", "× python.rate", ratio(Round::rate, python, 0.0)));
    figures.add(Figure::of("worker.cpu_vs_echo", "× echo.cpu_us", ratio(cpu, echo, 0.0)));
    let unit = "× (echo.cpu_us + floor.model_us + floor.pre_post_us)";
    figures.add(Figure::of("worker.cpu_vs_floor", unit, ratio(cpu, echo, model)));
}
