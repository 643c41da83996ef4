//! The goals of figures. Missed goals are reported like met ones.

use serde::Serialize;

use self::Relation::{AtLeast, AtMost};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Relation {
    #[serde(rename = "<=")]
    AtMost,
    #[serde(rename = ">=")]
    AtLeast,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub struct Goal {
    /// A name. `*` matches any text.
    #[serde(skip)]
    pub figure: &'static str,
    pub relation: Relation,
    pub value: f64,
}

const fn goal(figure: &'static str, relation: Relation, value: f64) -> Goal {
    Goal { figure, relation, value }
}

pub const GOALS: [Goal; 25] = [
    goal("sandbox.stage_extra_us", AtMost, 1.0),
    goal("sandbox.image_vs_native", AtMost, 1.5),
    goal("sandbox.instance_kb", AtMost, 512.0),
    goal("sandbox.cached_load_ms", AtMost, 1.0),
    goal("worker.cpu_vs_native", AtMost, 1.15),
    goal("worker.cpu_vs_python", AtMost, 0.5),
    goal("worker.cpu_vs_floor", AtMost, 1.25),
    goal("worker.allocations_per_message", AtMost, 10.0),
    goal("bomb.p99_ratio", AtMost, 1.0),
    goal("stream.vs_bare_loop", AtLeast, 0.85),
    goal("stream.two_workers", AtLeast, 2.0),
    goal("swap.rss_growth_ratio", AtMost, 1.05),
    goal("swap.p99_ratio", AtMost, 2.0),
    goal("engine.vs_bare_ort", AtMost, 1.03),
    goal("engine.small_extra_us", AtMost, 1.0),
    goal("engine.two_versions_memory", AtMost, 2.1),
    goal("engine.cold_load_vs_ort", AtMost, 1.1),
    goal("batching.throughput_ratio", AtLeast, 2.0),
    goal("batching.cpu_ratio", AtMost, 0.6),
    goal("batching.idle_p50_ratio", AtMost, 1.02),
    goal("workload.*.cpu_vs_floor", AtMost, 1.25),
    goal("workload.*.cpu_vs_python", AtMost, 1.0),
    goal("workload.*.p99_vs_python", AtMost, 1.0),
    goal("peer.*.cpu_ratio", AtMost, 1.0),
    goal("peer.*.p99_ratio", AtMost, 1.0),
];

impl Goal {
    pub fn of(figure: &str) -> Option<Self> {
        GOALS.into_iter().find(|goal| goal.is_of(figure))
    }

    pub fn is_of(&self, figure: &str) -> bool {
        match self.figure.split_once('*') {
            None => figure == self.figure,
            Some((before, after)) => figure.strip_prefix(before).is_some_and(|rest| rest.ends_with(after)),
        }
    }

    pub fn is_met(&self, value: f64) -> bool {
        match self.relation {
            AtMost => value <= self.value,
            AtLeast => value >= self.value,
        }
    }
}

impl std::fmt::Display for Goal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = match self.relation {
            AtMost => '≤',
            AtLeast => '≥',
        };
        write!(f, "{sign} {}", self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_matches_any_text() {
        let goal = |figure| Goal::of(figure).map(|goal| goal.figure);
        assert_eq!(goal("peer.python.image.open.cpu_ratio"), Some("peer.*.cpu_ratio"));
        assert_eq!(goal("workload.jpeg.cpu_vs_floor"), Some("workload.*.cpu_vs_floor"));
        assert_eq!(goal("peer.python.cpu_us"), None);
        assert_eq!(goal("worker.cpu_vs_floors"), None);
    }

    #[test]
    fn a_goal_is_met_on_its_side_and_at_its_value() {
        for (relation, [below, above], shown) in [(AtMost, [true, false], "≤ 1.5"), (AtLeast, [false, true], "≥ 1.5")]
        {
            let goal = goal("a", relation, 1.5);
            assert_eq!([1.4, 1.6].map(|value| goal.is_met(value)), [below, above], "{goal}");
            assert!(goal.is_met(1.5), "{goal}");
            assert!(!goal.is_met(f64::NAN), "an unmeasured figure does not meet its goal");
            assert_eq!(goal.to_string(), shown);
        }
    }
}
