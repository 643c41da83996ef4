//! Pauses of different lengths, so that a thousand workers that something befell at the same moment do not go on at the same moment.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

/// Some time from `least` to `most`, another one for each who asks.
pub fn between(least: Duration, most: Duration) -> Duration {
    // The keys of a new map are random: that is chance enough here, and needs no library for it.
    let chance = RandomState::new().build_hasher().finish() as f64 / u64::MAX as f64;
    least + most.saturating_sub(least).mul_f64(chance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_keep_to_their_bounds_and_are_spread_over_them() {
        let (least, most) = (Duration::from_millis(500), Duration::from_secs(1));
        let mut quarters = [0; 4];
        for _ in 0..4000 {
            let pause = between(least, most);
            assert!((least..=most).contains(&pause), "{pause:?}");
            let place = (pause - least).as_secs_f64() / (most - least).as_secs_f64();
            quarters[((place * 4.0) as usize).min(3)] += 1;
        }
        assert!(quarters.iter().all(|count| (800..1200).contains(count)), "{quarters:?}");
        assert_eq!(between(most, least), most, "no pause is shorter than the least");
    }
}
