//! The syntax of `--mix`: models with weights.

use std::str::FromStr;

use inferbus_catalog::ModelName;

/// Models with their weights, such as `digits=3,other=1`.
#[derive(Clone, Debug, PartialEq)]
pub struct Mix(pub Vec<(ModelName, u32)>);

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MixFault {
    #[error("write models with their weights, like digits=3,other=1")]
    Shape,
    #[error("`{0}` is not the name of a model: {1}")]
    Name(String, String),
    #[error("the weight of {0} is not a number from 1 to {MAX_WEIGHT}")]
    Weight(String),
    #[error("{0} occurs twice")]
    Twice(String),
}

const MAX_WEIGHT: u32 = 1_000_000;

impl FromStr for Mix {
    type Err = MixFault;

    fn from_str(text: &str) -> Result<Self, MixFault> {
        let mut models: Vec<(ModelName, u32)> = Vec::new();
        for part in text.split(',') {
            let (name, weight) = part.trim().split_once('=').ok_or(MixFault::Shape)?;
            let model: ModelName = name
                .parse()
                .map_err(|fault: <ModelName as FromStr>::Err| MixFault::Name(name.to_owned(), fault.to_string()))?;
            let weight = weight.parse().ok().filter(|weight| (1..=MAX_WEIGHT).contains(weight));
            let weight = weight.ok_or_else(|| MixFault::Weight(name.to_owned()))?;
            if models.iter().any(|(other, _)| *other == model) {
                return Err(MixFault::Twice(name.to_owned()));
            }
            models.push((model, weight));
        }
        Ok(Self(models))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_is_parsed_or_rejected() {
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
}
