//! The steps of an entry, and the artifacts of its steps.
//!
//! Guarantees: steps are listed in the order of execution. Callers iterate over them and need not name the three
//! fields `pre`, `model` and `post`.

use crate::entry::{Artifact, EngineOptions, Entry, Plugin};

/// The use of an artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    Model,
    Pre,
    Post,
    Sample,
}

impl Role {
    pub fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Pre => "pre",
            Self::Post => "post",
            Self::Sample => "sample",
        }
    }
}

/// One step in the processing of a message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step<'a> {
    pub role: Role,
    pub kind: StepKind<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum StepKind<'a> {
    Plugin(&'a Plugin),
    Model { artifact: Artifact, engine: &'a EngineOptions },
}

impl<'a> Step<'a> {
    /// The key of the step in the entry.
    pub fn name(&self) -> &'static str {
        self.role.name()
    }

    pub fn artifact(&self) -> Artifact {
        match self.kind {
            StepKind::Plugin(plugin) => plugin.artifact(),
            StepKind::Model { artifact, .. } => artifact,
        }
    }

    pub fn plugin(&self) -> Option<&'a Plugin> {
        match self.kind {
            StepKind::Plugin(plugin) => Some(plugin),
            StepKind::Model { .. } => None,
        }
    }
}

impl Entry {
    /// The steps in the order of execution.
    pub fn steps(&self) -> impl Iterator<Item = Step<'_>> {
        let plugin = |role, plugin| Step { role, kind: StepKind::Plugin(plugin) };
        let model = StepKind::Model { artifact: self.model, engine: &self.engine };
        let pre = self.pre.iter().map(move |pre| plugin(Role::Pre, pre));
        let post = self.post.iter().map(move |post| plugin(Role::Post, post));
        pre.chain([Step { role: Role::Model, kind: model }]).chain(post)
    }

    /// All artifacts: the model, the plugins in the order of execution, and the sample.
    pub fn artifacts(&self) -> impl Iterator<Item = (Role, Artifact)> {
        let plugins = self.steps().filter(|step| step.plugin().is_some());
        let plugins = plugins.map(|step| (step.role, step.artifact()));
        let sample = self.sample.map(|sample| (Role::Sample, sample));
        std::iter::once((Role::Model, self.model)).chain(plugins).chain(sample)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_listed_in_the_order_of_execution() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let file = |size: u64| serde_json::json!({ "digest": digest, "size": size });
        let text = serde_json::json!({ "post": file(3), "model": file(2), "pre": file(1) }).to_string();
        let entry = Entry::parse(text.as_bytes()).unwrap();
        let steps: Vec<_> = entry.steps().map(|step| (step.name(), step.artifact().size)).collect();
        assert_eq!(steps, [("pre", 1), ("model", 2), ("post", 3)]);
        let plugins: Vec<_> = entry.steps().filter_map(|step| step.plugin()).map(|plugin| plugin.size).collect();
        assert_eq!(plugins, [1, 3]);
    }

    #[test]
    fn an_entry_without_plugins_has_one_step() {
        let text = format!(r#"{{"model":{{"digest":"sha256:{}","size":2}}}}"#, "0".repeat(64));
        let entry = Entry::parse(text.as_bytes()).unwrap();
        assert_eq!(entry.steps().map(|step| step.name()).collect::<Vec<_>>(), ["model"]);
    }
}
