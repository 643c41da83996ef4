//! How much of a test's breadth one run covers. The environment variable `INFERBUS_TESTS` selects it.
//!
//! Guarantees: every kind of case runs at every breadth; the breadth decides the number of cases of each kind.

use std::sync::OnceLock;

/// Unset for `make test`, `all` for `make test-all`, `long` for `make chaos`.
const VARIABLE: &str = "INFERBUS_TESTS";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Breadth {
    /// Run for every change.
    Change,
    /// Every case.
    All,
    /// Every case, and hours of random faults.
    Long,
}

/// The breadth of this run.
pub fn breadth() -> Breadth {
    static BREADTH: OnceLock<Breadth> = OnceLock::new();
    *BREADTH.get_or_init(|| match std::env::var(VARIABLE).as_deref() {
        Err(_) | Ok("" | "change") => Breadth::Change,
        Ok("all") => Breadth::All,
        Ok("long") => Breadth::Long,
        Ok(other) => panic!("{VARIABLE} is `{other}`: use `change`, `all` or `long`"),
    })
}

/// Selects a size: the first one for every change, the second one for every case.
pub fn size<T>(change: T, all: T) -> T {
    if breadth() == Breadth::Change { change } else { all }
}

/// [`size`], with a third one for hours of random faults.
pub fn long_size<T>(change: T, all: T, long: T) -> T {
    if breadth() == Breadth::Long { long } else { size(change, all) }
}

/// Keeps every item, or for every change the first `count` of each kind.
pub fn of_each_kind<T, K: Ord>(items: Vec<T>, count: usize, kind: impl Fn(&T) -> K) -> Vec<T> {
    if breadth() != Breadth::Change {
        return items;
    }
    let mut taken = std::collections::BTreeMap::<K, usize>::new();
    let mut is_early = |item: &T| {
        let taken = taken.entry(kind(item)).or_default();
        *taken += 1;
        *taken <= count
    };
    items.into_iter().filter(|item| is_early(item)).collect()
}
