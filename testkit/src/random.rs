//! Random numbers (SplitMix64) with a seed to repeat them.

use std::io::Write as _;

/// The seed of a run to repeat.
const SEED: &str = "INFERBUS_SEED";

pub struct Random {
    state: u64,
}

impl Random {
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// Takes the seed from the environment or from the clock, and prints it. Each run of a test gets different numbers.
    pub fn of_run(test: &str, run: u64) -> Self {
        let named = std::env::var(SEED).ok().map(|seed| seed.parse().expect("INFERBUS_SEED is a number"));
        let clock = || std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_nanos() as u64 >> 10);
        let seed = named.unwrap_or_else(clock);
        // Not captured by libtest: a passing test prints its seed, too.
        let _ = writeln!(std::io::stderr(), "{test}: run {run} with {SEED}={seed}");
        Self::new(seed.wrapping_add(run.wrapping_mul(0xd134_2543_de82_ef95)))
    }

    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`; 0 if `limit` is 0.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.next_u64() % limit.max(1) as u64) as usize
    }

    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        std::iter::repeat_with(|| self.next_u64().to_le_bytes()).flatten().take(count).collect()
    }
}
