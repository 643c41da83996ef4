//! Follows the catalog and reports the names of changed models, and whether the routes changed.
//!
//! Guarantees:
//! - No change is missed for longer than the reconcile interval. The follower regularly compares its state with the
//!   server, so failures of the watch, the server or the bucket are detected.
//! - A change contains names and no values. The caller reads the current values, so frequent changes cost few wakes.
//! - After a reconnect the follower resumes at its position. It reads the whole bucket only if the server lost it.
//! - A deleted bucket is not a change. [`Follower::state`] reports it.

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

/// Changed names since the last wake.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Models with a written or deleted pointer or entry.
    pub models: BTreeSet<ModelName>,
    pub routes: bool,
}

#[derive(Clone, Copy, Debug)]
pub struct FollowOptions {
    /// The interval between comparisons with the server.
    pub reconcile: Duration,
    /// The minimum time between two wakes.
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
    /// Changes may be unknown at present, for this reason.
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

    /// Waits for changes. The first wake follows the first complete read and contains all names. Cancel safe.
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
    // Invalid names are ignored here. `Catalog::models` lists keys without a valid version.
    changes.models.extend(name.parse::<ModelName>());
}

fn note_route(_: &str, changes: &mut Changes) {
    changes.routes = true;
}

/// The state shared by the background task and the waiting caller.
#[derive(Default)]
struct Shared {
    inner: Mutex<Inner>,
    changed: Notify,
}

#[derive(Default)]
struct Inner {
    changes: Changes,
    /// Buckets read completely at least once.
    read: BTreeSet<&'static str>,
    first_wake_done: bool,
    /// Buckets not followed at present, with the reason.
    behind: BTreeMap<&'static str, String>,
}

const BUCKETS: usize = 2;

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every update leaves valid data, so a poisoned lock is usable.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn wait(&self) {
        loop {
            let notified = self.changed.notified();
            let is_due = {
                let inner = self.lock();
                inner.read.len() == BUCKETS && (!inner.first_wake_done || inner.changes != Changes::default())
            };
            if is_due {
                return;
            }
            notified.await;
        }
    }

    fn take(&self) -> Changes {
        let mut inner = self.lock();
        // The first wake includes the routes even if there are none, so the caller always reads them once.
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
        self.changed.notify_one();
    }
}

/// One bucket and the revisions received from it.
struct Followed {
    bucket: Bucket,
    shared: Arc<Shared>,
    note: fn(&str, &mut Changes),
    seen: BTreeMap<String, Seen>,
    /// The creation time of the followed bucket. Another time means another bucket of the same name.
    created: Option<SystemTime>,
    /// The newest received revision and its storage time.
    position: u64,
    position_at: Option<SystemTime>,
    /// The number of complete reads of the bucket.
    round: u64,
    /// Changes found during a complete read.
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
                self.report_behind(&fault);
                // An error of the bucket itself can invalidate the received revisions.
                self.is_read &= fault.is_transient();
                tokio::time::sleep(jitter::between(limits::RETRY_LEAST, limits::RETRY)).await;
            }
        }
    }

    /// Follows until the server's state differs from the received one.
    async fn follow(&mut self, reconcile: Duration) -> Result<(), CatalogFault> {
        let mut watch = match self.resume().await? {
            Some(watch) => watch,
            None => {
                self.begin_round().await?;
                self.bucket.watch(">", Contents::KeysOnly).await?
            }
        };
        // A random first interval, so workers started together do not compare together.
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
                    tracing::debug!(bucket = self.bucket.name, "the watch missed changes; reading the whole bucket");
                    self.is_read = false;
                    return Ok(());
                },
            }
        }
    }

    /// Resumes after the newest received revision, or returns `None` if a complete read is needed.
    async fn resume(&self) -> Result<Option<Watch>, CatalogFault> {
        if !self.is_read || self.position_at.is_none() {
            return Ok(None);
        }
        let is_same_bucket = self.created == Some(self.bucket.info().await?.created.into());
        // A server reuses the revisions of lost messages, but with other storage times.
        if !is_same_bucket || self.bucket.stored_at(self.position).await? != self.position_at {
            return Ok(None);
        }
        let watch = self.bucket.changes(">", Contents::KeysOnly, Some(self.position + 1)).await?;
        self.report_following();
        Ok(Some(watch))
    }

    async fn begin_round(&mut self) -> Result<(), CatalogFault> {
        let info = self.bucket.info().await?;
        let created = info.created.into();
        if self.created.replace(created) != Some(created) {
            // Revisions of the previous bucket are meaningless for this one, even equal ones.
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

    /// Finishes a complete read. Keys missing in it were deleted.
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
        // Publish first: another thread can wake as soon as the bucket counts as read, and needs all names.
        self.shared.publish(mem::take(&mut self.found));
        self.report_following();
        let is_first = self.shared.lock().read.insert(self.bucket.name);
        if is_first {
            self.shared.changed.notify_one();
        }
    }

    fn report_following(&self) {
        if self.shared.lock().behind.remove(self.bucket.name).is_some() {
            tracing::info!(bucket = self.bucket.name, keys = self.seen.len(), "following the catalog");
        }
    }

    /// Whether the server's state equals the received one.
    async fn agrees(&self) -> Result<bool, CatalogFault> {
        let info = self.bucket.info().await?;
        Ok(self.is_read
            && self.created == Some(info.created.into())
            && self.position == info.state.last_sequence
            && self.seen.len() as u64 == info.state.subjects_count)
    }

    fn report_behind(&self, fault: &CatalogFault) {
        let reason = fault.to_string();
        let before = self.shared.lock().behind.insert(self.bucket.name, reason.clone());
        if before.as_ref() != Some(&reason) {
            tracing::warn!(bucket = self.bucket.name, %reason, "not following the catalog");
        }
    }
}
