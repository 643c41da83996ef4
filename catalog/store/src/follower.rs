//! Follows the catalog: says which models and whether the routes must be looked at again.
//!
//! Promises: a change is never missed for longer than the reconcile interval, whatever happens to the watch,
//! the server or the bucket, because the watch is only trusted while the server agrees that nothing was missed.
//! A change is a name in a set and not a value: whoever is woken reads the truth, so the last of many changes
//! wins, and a thousand of them cost a few wakes. Who was cut off goes on where he was, and reads everything anew only if the
//! server does not have that any more. A bucket that vanishes changes nothing; it is said in the state.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use inferbus_catalog_document::ModelName;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};

use crate::bucket::{Bucket, Contents, Stored, Watch};
use crate::fault::CatalogFault;
use crate::jitter;
use crate::limits;

/// What must be looked at again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Models whose pointer, or any of whose entries, was put or deleted.
    pub models: BTreeSet<ModelName>,
    pub routes: bool,
}

#[derive(Clone, Copy, Debug)]
pub struct FollowOptions {
    /// How often the server is asked whether anything was missed.
    pub reconcile: Duration,
    /// The least time between two wakes.
    pub coalesce: Duration,
}

impl Default for FollowOptions {
    fn default() -> Self {
        Self { reconcile: limits::RECONCILE, coalesce: limits::COALESCE }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FollowerState {
    Following,
    /// Changes may be unknown for now, and why.
    Behind(String),
}

/// Follows until it is dropped.
pub struct Follower {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
    models: Bucket,
    coalesce: Duration,
    next_wake: Instant,
}

impl Follower {
    pub(crate) fn start(models: Bucket, routes: Bucket, options: FollowOptions) -> Self {
        let shared = Arc::new(Shared::default());
        let followed_models = Followed::new(models.clone(), shared.clone(), note_model);
        let followed_routes = Followed::new(routes, shared.clone(), note_route);
        let task = tokio::spawn(async move {
            tokio::join!(followed_models.run(options.reconcile), followed_routes.run(options.reconcile));
        });
        Self { shared, task, models, coalesce: options.coalesce, next_wake: Instant::now() }
    }

    /// Waits for changes. The first wake comes when everything has been read once, and names all of it.
    /// Nothing is lost if the wait is given up.
    pub async fn changed(&mut self) -> Changes {
        self.shared.wait().await;
        tokio::time::sleep_until(self.next_wake).await;
        self.next_wake = Instant::now() + self.coalesce;
        self.shared.take()
    }

    pub fn state(&self) -> FollowerState {
        if !self.models.is_connected() {
            return FollowerState::Behind("not connected to NATS".to_owned());
        }
        let reasons: Vec<String> = self.shared.lock().behind.values().cloned().collect();
        if reasons.is_empty() { FollowerState::Following } else { FollowerState::Behind(reasons.join("; ")) }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn note_model(key: &str, changes: &mut Changes) {
    let name = key.split_once('.').map_or(key, |(name, _)| name);
    // A key that cannot belong to a model is shown by `Catalog::models` and concerns nobody else.
    changes.models.extend(name.parse::<ModelName>());
}

fn note_route(_: &str, changes: &mut Changes) {
    changes.routes = true;
}

/// What the following task and the one who waits have in common.
#[derive(Default)]
struct Shared {
    inner: Mutex<Inner>,
    bell: Notify,
}

#[derive(Default)]
struct Inner {
    changes: Changes,
    /// Buckets that have been read whole at least once.
    read: BTreeSet<&'static str>,
    first_wake_done: bool,
    /// Why a bucket is not followed now.
    behind: BTreeMap<&'static str, String>,
}

const BUCKETS: usize = 2;

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing inside can be left half done, so a panic elsewhere does not matter here.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn wait(&self) {
        loop {
            let rung = self.bell.notified();
            let is_due = {
                let inner = self.lock();
                inner.read.len() == BUCKETS && (!inner.first_wake_done || inner.changes != Changes::default())
            };
            if is_due {
                return;
            }
            rung.await;
        }
    }

    fn take(&self) -> Changes {
        let mut inner = self.lock();
        // The routes are named at the first wake even if there are none, so that a reader begins with them.
        let first = !mem::replace(&mut inner.first_wake_done, true);
        let mut changes = mem::take(&mut inner.changes);
        changes.routes |= first;
        changes
    }

    fn publish(&self, changes: Changes) {
        if changes == Changes::default() {
            return;
        }
        let mut inner = self.lock();
        inner.changes.models.extend(changes.models);
        inner.changes.routes |= changes.routes;
        drop(inner);
        self.bell.notify_one();
    }
}

/// One bucket, and what has been seen of it.
struct Followed {
    bucket: Bucket,
    shared: Arc<Shared>,
    note: fn(&str, &mut Changes),
    seen: BTreeMap<String, Seen>,
    /// When the bucket that was seen was created: another time is another bucket.
    created: Option<SystemTime>,
    /// The newest revision of the bucket that has been seen, and when it was stored.
    position: u64,
    position_at: Option<SystemTime>,
    /// Counts how often the bucket has been read from the beginning.
    round: u64,
    /// Changes found while the bucket is still being read.
    found: Changes,
    is_read: bool,
}

struct Seen {
    revision: u64,
    round: u64,
}

impl Followed {
    fn new(bucket: Bucket, shared: Arc<Shared>, note: fn(&str, &mut Changes)) -> Self {
        let not_read = format!("the bucket `{}` has not been read yet", bucket.name);
        shared.lock().behind.insert(bucket.name, not_read);
        let (seen, found) = (BTreeMap::new(), Changes::default());
        Self {
            bucket,
            shared,
            note,
            seen,
            created: None,
            position: 0,
            position_at: None,
            round: 0,
            found,
            is_read: false,
        }
    }

    async fn run(mut self, reconcile: Duration) {
        loop {
            if let Err(fault) = self.follow(reconcile).await {
                self.fell_behind(&fault);
                // What is wrong with the bucket itself may be wrong with what was seen of it.
                self.is_read &= fault.is_transient();
                tokio::time::sleep(jitter::between(limits::RETRY_LEAST, limits::RETRY)).await;
            }
        }
    }

    /// Follows until the server disagrees with what was seen.
    async fn follow(&mut self, reconcile: Duration) -> Result<(), CatalogFault> {
        let mut watch = match self.resume().await? {
            Some(watch) => watch,
            None => {
                self.begin_round().await?;
                self.bucket.watch(">", Contents::KeysOnly).await?
            }
        };
        // Workers that begin at the same moment compare at different ones.
        let first = jitter::between(Duration::ZERO, reconcile);
        let mut tick = tokio::time::interval_at(Instant::now() + first, reconcile);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if watch.caught_up && !self.is_read {
                self.end_round();
            }
            tokio::select! {
                stored = watch.next() => self.see(stored?)?,
                _ = tick.tick() => if !self.agrees().await? {
                    tracing::debug!(bucket = self.bucket.name, "the watch is behind; reading all again");
                    self.is_read = false;
                    return Ok(());
                },
            }
        }
    }

    /// Goes on behind what was seen, if the server still has it; none if everything must be read.
    async fn resume(&self) -> Result<Option<Watch>, CatalogFault> {
        if !self.is_read || self.position_at.is_none() {
            return Ok(None);
        }
        let is_same_bucket = self.created == Some(self.bucket.info().await?.created.into());
        // A server that has lost its last messages gives their numbers to others, at another time.
        if !is_same_bucket || self.bucket.stored_at(self.position).await? != self.position_at {
            return Ok(None);
        }
        let watch = self.bucket.changes(">", Contents::KeysOnly, Some(self.position + 1)).await?;
        self.keeps_up();
        Ok(Some(watch))
    }

    async fn begin_round(&mut self) -> Result<(), CatalogFault> {
        let info = self.bucket.info().await?;
        let created = info.created.into();
        if self.created.replace(created) != Some(created) {
            // Revisions of another bucket say nothing about this one, even where they are equal.
            self.seen.values_mut().for_each(|seen| seen.revision = 0);
        }
        self.position = info.state.last_sequence;
        self.position_at = (info.state.messages > 0).then(|| info.state.last_timestamp.into());
        self.round += 1;
        self.is_read = false;
        Ok(())
    }

    fn see(&mut self, stored: Stored) -> Result<(), CatalogFault> {
        if self.seen.len() >= limits::KEYS && !self.seen.contains_key(&stored.key) {
            return Err(CatalogFault::TooManyKeys { bucket: self.bucket.name, limit: limits::KEYS });
        }
        if stored.revision > self.position {
            (self.position, self.position_at) = (stored.revision, Some(stored.at));
        }
        let seen = Seen { revision: stored.revision, round: self.round };
        let known = self.seen.get(&stored.key).map(|seen| seen.revision);
        if known != Some(stored.revision) {
            (self.note)(&stored.key, &mut self.found);
        }
        self.seen.insert(stored.key, seen);
        if self.is_read {
            self.shared.publish(mem::take(&mut self.found));
        }
        Ok(())
    }

    /// Keys that this round did not bring are gone.
    fn end_round(&mut self) {
        let (round, note, found) = (self.round, self.note, &mut self.found);
        self.seen.retain(|key, seen| {
            let stays = seen.round == round;
            if !stays {
                note(key, found);
            }
            stays
        });
        self.is_read = true;
        // Before the bucket counts as read: the first wake must name all of it, and may come on another thread at once.
        self.shared.publish(mem::take(&mut self.found));
        self.keeps_up();
        let is_first = self.shared.lock().read.insert(self.bucket.name);
        if is_first {
            self.shared.bell.notify_one();
        }
    }

    fn keeps_up(&self) {
        if self.shared.lock().behind.remove(self.bucket.name).is_some() {
            tracing::info!(bucket = self.bucket.name, keys = self.seen.len(), "following the catalog");
        }
    }

    /// Whether the server holds exactly what has been seen.
    async fn agrees(&self) -> Result<bool, CatalogFault> {
        let info = self.bucket.info().await?;
        Ok(self.is_read
            && self.created == Some(info.created.into())
            && self.position == info.state.last_sequence
            && self.seen.len() as u64 == info.state.subjects_count)
    }

    fn fell_behind(&self, fault: &CatalogFault) {
        let reason = fault.to_string();
        let before = self.shared.lock().behind.insert(self.bucket.name, reason.clone());
        if before.as_ref() != Some(&reason) {
            tracing::warn!(bucket = self.bucket.name, %reason, "not following the catalog");
        }
    }
}
