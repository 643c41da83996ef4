//! Subjects made out of other subjects, for whoever moves stored messages: a filter and a template over its wildcards.
//!
//! Promises: a mapping that exists makes a subject for every subject that its filter takes.

use std::fmt;
use std::str::FromStr;

use crate::subject::{self, SubjectFault};

/// A filter over subjects, which may hold `*` and `>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubjectFilter(String);

impl SubjectFilter {
    /// Every subject.
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

    /// The subject made of `subject`; none if the filter does not take it.
    pub fn subject(&self, subject: &str) -> Option<String> {
        subject::mapped(&self.template, self.filter.as_str(), subject)
    }

    /// Filters that take what can be made, and everything below it.
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
    fn a_mapping_makes_subjects_of_what_its_filter_takes() {
        let again = mapping("cam.*", "again.$1");
        assert_eq!(again.subject("cam.7").as_deref(), Some("again.7"));
        assert_eq!(again.subject("door.7"), None);
        assert_eq!(again.reach(), ["again.*.>", "again.*"]);
        assert_eq!(mapping(">", "again.>").reach(), ["again.>"]);
        assert_eq!(mapping(">", "again.>").subject("cam.7").as_deref(), Some("again.cam.7"));
    }

    #[test]
    fn its_reach_is_what_it_can_make_and_what_is_below() {
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
    fn what_is_no_filter_or_no_template_of_it_is_refused() {
        assert!("a..b".parse::<SubjectFilter>().is_err());
        assert!("$JS.>".parse::<SubjectFilter>().is_err());
        assert!(Mapping::new("cam.*".parse().unwrap(), "again.$2").is_err());
        assert!(Mapping::new("cam.*".parse().unwrap(), "again.*").is_err());
    }
}
