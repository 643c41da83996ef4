//! Random pauses, so workers hit by the same event do not retry in lockstep.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

/// A random duration from `least` to `most`.
pub fn between(least: Duration, most: Duration) -> Duration {
    // The random keys of a new map suffice here, without a dependency.
    let chance = RandomState::new().build_hasher().finish() as f64 / u64::MAX as f64;
    least + most.saturating_sub(least).mul_f64(chance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_within_their_bounds_and_evenly_distributed() {
        let (least, most) = (Duration::from_millis(500), Duration::from_secs(1));
        let mut quarters = [0; 4];
        for _ in 0..4000 {
            let pause = between(least, most);
            assert!((least..=most).contains(&pause), "{pause:?}");
            let place = (pause - least).as_secs_f64() / (most - least).as_secs_f64();
            quarters[((place * 4.0) as usize).min(3)] += 1;
        }
        assert!(quarters.iter().all(|count| (800..1200).contains(count)), "{quarters:?}");
        assert_eq!(between(most, least), most, "the result is never below `least`");
    }
}
