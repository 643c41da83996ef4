//! A server with the roles of deploy/nats: by keys from accounts.conf, or by the tokens of nsc.sh.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use async_nats::{Client, ConnectOptions, Event, ServerError};
use inferbus::dev_server::{DevServer, Settings};
use nkeys::KeyPair;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::mpsc;

use crate::PATIENCE;
use crate::Ran;
use crate::WorkerOptions;
use crate::credentials;
use crate::inferbus;
use crate::root;
use crate::run;
use crate::tls;
use crate::token;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    Operator,
    Catalog,
    Worker,
    Publisher,
    Requester,
    Reader,
}

impl Role {
    pub const ALL: [Self; 6] =
        [Self::Operator, Self::Catalog, Self::Worker, Self::Publisher, Self::Requester, Self::Reader];

    pub fn name(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Catalog => "catalog",
            Self::Worker => "worker",
            Self::Publisher => "publisher",
            Self::Requester => "requester",
            Self::Reader => "reader",
        }
    }

    pub fn inbox(self) -> String {
        format!("_INBOX_{}", self.name())
    }
}

/// The users' proof of identity.
#[derive(Clone, Copy, Debug)]
pub enum Proof {
    Keys,
    Tokens,
}

pub struct Deployment {
    server: DevServer,
    folder: TempDir,
    proof: Proof,
}

impl Deployment {
    pub async fn start(proof: Proof) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let environment = match proof {
            Proof::Keys => keys(folder.path()),
            Proof::Tokens => {
                std::fs::write(folder.path().join("resolver.conf"), tokens(folder.path())).expect("resolver.conf");
                Vec::new()
            }
        };
        let config = configuration(folder.path(), "roles.conf", proof);
        let server = server(&folder.path().join("store"), &config, "bus-1", environment).await;
        Self { server, folder, proof }
    }

    /// One cluster of three servers, of cluster.conf. Requests to this deployment go to the first.
    pub async fn cluster() -> (Self, [DevServer; 2]) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let users = keys(folder.path());
        let config = configuration(folder.path(), "cluster.conf", Proof::Keys);
        let ports = free_ports();
        let route =
            |at: usize| (format!("INFERBUS_CLUSTER_ROUTE_{}", at + 1), format!("nats-route://127.0.0.1:{}", ports[at]));
        let one = |at: usize| {
            let mut environment = users.clone();
            environment.extend([0, 1, 2].map(route));
            environment.push(("INFERBUS_CLUSTER_LISTEN".to_owned(), format!("127.0.0.1:{}", ports[at])));
            let (store, config) = (folder.path().join(format!("store-{at}")), &config);
            async move { server(&store, config, &format!("bus-{at}"), environment).await }
        };
        let (first, others) = (one(0).await, [one(1).await, one(2).await]);
        (Self { server: first, folder, proof: Proof::Keys }, others)
    }

    pub fn url(&self) -> &str {
        self.server.url()
    }

    pub fn monitor(&self) -> &str {
        self.server.monitor().expect("the roles are monitored")
    }

    fn proof_of(&self, role: Role) -> PathBuf {
        match self.proof {
            Proof::Keys => self.folder.path().join(format!("{}.nk", role.name())),
            Proof::Tokens => self.folder.path().join(format!("{}.creds", role.name())),
        }
    }

    /// The flags of a command or a worker under a role.
    pub fn flags(&self, role: Role) -> Vec<String> {
        let proof = match self.proof {
            Proof::Keys => "--nkey",
            Proof::Tokens => "--creds",
        };
        let file = self.proof_of(role).into_os_string().into_string().expect("UTF-8");
        let pairs = [
            (proof, file),
            ("--inbox-prefix", role.inbox()),
            ("--tlsca", tls("authority.pem")),
            ("--tlscert", tls("client.pem")),
            ("--tlskey", tls("client-key.pem")),
        ];
        pairs.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect()
    }

    pub fn inferbus(&self, role: Role, arguments: &[&str]) -> Ran {
        let mut all: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        all.extend(self.flags(role));
        inferbus(self.url(), &all)
    }

    pub fn worker_options(&self) -> WorkerOptions {
        WorkerOptions { arguments: self.flags(Role::Worker), ..WorkerOptions::default() }
    }

    pub async fn connect(&self, role: Role) -> Guest {
        let (said, refusals) = mpsc::unbounded_channel();
        let options = match self.proof {
            Proof::Keys => {
                let seed = std::fs::read_to_string(self.proof_of(role)).expect("a seed");
                ConnectOptions::with_nkey(seed)
            }
            Proof::Tokens => ConnectOptions::with_credentials_file(self.proof_of(role)).await.expect("credentials"),
        };
        let options = options
            .custom_inbox_prefix(role.inbox())
            .request_timeout(Some(PATIENCE))
            .add_root_certificates(tls("authority.pem").into())
            .add_client_certificate(tls("client.pem").into(), tls("client-key.pem").into())
            .require_tls(true)
            .event_callback(move |event| {
                let said = said.clone();
                async move {
                    if let Event::ServerError(ServerError::Other(text)) = event {
                        // A closed receiver is no fault.
                        let _ = said.send(text);
                    }
                }
            });
        let client = options.connect(self.url()).await.unwrap_or_else(|fault| panic!("{role:?}: {fault}"));
        Guest { role, client, refusals, fences: 0 }
    }
}

/// A connection under a role, and the server's denials.
pub struct Guest {
    pub role: Role,
    pub client: Client,
    refusals: mpsc::UnboundedReceiver<String>,
    fences: u32,
}

impl Guest {
    /// The denials since the last call. The server sends them in order, so a last message with a certain denial marks
    /// the end.
    pub async fn refused(&mut self) -> Vec<String> {
        self.fences += 1;
        let fence = format!("fence.{}", self.fences);
        self.client.publish(fence.clone(), "".into()).await.expect("sent");
        let mut refused = Vec::new();
        loop {
            let text =
                tokio::time::timeout(PATIENCE, self.refusals.recv()).await.expect("the fence is refused in time");
            let text = text.expect("the connection lives");
            if text.contains(&fence) {
                return refused;
            }
            refused.push(text);
        }
    }
}

async fn server(store: &Path, config: &Path, name: &str, mut environment: Vec<(String, String)>) -> DevServer {
    let more = [
        ("INFERBUS_SERVER_NAME", name.to_owned()),
        ("INFERBUS_MONITOR", "127.0.0.1:-1".to_owned()),
        ("INFERBUS_TLS_CERT", tls("server.pem")),
        ("INFERBUS_TLS_KEY", tls("server-key.pem")),
        ("INFERBUS_TLS_CA", tls("authority.pem")),
    ];
    environment.extend(more.map(|(name, value)| (name.to_owned(), value)));
    let settings =
        Settings { config: Some(config), environment: &environment, store: Some(store), ..Settings::default() };
    DevServer::start(settings).await.unwrap_or_else(|fault| panic!("{fault:#}"))
}

/// Free ports: servers of a cluster must have each other's before they start.
fn free_ports() -> [u16; 3] {
    let taken = [(); 3].map(|()| std::net::TcpListener::bind("127.0.0.1:0").expect("a port"));
    taken.map(|taken| taken.local_addr().expect("an address").port())
}

/// The ready-made configuration, with a test's changes.
fn configuration(folder: &Path, name: &str, proof: Proof) -> PathBuf {
    let ready_made = root().join("deploy/nats");
    for included in ["tls.conf", "accounts.conf"] {
        std::fs::copy(ready_made.join(included), folder.join(included)).expect("a copy");
    }
    let mut config = std::fs::read_to_string(ready_made.join(name)).expect("a configuration");
    let mut replace = |line: &str, with: &str| {
        assert!(config.contains(line), "{name} does not contain `{line}`");
        config = config.replace(line, with);
    };
    replace("store_dir: $INFERBUS_STORE", "");
    if let Proof::Tokens = proof {
        // The change described in nsc.sh.
        replace("include ./accounts.conf", "include ./resolver.conf");
    }
    let file = folder.join(name);
    std::fs::write(&file, config).expect("a configuration");
    file
}

/// Makes a key for each user: seeds as files, public keys for the configuration.
fn keys(folder: &Path) -> Vec<(String, String)> {
    let names = Role::ALL.map(Role::name).into_iter().chain(["system"]);
    let key = |name: &str| {
        let key = KeyPair::new_user();
        std::fs::write(folder.join(format!("{name}.nk")), key.seed().expect("a seed")).expect("a seed's file");
        (format!("INFERBUS_{}_NKEY", name.to_uppercase()), key.public_key())
    };
    names.map(key).collect()
}

/// An account as the script asks for it.
struct Account {
    key: KeyPair,
    jetstream: bool,
    exports: Vec<Value>,
    imports: Vec<Value>,
}

/// Runs nsc.sh with a stand-in for `nsc`, makes the requested keys and tokens, and returns a configuration with them.
fn tokens(folder: &Path) -> String {
    let operator = KeyPair::new_operator();
    let mut accounts = BTreeMap::new();
    let mut users = Vec::new();
    for command in asked_of_nsc(folder) {
        let (verb, flags) = (command.verb(), &command.flags);
        let flag = |name: &str| flags.get(name).cloned().unwrap_or_default();
        let list = |name: &str| flag(name).split(',').map(ToOwned::to_owned).collect::<Vec<_>>();
        let kind = if flags.contains_key("--service") { "service" } else { "stream" };
        let mut account = |name: &str| {
            let new = || Account { key: KeyPair::new_account(), jetstream: false, exports: vec![], imports: vec![] };
            accounts.entry(name.to_owned()).or_insert_with(new).key.public_key()
        };
        match verb.as_str() {
            "add operator" => drop(account("SYS")),
            "add account" => drop(account(&flag("--name"))),
            "edit account" => {
                account(&flag("--name"));
                accounts.get_mut(&flag("--name")).expect("made").jetstream = flags.contains_key("--js-disk-storage");
            }
            "add export" => {
                let mut export = json!({ "name": flag("--name"), "subject": flag("--subject"), "type": kind });
                if let Some(response) = flags.get("--response-type") {
                    export["response_type"] = json!(response);
                }
                accounts.get_mut(&flag("--account")).expect("made").exports.push(export);
            }
            "add import" => {
                let import = json!({
                    "name": flag("--name"), "subject": flag("--remote-subject"),
                    "local_subject": flag("--local-subject"),
                    "account": account(&flag("--src-account")), "type": kind,
                });
                accounts.get_mut(&flag("--account")).expect("made").imports.push(import);
            }
            "add user" => users.push((flag("--account"), flag("--name"), list("--allow-pub"), list("--allow-sub"))),
            other => panic!("the script asks nsc for `{other}`"),
        }
    }
    for (account, name, publish, subscribe) in users {
        let user = KeyPair::new_user();
        let claims = json!({
            "type": "user", "subs": -1, "data": -1, "payload": -1,
            "pub": { "allow": publish }, "sub": { "allow": subscribe },
        });
        let text = credentials(&token(&accounts[&account].key, &user, claims), &user);
        std::fs::write(folder.join(format!("{name}.creds")), text).expect("a file of credentials");
    }
    resolver(&operator, &accounts)
}

fn resolver(operator: &KeyPair, accounts: &BTreeMap<String, Account>) -> String {
    let mut preload = String::new();
    for account in accounts.values() {
        let storage = if account.jetstream { -1 } else { 0 };
        let claims = json!({
            "type": "account", "exports": account.exports, "imports": account.imports,
            "limits": {
                "subs": -1, "data": -1, "payload": -1, "conn": -1, "leaf": -1, "imports": -1, "exports": -1,
                "wildcards": true, "mem_storage": storage, "disk_storage": storage, "streams": storage,
                "consumer": storage,
            },
        });
        let key = account.key.public_key();
        preload.push_str(&format!("{key}: {}\n", token(operator, &account.key, claims)));
    }
    let system = accounts["SYS"].key.public_key();
    let operator = token(operator, operator, json!({ "type": "operator", "system_account": system }));
    format!("operator: {operator}\nsystem_account: {system}\nresolver: MEMORY\nresolver_preload {{\n{preload}}}\n")
}

struct Asked {
    words: Vec<String>,
    flags: BTreeMap<String, String>,
}

impl Asked {
    fn verb(&self) -> String {
        self.words.join(" ")
    }
}

/// Every call of `nsc` by the script. Here accounts have names in place of nsc's public keys.
fn asked_of_nsc(folder: &Path) -> Vec<Asked> {
    use std::os::unix::fs::PermissionsExt as _;
    let (bin, log) = (folder.join("bin"), folder.join("asked"));
    let nsc = bin.join("nsc");
    std::fs::create_dir(&bin).expect("a folder");
    let stand_in = "#!/bin/sh\nif [ \"$1\" = describe ]; then echo \"\\\"$4\\\"\"; exit; fi\n\
         { printf '%s\\n' \"$@\"; echo; } >> \"$ASKED\"\n";
    std::fs::write(&nsc, stand_in).expect("a stand-in");
    std::fs::set_permissions(&nsc, std::fs::Permissions::from_mode(0o755)).expect("executable");
    let path = std::env::join_paths(
        std::iter::once(bin).chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
    );
    run(Command::new(root().join("deploy/nats/nsc.sh")).env("PATH", path.expect("a path")).env("ASKED", &log)).ok();
    let log = std::fs::read_to_string(log).expect("the calls");
    log.split("\n\n").filter(|call| !call.trim().is_empty()).map(asked).collect()
}

fn asked(call: &str) -> Asked {
    let mut asked = Asked { words: Vec::new(), flags: BTreeMap::new() };
    let mut lines = call.lines().peekable();
    while let Some(line) = lines.next() {
        if line.starts_with("--") {
            let value = lines.next_if(|next| !next.starts_with("--")).unwrap_or_default();
            asked.flags.insert(line.to_owned(), value.to_owned());
        } else {
            asked.words.push(line.to_owned());
        }
    }
    asked
}
