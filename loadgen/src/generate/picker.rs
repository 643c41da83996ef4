//! The choice of target and payload: by weight, and repeatable by seed.

use crate::random::Random;

/// The target of a request and its payload, as indices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    pub target: usize,
    pub payload: usize,
}

/// Chooses targets by weight, and cycles through the payloads of each target.
pub struct Picker {
    /// Per target: the cumulative weight, the number of payloads, and the next payload.
    targets: Vec<(u64, usize, usize)>,
    random: Random,
}

impl Picker {
    /// `targets` are pairs of weight and number of payloads, all positive.
    pub fn new(targets: impl IntoIterator<Item = (u32, usize)>, seed: u64) -> Self {
        let mut sum = 0;
        let targets = targets.into_iter().map(|(weight, payloads)| {
            sum += u64::from(weight);
            (sum, payloads.max(1), 0)
        });
        Self { targets: targets.collect(), random: Random::new(seed) }
    }

    pub fn pick(&mut self) -> Choice {
        let target = match &*self.targets {
            [] | [_] => 0,
            all => {
                let sum = all.last().map_or(1, |(sum, ..)| *sum);
                let thrown = (self.random.unit() * sum as f64) as u64;
                all.partition_point(|(up_to, ..)| *up_to <= thrown).min(all.len() - 1)
            }
        };
        let payload = self.targets.get_mut(target).map_or(0, |(_, payloads, next)| {
            let payload = *next;
            *next = (payload + 1) % *payloads;
            payload
        });
        Choice { target, payload }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_follow_their_weights_payloads_rotate_and_seeds_repeat_both() {
        let picks = |seed| {
            let mut picker = Picker::new([(3, 2), (1, 3)], seed);
            (0..40_000).map(|_| picker.pick()).collect::<Vec<_>>()
        };
        let first = picks(1);
        assert_eq!(first, picks(1));
        assert_ne!(first, picks(2));
        let of = |target| first.iter().filter(move |pick| pick.target == target).map(|pick| pick.payload);
        assert!((29_500..30_500).contains(&of(0).count()), "{}", of(0).count());
        assert!(of(0).eq([0, 1].into_iter().cycle().take(of(0).count())));
        assert!(of(1).eq([0, 1, 2].into_iter().cycle().take(of(1).count())));
    }
}
