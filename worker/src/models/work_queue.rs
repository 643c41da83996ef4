//! A queue of models in the order of arrival, each at most once.

use std::collections::{BTreeSet, VecDeque};

use inferbus_catalog::ModelName;

#[derive(Default)]
pub struct WorkQueue {
    order: VecDeque<ModelName>,
    names: BTreeSet<ModelName>,
}

impl WorkQueue {
    pub fn put(&mut self, models: impl IntoIterator<Item = ModelName>) {
        for model in models {
            if self.names.insert(model.clone()) {
                self.order.push_back(model);
            }
        }
    }

    /// Takes the first model without a look in progress.
    pub fn take(&mut self, in_progress: &BTreeSet<ModelName>) -> Option<ModelName> {
        let at = self.order.iter().position(|model| !in_progress.contains(model))?;
        let model = self.order.remove(at)?;
        self.names.remove(&model);
        Some(model)
    }

    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}
