//! Mappings from subjects to subjects, for moving stored messages: a filter and a template over its wildcards.
//!
//! Guarantees: a mapping returns a subject for every subject matched by its filter.

use std::fmt;
use std::str::FromStr;

use crate::subject::{self, SubjectFault};

/// A filter over subjects. It may contain `*` and `>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubjectFilter(String);

impl SubjectFilter {
    /// The filter `>`: every subject.
    pub fn all() -> Self {
        Self(">".to_owned())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn matches(&self, subject: &str) -> bool {
        subject::matches(&self.0, subject)
    }
}

impl FromStr for SubjectFilter {
    type Err = SubjectFault;

    fn from_str(text: &str) -> Result<Self, SubjectFault> {
        subject::check_filter(text).map(|()| Self(text.to_owned()))
    }
}

impl fmt::Display for SubjectFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    filter: SubjectFilter,
    template: String,
}

impl Mapping {
    pub fn new(filter: SubjectFilter, template: &str) -> Result<Self, SubjectFault> {
        subject::check_template(template, filter.as_str())?;
        Ok(Self { filter, template: template.to_owned() })
    }

    /// The mapped subject, or `None` if the filter does not match.
    pub fn subject(&self, subject: &str) -> Option<String> {
        subject::mapped(&self.template, self.filter.as_str(), subject)
    }

    /// Filters for all possible results of the mapping and all subjects below them.
    pub fn reach(&self) -> Vec<String> {
        let reach = subject::reach(&self.template);
        if reach.ends_with('>') { vec![reach] } else { vec![format!("{reach}.>"), reach] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subject::overlap;

    fn mapping(filter: &str, template: &str) -> Mapping {
        Mapping::new(filter.parse().unwrap(), template).unwrap()
    }

    #[test]
    fn a_mapping_returns_a_subject_for_each_match_of_its_filter() {
        let again = mapping("cam.*", "again.$1");
        assert_eq!(again.subject("cam.7").as_deref(), Some("again.7"));
        assert_eq!(again.subject("door.7"), None);
        assert_eq!(again.reach(), ["again.*.>", "again.*"]);
        assert_eq!(mapping(">", "again.>").reach(), ["again.>"]);
        assert_eq!(mapping(">", "again.>").subject("cam.7").as_deref(), Some("again.cam.7"));
    }

    #[test]
    fn the_reach_contains_all_results_and_the_subjects_below() {
        let again = mapping("cam.*", "results.$1");
        let meets = |filter: &str| again.reach().iter().any(|reach| overlap(reach, filter));
        for met in ["results.*", "results.7", "results.7.seen", "results.>", ">", "*.*"] {
            assert!(meets(met), "{met}");
        }
        for other in ["results", "cam.*", "*"] {
            assert!(!meets(other), "{other}");
        }
    }

    #[test]
    fn invalid_filters_and_templates_are_rejected() {
        assert!("a..b".parse::<SubjectFilter>().is_err());
        assert!("$JS.>".parse::<SubjectFilter>().is_err());
        assert!(Mapping::new("cam.*".parse().unwrap(), "again.$2").is_err());
        assert!(Mapping::new("cam.*".parse().unwrap(), "again.*").is_err());
    }
}
