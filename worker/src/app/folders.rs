//! The worker's private folders: caches, trial notes and the crash journal.
//!
//! Guarantees: an unusable folder never stops a worker. The log names the folder and the lost feature.

use std::sync::Arc;

use inferbus_private_dir::Folder as PrivateFolder;
use inferbus_sandbox::Cache;

use crate::config::{CacheSetting, CacheSize, Compute, CrashJournalSetting, Folder, WorkerConfig};
use crate::crashes::journal::Journal;
use crate::models::artifact_cache::ArtifactCache;

pub(super) fn plugin_cache(setting: &CacheSetting) -> Option<Cache> {
    let folder = match setting.folder() {
        Folder::Off => return None,
        Folder::Unknown => {
            tracing::warn!("plugin cache disabled: there is no home folder; name a folder with --cache");
            return None;
        }
        Folder::At(folder) => folder,
    };
    Cache::open(&folder).inspect_err(|fault| tracing::warn!("plugin cache disabled: {fault}")).ok()
}

pub(super) fn trial_notes(compute: &Compute) -> Option<PrivateFolder> {
    let Folder::At(folder) = compute.cache.folder() else { return None };
    let opened = PrivateFolder::open(&folder.join("trials"));
    opened.inspect_err(|fault| tracing::warn!("trial results are not kept over restarts: {fault}")).ok()
}

pub(super) fn artifact_cache(config: &WorkerConfig) -> Option<Arc<ArtifactCache>> {
    let (CacheSize(Some(max)), Folder::At(folder)) = (config.loads.cache_size, config.compute.cache.folder()) else {
        return None;
    };
    let opened = ArtifactCache::open(&folder.join("artifacts"), max);
    opened.inspect_err(|fault| tracing::warn!("artifact cache disabled: {fault}")).ok().map(Arc::new)
}

pub(super) fn crash_journal(setting: &CrashJournalSetting, lanes: usize) -> Option<Arc<Journal>> {
    let folder = match setting.folder() {
        Folder::Off => return None,
        Folder::Unknown => {
            tracing::warn!("crash journal disabled: there is no home folder; name a folder with --crash-journal");
            return None;
        }
        Folder::At(folder) => folder,
    };
    let opened = Journal::open(&folder, lanes);
    let opened =
        opened.inspect_err(|fault| tracing::warn!(folder = %folder.display(), "crash journal disabled: {fault}"));
    opened.ok().map(Arc::new)
}
