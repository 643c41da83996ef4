//! The same ways to a server as in the `nats` command: users, tokens, NKeys, credentials, TLS, contexts.

use std::process::Command;

use inferbus::dev_server::{DevServer, Settings};
use inferbus_tests::{BundleFolder, Ran, credentials, program, run, tls, token};
use nkeys::KeyPair;
use serde_json::json;
use tempfile::TempDir;

const UNREACHABLE: Option<i32> = Some(3);

/// A server with a configuration, and files beside it.
struct Guarded {
    folder: TempDir,
    server: DevServer,
}

impl Guarded {
    async fn start(config: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("server.conf");
        std::fs::write(&file, config).expect("the configuration");
        let server = DevServer::start(Settings { config: Some(&file), ..Settings::default() }).await;
        Self { server: server.unwrap_or_else(|fault| panic!("{fault:#}")), folder }
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("the folder");
        std::fs::write(&path, text).expect("the file");
        path.into_os_string().into_string().expect("UTF-8")
    }

    /// Pushes a bundle and lists it: both need full permissions.
    fn works(&self, with: &[&str]) {
        let bundle = BundleFolder::new("identity", "1.0.0");
        let folder = bundle.path().to_str().expect("UTF-8").to_owned();
        self.inferbus(&["push", &folder, "--activate"], with).ok();
        let listed = self.inferbus(&["ls", "--output", "json"], with).json();
        assert_eq!(listed[0]["active"], "1.0.0", "{listed}");
    }

    #[track_caller]
    fn is_refused(&self, with: &[&str]) {
        let ran = self.inferbus(&["ls"], with);
        assert_eq!(ran.code, UNREACHABLE, "{with:?}: {ran:?}");
        assert!(!ran.stderr.contains("s3cret"), "{ran:?}");
    }

    fn inferbus(&self, command: &[&str], with: &[&str]) -> Ran {
        run(bare().args(command).args(["--server", self.server.url()]).args(with))
    }
}

/// The command without the user's address, identity and contexts.
fn bare() -> Command {
    let mut command = Command::new(program());
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("NATS_")) {
        command.env_remove(name);
    }
    command.env("XDG_CONFIG_HOME", "/nowhere");
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn user_and_password() {
    let guarded = Guarded::start("authorization { user: anna, password: s3cret }").await;
    guarded.works(&["--user", "anna", "--password", "s3cret"]);
    guarded.is_refused(&["--user", "anna", "--password", "s3cret-not"]);
    guarded.is_refused(&[]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_takes_the_place_of_a_user() {
    let guarded = Guarded::start("authorization { token: s3cret }").await;
    guarded.works(&["--user", "s3cret"]);
    guarded.is_refused(&["--user", "s3cret-not"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_nkey_signs() {
    let (user, stranger) = (KeyPair::new_user(), KeyPair::new_user());
    let guarded = Guarded::start(&format!("authorization {{ users: [{{ nkey: {} }}] }}", user.public_key())).await;
    let seed = |key: &KeyPair, name| guarded.file(name, &format!("{}\n", key.seed().expect("a seed")));
    guarded.works(&["--nkey", &seed(&user, "user.nk")]);
    guarded.is_refused(&["--nkey", &seed(&stranger, "stranger.nk")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_a_token_and_a_seed() {
    let (operator, account, user) = (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_user());
    let system = KeyPair::new_account();
    let everything = json!({
        "subs": -1, "data": -1, "payload": -1, "conn": -1, "leaf": -1, "imports": -1, "exports": -1, "wildcards": true,
        "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1,
    });
    let operator_token = token(&operator, &operator, json!({ "type": "operator" }));
    // JetStream needs a system account beside the users' own.
    let system_token = token(&operator, &system, json!({ "type": "account" }));
    let account_token = token(&operator, &account, json!({ "type": "account", "limits": everything }));
    let unbound = json!({ "type": "user", "subs": -1, "data": -1, "payload": -1 });
    let user_token = token(&account, &user, unbound);
    let guarded = Guarded::start(&format!(
        "operator: {operator_token}\nsystem_account: {system}\nresolver: MEMORY\n\
         resolver_preload: {{ {system}: {system_token}, {account}: {account_token} }}\n",
        system = system.public_key(),
        account = account.public_key(),
    ))
    .await;
    let creds = |seed: &KeyPair, name| guarded.file(name, &credentials(&user_token, seed));
    guarded.works(&["--creds", &creds(&user, "user.creds")]);
    guarded.is_refused(&["--creds", &creds(&KeyPair::new_user(), "stranger.creds")]);
}

fn tls_config(more: &str) -> String {
    let [cert, key, authority] = ["server.pem", "server-key.pem", "authority.pem"].map(tls);
    format!("tls {{ cert_file: {cert:?}, key_file: {key:?}, ca_file: {authority:?}, {more} }}")
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_checked_on_both_sides() {
    let guarded = Guarded::start(&tls_config("verify: true")).await;
    let [authority, cert, key] = ["authority.pem", "client.pem", "client-key.pem"].map(tls);
    guarded.works(&["--tlsca", &authority, "--tlscert", &cert, "--tlskey", &key]);
    guarded.is_refused(&["--tlscert", &cert, "--tlskey", &key]);
    guarded.is_refused(&["--tlsca", &authority]);
    let lone = guarded.inferbus(&["ls"], &["--tlscert", &cert]);
    assert_eq!(lone.code, Some(2), "{lone:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_can_come_first() {
    let guarded = Guarded::start(&tls_config("handshake_first: true")).await;
    guarded.works(&["--tlsca", &tls("authority.pem"), "--tlsfirst"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn contexts_are_those_of_the_nats_command() {
    let guarded = Guarded::start("authorization { user: anna, password: s3cret }").await;
    let context =
        json!({ "description": "plant 3", "url": guarded.server.url(), "user": "anna", "password": "s3cret" });
    guarded.file("nats/context/plant3.json", &context.to_string());
    guarded.file("nats/context/wrong.json", "{\"url\":");
    let push = BundleFolder::new("identity", "1.0.0");
    let home = |arguments: &[&str]| run(bare().args(arguments).env("XDG_CONFIG_HOME", guarded.folder.path()));
    home(&["push", push.path().to_str().expect("UTF-8"), "--context", "plant3"]).ok();

    guarded.file("nats/context.txt", "plant3\n");
    let listed = home(&["ls", "--output", "json"]).json();
    assert_eq!(listed[0]["model"], "identity", "the selected context is taken: {listed}");
    let stranger = home(&["ls", "--user", "anna", "--password", "s3cret-not"]);
    assert_eq!(stranger.code, UNREACHABLE, "a flag overrides the context: {stranger:?}");

    for (name, words) in
        [("nowhere", "nats context ls"), ("wrong", "is not valid"), ("../secrets", "is not a context's name")]
    {
        let ran = home(&["ls", "--context", name]);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.stderr.contains(words) && !ran.stderr.contains("s3cret"), "{ran:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_not_there_is_named() {
    let guarded = Guarded::start("").await;
    for flag in ["--creds", "--nkey", "--tlsca"] {
        let ran = guarded.inferbus(&["ls"], &[flag, "/nowhere/it"]);
        assert_eq!(ran.code, Some(1), "{flag}: {ran:?}");
        assert!(ran.stderr.contains("/nowhere/it cannot be read"), "{flag}: {ran:?}");
    }
}
