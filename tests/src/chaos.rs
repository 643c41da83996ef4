//! Chance that can be repeated, and the size of the chaos tests.

use crate::say;

/// Set to `long`, the chaos tests run as long as `make chaos` has them run.
const SIZE: &str = "INFERBUS_CHAOS";
/// The seed of a run that is to be repeated.
const SEED: &str = "INFERBUS_SEED";

/// The size for `make test`, or the one for `make chaos`.
pub fn size<T>(test: T, long: T) -> T {
    if std::env::var_os(SIZE).is_some_and(|size| size == "long") { long } else { test }
}

/// Random numbers (SplitMix64) of a seed that the test prints.
pub struct Dice {
    state: u64,
}

impl Dice {
    /// With the seed that the environment names, or one of the moment. Of several runs in one test each has its own.
    pub fn new(test: &str, run: u64) -> Self {
        let named = std::env::var(SEED).ok().map(|seed| seed.parse().expect("INFERBUS_SEED is a number"));
        let moment = || std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_nanos() as u64 >> 10);
        let seed = named.unwrap_or_else(moment);
        say(&format!("{test}: run {run} with {SEED}={seed}"));
        Self { state: seed.wrapping_add(run.wrapping_mul(0xd134_2543_de82_ef95)) }
    }

    pub fn roll(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.roll() % limit as u64) as usize
    }
}
