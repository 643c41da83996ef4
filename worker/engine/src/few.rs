//! Lists with one item for each of a model's inputs or outputs.

use smallvec::SmallVec;

/// As many as most models have lie where the list itself does, so that a run asks for no memory.
pub(crate) type Few<T> = SmallVec<[T; 4]>;
