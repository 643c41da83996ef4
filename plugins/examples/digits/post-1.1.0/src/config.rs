//! The plugin's config: one JSON object with one key.

use serde::Deserialize;

/// The keys of the config.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// The lowest probability of a certain result.
    pub(crate) threshold: f32,
}

impl Default for Config {
    fn default() -> Self {
        Self { threshold: 0.8 }
    }
}

impl Config {
    /// Without a config in the entry, the text is empty.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let config: Self = serde_json::from_str(text).map_err(|fault| format!("the config is wrong: {fault}"))?;
        if !(0.0..=1.0).contains(&config.threshold) {
            return Err(format!("the config is wrong: threshold is {}, it must lie between 0 and 1", config.threshold));
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_sets_the_threshold_and_0_8_is_the_default() {
        assert_eq!(Config::parse(r#"{"threshold":0.95}"#), Ok(Config { threshold: 0.95 }));
        assert_eq!(Config::parse(""), Ok(Config { threshold: 0.8 }));
        assert_eq!(Config::parse("{}"), Ok(Config { threshold: 0.8 }));
    }

    #[test]
    fn anything_else_is_rejected() {
        for (text, message) in [
            (r#"{"treshold":0.8}"#, "unknown field `treshold`, expected `threshold`"),
            (r#"{"threshold":1.5}"#, "threshold is 1.5, it must lie between 0 and 1"),
            (r#"{"threshold":"high"}"#, "invalid type: string \"high\", expected f32"),
            ("threshold=0.8", "expected ident"),
        ] {
            let refusal = Config::parse(text).unwrap_err();
            assert!(refusal.contains(message), "{refusal}");
        }
    }
}
