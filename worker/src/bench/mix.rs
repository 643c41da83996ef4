//! Which model a request is for: by weight, and the same for the same seed.

use std::str::FromStr;

use inferbus_catalog::ModelName;

use super::dice::Dice;

/// Models with their weights, as `digits=3,other=1` has them.
#[derive(Clone, Debug, PartialEq)]
pub struct Mix(pub Vec<(ModelName, u32)>);

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MixFault {
    #[error("write models with their weights, like digits=3,other=1")]
    Shape,
    #[error("`{0}` is not the name of a model: {1}")]
    Name(String, String),
    #[error("the weight of {0} is not a number from 1 to {MOST_WEIGHT}")]
    Weight(String),
    #[error("{0} is named twice")]
    Twice(String),
}

/// No model comes so much more often than another.
const MOST_WEIGHT: u32 = 1_000_000;

impl FromStr for Mix {
    type Err = MixFault;

    fn from_str(text: &str) -> Result<Self, MixFault> {
        let mut models: Vec<(ModelName, u32)> = Vec::new();
        for part in text.split(',') {
            let (name, weight) = part.trim().split_once('=').ok_or(MixFault::Shape)?;
            let model: ModelName = name
                .parse()
                .map_err(|fault: <ModelName as FromStr>::Err| MixFault::Name(name.to_owned(), fault.to_string()))?;
            let weight = weight.parse().ok().filter(|weight| (1..=MOST_WEIGHT).contains(weight));
            let weight = weight.ok_or_else(|| MixFault::Weight(name.to_owned()))?;
            if models.iter().any(|(other, _)| *other == model) {
                return Err(MixFault::Twice(name.to_owned()));
            }
            models.push((model, weight));
        }
        Ok(Self(models))
    }
}

/// What a request is for, and which payload it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    pub target: usize,
    pub payload: usize,
}

/// Chooses targets by weight, and the payloads of each target in turn.
pub struct Picker {
    /// Of each target: the sum of the weights up to it, how many payloads it has, and which is next.
    targets: Vec<(u64, usize, usize)>,
    dice: Dice,
}

impl Picker {
    /// `targets` are weights and numbers of payloads, none of which is zero.
    pub fn new(targets: impl IntoIterator<Item = (u32, usize)>, seed: u64) -> Self {
        let mut sum = 0;
        let targets = targets.into_iter().map(|(weight, payloads)| {
            sum += u64::from(weight);
            (sum, payloads.max(1), 0)
        });
        Self { targets: targets.collect(), dice: Dice::new(seed) }
    }

    pub fn pick(&mut self) -> Choice {
        let target = match &*self.targets {
            [] | [_] => 0,
            all => {
                let sum = all.last().map_or(1, |(sum, ..)| *sum);
                let thrown = (self.dice.share() * sum as f64) as u64;
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
    fn a_mix_is_read_or_refused() {
        let mix: Mix = "digits=3, other=1".parse().expect("a mix");
        assert_eq!(
            mix.0.iter().map(|(name, weight)| (name.as_str(), *weight)).collect::<Vec<_>>(),
            [("digits", 3), ("other", 1)]
        );
        assert_eq!("digits".parse::<Mix>(), Err(MixFault::Shape));
        assert_eq!("digits=0".parse::<Mix>(), Err(MixFault::Weight("digits".into())));
        assert_eq!("a=1,a=2".parse::<Mix>(), Err(MixFault::Twice("a".into())));
        assert!(matches!("No!=1".parse::<Mix>(), Err(MixFault::Name(..))));
    }

    #[test]
    fn targets_come_by_weight_payloads_in_turn_and_both_again_with_the_seed() {
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
