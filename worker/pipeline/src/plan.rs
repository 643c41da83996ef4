//! The plan of a bundle: its steps by name, and the position of each.
//!
//! Guarantees: a [`Stage`] is an index into its plan. Headers, metrics, logs and errors take the name of
//! a step from the plan, so no step name is hard-wired outside this file.

use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

/// The position of a step in its bundle's plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stage(u8);

impl Stage {
    pub const FIRST: Self = Self(0);

    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// The steps of a bundle in the order of their execution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    names: Arc<[&'static str]>,
    model: Stage,
}

impl Plan {
    /// The chain `pre → model → post` with optional plugins.
    pub fn chain(has_pre: bool, has_post: bool) -> Self {
        let pre = has_pre.then_some("pre");
        let post = has_post.then_some("post");
        Self { names: pre.into_iter().chain(["model"]).chain(post).collect(), model: Stage(u8::from(has_pre)) }
    }

    /// The plugin before the model.
    pub fn pre(&self) -> Option<Stage> {
        (self.model > Stage::FIRST).then_some(Stage::FIRST)
    }

    pub fn model(&self) -> Stage {
        self.model
    }

    /// The plugin after the model.
    pub fn post(&self) -> Option<Stage> {
        (self.last() > self.model).then(|| self.last())
    }

    pub fn last(&self) -> Stage {
        // A plan has at most `limits::STEPS` steps.
        Stage(self.names.len().saturating_sub(1) as u8)
    }

    pub fn name(&self, stage: Stage) -> &'static str {
        self.names.get(stage.index()).copied().unwrap_or_default()
    }

    pub fn steps(&self) -> impl Iterator<Item = (Stage, &'static str)> {
        self.names.iter().enumerate().map(|(index, name)| (Stage(index as u8), *name))
    }
}

/// Steps of the usual chain; times of more steps need the heap.
const USUAL_STEPS: usize = 3;

/// The parts of a message's time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MessageTimes {
    /// Waiting for a lane.
    pub lane_wait: Duration,
    /// On a lane, while the other messages of a batch were prepared.
    pub batch_wait: Duration,
    steps: SmallVec<[Duration; USUAL_STEPS]>,
}

impl MessageTimes {
    /// The time of one step; zero for a skipped step. A batched model run counts in full for each message.
    pub fn step(&self, stage: Stage) -> Duration {
        self.steps.get(stage.index()).copied().unwrap_or_default()
    }

    pub fn set_step(&mut self, stage: Stage, time: Duration) {
        if self.steps.len() <= stage.index() {
            self.steps.resize(stage.index() + 1, Duration::ZERO);
        }
        self.steps[stage.index()] = time;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(plan: &Plan) -> Vec<&'static str> {
        plan.steps().map(|(_, name)| name).collect()
    }

    #[test]
    fn a_chain_numbers_only_the_steps_it_has() {
        let whole = Plan::chain(true, true);
        assert_eq!(names(&whole), ["pre", "model", "post"]);
        assert_eq!([whole.pre(), Some(whole.model()), whole.post()], [Some(Stage(0)), Some(Stage(1)), Some(Stage(2))]);
        let bare = Plan::chain(false, false);
        assert_eq!(names(&bare), ["model"]);
        assert_eq!([bare.pre(), Some(bare.model()), bare.post()], [None, Some(Stage(0)), None]);
        assert_eq!(names(&Plan::chain(false, true)), ["model", "post"]);
        assert_eq!(Plan::chain(false, true).post(), Some(Stage(1)));
    }

    #[test]
    fn a_step_that_did_not_run_took_no_time() {
        let mut times = MessageTimes::default();
        times.set_step(Stage(2), Duration::from_micros(7));
        assert_eq!([times.step(Stage(0)), times.step(Stage(2))], [Duration::ZERO, Duration::from_micros(7)]);
        assert_eq!(times.step(Stage(9)), Duration::ZERO);
    }
}
