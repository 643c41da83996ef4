//! The cache of compiled code: a plugin is compiled once, and a modified file is compiled again, never loaded.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::support::{ALL, ECHO, call, patient};
use inferbus_private_dir::FolderFault;
use inferbus_sandbox::{Cache, CacheFault, Ceilings, Origin, Plugin, Sandbox, limits};
use tempfile::TempDir;

/// A cache's folder, and a sandbox on it like that of a new process.
struct Site {
    _temporary: TempDir,
    folder: PathBuf,
}

impl Site {
    fn new() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().join("of/mine");
        Self { folder, _temporary: temporary }
    }

    fn load_with(&self, wat: &str, config: &[u8], ceilings: Ceilings) -> Origin {
        let sandbox = Sandbox::new(Ceilings { instances: 1, ..ceilings }).unwrap();
        let sandbox = sandbox.caching_in(Cache::open(&self.folder).unwrap());
        let plugin = Plugin::load(&sandbox, &wat::parse_str(wat).unwrap(), ALL, patient(), config).unwrap();
        let seen = call(&mut plugin.instance(), b"still right").unwrap();
        assert_eq!(seen.output.unwrap(), b"still right");
        plugin.origin()
    }

    fn load(&self, wat: &str) -> Origin {
        self.load_with(wat, b"", Ceilings::default())
    }

    /// The cached plugins' files.
    fn files(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(&self.folder).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|file| !file.ends_with("inferbus-cache.key")).collect()
    }

    fn file(&self) -> PathBuf {
        let [file] = <[PathBuf; 1]>::try_from(self.files()).unwrap();
        file
    }
}

/// Another plugin with the same effect.
fn other(number: usize) -> String {
    ECHO.replace("(memory", &format!("(data $d \"{number}\") (memory"))
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn a_plugin_is_compiled_once() {
    let site = Site::new();
    assert_eq!(site.load(ECHO), Origin::Compiled);
    assert_eq!(site.load(ECHO), Origin::Cached);
    assert_eq!(site.load(&other(1)), Origin::Compiled);
    assert_eq!([site.load(ECHO), site.load(&other(1))], [Origin::Cached; 2]);
    assert_eq!((site.files().len(), mode(&site.folder)), (2, 0o700));
    assert!(fs::read_dir(&site.folder).unwrap().all(|file| mode(&file.unwrap().path()) == 0o600));
}

#[test]
fn what_code_depends_on_decides_what_is_found() {
    const INIT: &str = r#"(func (export "init") (param i32 i32) (result i32) i32.const 0) (memory"#;
    let configured = ECHO.replace("(memory", INIT);
    let site = Site::new();
    let load = |config: &[u8], ceilings| site.load_with(&configured, config, ceilings);
    assert_eq!(load(b"{}", Ceilings::default()), Origin::Compiled);
    assert_eq!(load(b"{\"a\":1}", Ceilings::default()), Origin::Compiled);
    let mut small = Ceilings::default();
    small.bounds.memory = limits::MEMORY;
    // The code does not depend on a plugin's bounds.
    assert_eq!(load(b"{}", small), Origin::Cached);
}

/// Every modification of a file: the next load compiles, the plugin works, and the load after it finds good code.
#[test]
fn a_file_that_was_touched_is_compiled_anew() {
    type Flip = fn(&mut Vec<u8>);
    let flips: [(&str, Flip); 11] = [
        ("magic", |bytes| bytes[0] ^= 1),
        ("end of magic", |bytes| bytes[7] ^= 1),
        ("MAC", |bytes| bytes[8] ^= 1),
        ("end of MAC", |bytes| bytes[39] ^= 0x80),
        ("first byte of code", |bytes| bytes[40] ^= 1),
        ("a byte in the middle", |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        }),
        ("last byte", |bytes| *bytes.last_mut().unwrap() ^= 1),
        ("cut", |bytes| bytes.truncate(bytes.len() - 1)),
        ("cut to its header", |bytes| bytes.truncate(40)),
        ("emptied", |bytes| bytes.clear()),
        ("appended", |bytes| bytes.push(0)),
    ];
    let site = Site::new();
    assert_eq!(site.load(ECHO), Origin::Compiled);
    for (what, flip) in flips {
        let file = site.file();
        let mut bytes = fs::read(&file).unwrap();
        flip(&mut bytes);
        fs::write(&file, bytes).unwrap();
        assert_eq!(site.load(ECHO), Origin::Compiled, "{what}");
        assert_eq!(site.load(ECHO), Origin::Cached, "after: {what}");
    }
}

#[test]
fn good_code_under_another_name_is_not_taken() {
    let site = Site::new();
    assert_eq!(site.load(ECHO), Origin::Compiled);
    let first = site.file();
    assert_eq!(site.load(&other(1)), Origin::Compiled);
    let second = site.files().into_iter().find(|file| *file != first).unwrap();
    fs::copy(&second, &first).unwrap();
    assert_eq!(site.load(ECHO), Origin::Compiled);
    // From another user's cache, with another key.
    let elsewhere = Site::new();
    assert_eq!(elsewhere.load(ECHO), Origin::Compiled);
    fs::copy(elsewhere.file(), &first).unwrap();
    assert_eq!(site.load(ECHO), Origin::Compiled);
    assert_eq!(site.load(ECHO), Origin::Cached);
}

#[test]
fn what_is_no_plain_file_of_ours_is_replaced() {
    let site = Site::new();
    assert_eq!(site.load(ECHO), Origin::Compiled);
    let file = site.file();
    let kept = site.folder.join("../kept");
    let touches: [(&str, &dyn Fn()); 6] = [
        ("link to good code", &|| {
            fs::rename(&file, &kept).unwrap();
            symlink(&kept, &file).unwrap();
        }),
        ("writable by all", &|| fs::set_permissions(&file, fs::Permissions::from_mode(0o602)).unwrap()),
        ("writable by the group", &|| fs::set_permissions(&file, fs::Permissions::from_mode(0o620)).unwrap()),
        ("a folder", &|| {
            fs::remove_file(&file).unwrap();
            fs::create_dir(&file).unwrap();
        }),
        ("a pipe without a writer", &|| {
            fs::remove_file(&file).unwrap();
            let made = std::process::Command::new("mkfifo").arg(&file).status().unwrap();
            assert!(made.success());
        }),
        ("too large", &|| {
            let file = File::options().write(true).open(&file).unwrap();
            file.set_len(limits::COMPILED_BYTES as u64 + 1000).unwrap();
        }),
    ];
    for (what, touch) in touches {
        touch();
        assert_eq!(site.load(ECHO), Origin::Compiled, "{what}");
        assert_eq!(site.load(ECHO), Origin::Cached, "after: {what}");
    }
    // Only root can change a file's owner.
    if std::os::unix::fs::chown(&file, Some(1), None).is_ok() {
        assert_eq!(site.load(ECHO), Origin::Compiled);
        assert_eq!(site.load(ECHO), Origin::Cached);
    }
}

#[test]
fn another_key_makes_all_code_strange() {
    let key = |site: &Site| site.folder.join("inferbus-cache.key");
    type Touch = fn(&Path);
    let touches: [(&str, Touch); 7] = [
        ("another key", |key| fs::write(key, [7; 32]).unwrap()),
        ("too short", |key| fs::write(key, [7; 31]).unwrap()),
        ("too long", |key| fs::write(key, [7; 33]).unwrap()),
        ("gone", |key| fs::remove_file(key).unwrap()),
        ("writable by all", |key| fs::set_permissions(key, fs::Permissions::from_mode(0o666)).unwrap()),
        ("readable by all", |key| fs::set_permissions(key, fs::Permissions::from_mode(0o644)).unwrap()),
        ("a link", |key| {
            fs::remove_file(key).unwrap();
            symlink("/dev/zero", key).unwrap();
        }),
    ];
    let site = Site::new();
    assert_eq!(site.load(ECHO), Origin::Compiled);
    for (what, touch) in touches {
        touch(&key(&site));
        assert_eq!(site.load(ECHO), Origin::Compiled, "{what}");
        assert_eq!(site.load(ECHO), Origin::Cached, "after: {what}");
        assert_eq!(fs::read(key(&site)).unwrap().len(), 32, "{what}");
        assert_eq!(mode(&key(&site)) & 0o077, 0, "{what}");
    }
}

#[test]
fn a_folder_that_others_can_write_is_not_used() {
    let site = Site::new();
    assert_eq!(site.load(ECHO), Origin::Compiled);
    for mode in [0o770, 0o702, 0o1777] {
        fs::set_permissions(&site.folder, fs::Permissions::from_mode(mode)).unwrap();
        let fault = Cache::open(&site.folder).unwrap_err();
        assert!(
            matches!(fault, CacheFault::Folder(FolderFault::Shared { mode: found, .. }) if found == mode),
            "{fault}"
        );
    }
    fs::set_permissions(&site.folder, fs::Permissions::from_mode(0o700)).unwrap();
    if std::os::unix::fs::chown(&site.folder, Some(1), None).is_ok() {
        let fault = Cache::open(&site.folder).unwrap_err();
        assert!(matches!(fault, CacheFault::Folder(FolderFault::NotOurs { owner: 1, .. })), "{fault}");
    }
    let file = site.folder.join("../file");
    fs::write(&file, "").unwrap();
    assert!(matches!(Cache::open(&file).unwrap_err(), CacheFault::Folder(FolderFault::Unusable { .. })));
}

#[test]
fn a_folder_that_goes_away_costs_no_load() {
    let site = Site::new();
    let sandbox = Sandbox::new(Ceilings { instances: 1, ..Ceilings::default() }).unwrap();
    let sandbox = sandbox.caching_in(Cache::open(&site.folder).unwrap());
    fs::remove_dir_all(&site.folder).unwrap();
    let load = || Plugin::load(&sandbox, &wat::parse_str(ECHO).unwrap(), ALL, patient(), b"").unwrap().origin();
    assert_eq!([load(), load()], [Origin::Compiled; 2]);
}

#[test]
fn what_was_not_used_for_longest_makes_room() {
    let site = Site::new();
    assert_eq!(site.load(ECHO), Origin::Compiled);
    let used = site.file();
    assert_eq!(site.load(&other(1)), Origin::Compiled);
    let unused = site.files().into_iter().find(|file| *file != used).unwrap();
    // Both are old, and a use makes the one young again.
    for file in [&used, &unused] {
        let file = File::options().write(true).open(file).unwrap();
        file.set_modified(SystemTime::now() - 2 * limits::CACHE_TOUCH).unwrap();
    }
    assert_eq!(site.load(ECHO), Origin::Cached);
    let filler = |name: &str, bytes: u64, age: Duration| {
        let file = File::create(site.folder.join(name)).unwrap();
        file.set_len(bytes).unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
    };
    // Another user's file, and the oldest of all.
    filler("notes", 1, 3 * limits::CACHE_TOUCH);
    let name = |number: usize| format!("{number:064x}");
    // Holes do not take space on disk.
    filler(&name(usize::MAX), limits::CACHE_BYTES - 10_000, limits::CACHE_TOUCH / 2);
    assert_eq!(site.load(&other(2)), Origin::Compiled);
    assert!(used.exists() && !unused.exists() && !site.folder.join(name(usize::MAX)).exists());
    for number in 0..limits::CACHE_FILES {
        filler(&name(number), 1, limits::CACHE_TOUCH / 2);
    }
    assert_eq!(site.load(&other(3)), Origin::Compiled);
    assert_eq!(site.files().len(), limits::CACHE_FILES + 1);
    assert!(site.folder.join("notes").exists());
    assert!(used.exists() && site.folder.join("inferbus-cache.key").exists());
    assert_eq!([site.load(ECHO), site.load(&other(3))], [Origin::Cached; 2]);
}
