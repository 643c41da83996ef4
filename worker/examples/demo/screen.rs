//! The output: one picture updated in place on a terminal, plain lines in a pipe.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use crate::camera::Picture;
use crate::tally::{Answer, Tally};

/// The pauses between two drawings: short for people, long for logs.
const ON_TERMINAL: Duration = Duration::from_millis(90);
const IN_PIPE: Duration = Duration::from_secs(1);

const SHADES: [&str; 5] = ["  ", "░░", "▒▒", "▓▓", "██"];

pub struct Screen {
    terminal: bool,
    drawn: Option<Instant>,
    lines: usize,
    rate: u32,
}

impl Screen {
    pub fn new(rate: u32) -> Self {
        let terminal = std::io::stdout().is_terminal();
        println!("demo: streaming {rate} pictures per second to infer.digits");
        Self { terminal, drawn: None, lines: 0, rate }
    }

    /// Prints an operator's command above the picture.
    pub fn note(&mut self, command: &str, comment: &str) {
        self.erase();
        println!("demo: $ {command}   ({comment})");
    }

    pub fn show(&mut self, picture: &Picture, answer: &Answer, tally: &Tally) {
        let pause = if self.terminal { ON_TERMINAL } else { IN_PIPE };
        if self.drawn.is_some_and(|drawn| drawn.elapsed() < pause) {
            return;
        }
        self.drawn = Some(Instant::now());
        self.erase();
        let legend = self.legend(answer, tally);
        let rows: Vec<String> = picture.pixels.chunks(picture.width.max(1)).map(row).collect();
        let mut text = String::new();
        for (at, row) in rows.iter().enumerate() {
            let line = format!("  {row}   {}", legend.get(at).map(String::as_str).unwrap_or_default());
            text.push_str(line.trim_end());
            text.push('\n');
        }
        self.lines = if self.terminal { rows.len() } else { 0 };
        print!("{text}");
        // The next println reports a closed pipe.
        let _ = std::io::stdout().flush();
    }

    fn legend(&self, answer: &Answer, tally: &Tally) -> Vec<String> {
        let (sent, answered) = tally.sent_and_answered();
        let bar = "█".repeat((answer.confidence * 20.0) as usize);
        let (bold, plain) = if self.terminal { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
        vec![
            String::new(),
            format!("label {bold}{}{plain}", answer.label),
            format!("confidence {:5.1} % {bar}", answer.confidence * 100.0),
            format!("version {bold}{}{plain}", answer.version),
            String::new(),
            format!("{answered} of {sent} answered, {:.0} of {} per second", tally.rate(), self.rate),
            format!("latency p50 {:.1?}, p99 {:.1?}", tally.latency(0.5), tally.latency(0.99)),
        ]
    }

    fn erase(&mut self) {
        if self.lines > 0 {
            print!("\x1b[{}A\x1b[J", self.lines);
            self.lines = 0;
        }
    }

    pub fn close(&mut self) {
        self.lines = 0;
    }
}

fn row(pixels: &[u8]) -> String {
    pixels.iter().map(|&pixel| SHADES[usize::from(pixel) * (SHADES.len() - 1) / 255]).collect()
}
