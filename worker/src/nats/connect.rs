//! The connection to NATS, with the flags, environment variables and contexts of the `nats` command.
//!
//! Guarantees: a context has the same meaning as for `nats`. JetStream domains and prefixes, proxies and `nsc` are not
//! supported. Secrets are never printed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use async_nats::{Client, ConnectErrorKind, ConnectOptions, Message, Subscriber};
use clap::Args;
use futures_util::{FutureExt as _, StreamExt as _};
use inferbus_catalog::jitter;
use serde::Deserialize;
use tokio::task::unconstrained;

use crate::limits;

#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Connection", end_heading())]
pub struct Connection {
    /// NATS servers, separated by commas [default: the selected context, else nats://127.0.0.1:4222]
    #[arg(short = 's', long = "server", value_name = "URL", env = "NATS_URL")]
    pub server: Option<String>,
    /// Context created by `nats context add` [default: the selected one]
    #[arg(long, value_name = "NAME", env = "NATS_CONTEXT")]
    pub context: Option<String>,
    /// Ignore the selected context
    #[arg(long)]
    pub no_context: bool,
    /// User name, or a token if no password is given
    #[arg(long, value_name = "USER", env = "NATS_USER")]
    pub user: Option<String>,
    /// Password
    #[arg(long, value_name = "PASSWORD", env = "NATS_PASSWORD", hide_env_values = true)]
    pub password: Option<String>,
    /// Token
    #[arg(long, value_name = "TOKEN", env = "NATS_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Credentials file (JWT and seed)
    #[arg(long, value_name = "FILE", env = "NATS_CREDS")]
    pub creds: Option<PathBuf>,
    /// File with an NKey seed
    #[arg(long, value_name = "FILE", env = "NATS_NKEY")]
    pub nkey: Option<PathBuf>,
    /// Client certificate
    #[arg(long = "tlscert", value_name = "FILE", env = "NATS_CERT", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Client certificate's key
    #[arg(long = "tlskey", value_name = "FILE", env = "NATS_KEY", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Certificate authority of the server
    #[arg(long = "tlsca", value_name = "FILE", env = "NATS_CA")]
    pub tls_ca: Option<PathBuf>,
    /// Start the connection with the TLS handshake
    #[arg(long = "tlsfirst")]
    pub tls_first: bool,
    /// Prefix of inbox subjects for replies
    #[arg(long, value_name = "SUBJECT", env = "NATS_INBOX_PREFIX")]
    pub inbox_prefix: Option<String>,
    /// Time limit for the server's answers [default: 5s]
    #[arg(long, value_name = "TIME", env = "NATS_TIMEOUT", value_parser = time_limit)]
    pub timeout: Option<Duration>,
}

/// In the format of the `nats` command: `5s`, `500ms`, `1m`, or seconds without a unit.
fn time_limit(text: &str) -> Result<Duration, String> {
    let units = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("", 1.0)];
    let wait = units.iter().find_map(|(unit, seconds)| Some(text.strip_suffix(unit)?.parse::<f64>().ok()? * seconds));
    match wait {
        Some(wait) if (0.01..=3600.0).contains(&wait) => Ok(Duration::from_secs_f64(wait)),
        _ => Err("write a time between 10ms and 60m, for example 5s".into()),
    }
}

/// The supported fields of a context file of the `nats` command.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ContextFile {
    url: String,
    user: String,
    password: String,
    token: String,
    creds: String,
    nkey: String,
    cert: String,
    key: String,
    ca: String,
    inbox_prefix: String,
    tls_first: bool,
}

/// Ends the help heading after the flags of the connection. clap would apply it to all later flags of the command.
trait EndHeading {
    fn end_heading(self) -> Self;
}

impl EndHeading for clap::Command {
    fn end_heading(self) -> Self {
        self.next_help_heading(None::<&'static str>)
    }
}

const DEFAULT_SERVER: &str = "nats://127.0.0.1:4222";

impl Connection {
    pub fn timeout(&self) -> Duration {
        self.timeout.unwrap_or(limits::COMMAND)
    }

    /// Connects once, for a command: an unreachable server is an error at once.
    pub async fn command(&self) -> anyhow::Result<Client> {
        self.once(|options| options).await
    }

    /// [`Connection::command`], with room for this number of outstanding messages, and with connection events.
    pub async fn load(
        &self,
        outstanding: usize,
        events: impl Fn(async_nats::Event) + Send + Sync + Clone + 'static,
    ) -> anyhow::Result<Client> {
        let more = move |options: ConnectOptions| {
            options.subscription_capacity(outstanding.max(limits::SUBSCRIPTION)).event_callback(move |event| {
                let events = events.clone();
                async move { events(event) }
            })
        };
        self.once(more).await
    }

    async fn once(&self, more: impl FnOnce(ConnectOptions) -> ConnectOptions) -> anyhow::Result<Client> {
        let resolved = self.resolve()?;
        let options = resolved
            .options("inferbus")
            .await?
            .connection_timeout(self.timeout())
            .request_timeout(Some(self.timeout()));
        let options = more(options);
        match tokio::time::timeout(self.timeout(), options.connect(resolved.servers())).await {
            Ok(Ok(client)) => Ok(client),
            // The client's own time for one server may run out first.
            Ok(Err(fault)) if fault.kind() != ConnectErrorKind::TimedOut => {
                Err(Unreachable(resolved.server_text(), fault.to_string()).into())
            }
            _ => {
                let silent = format!("no answer within {:?}", self.timeout());
                Err(Unreachable(resolved.server_text(), silent).into())
            }
        }
    }

    /// Connects with unlimited reconnects, for a worker: it may start before its server and survives server restarts.
    pub async fn worker(
        &self,
        name: &str,
        events: impl Fn(async_nats::Event) + Send + Sync + Clone + 'static,
    ) -> anyhow::Result<Client> {
        let resolved = self.resolve()?;
        let options = resolved
            .options(name)
            .await?
            .retry_on_initial_connect()
            .max_reconnects(None)
            .ping_interval(limits::PING)
            .reconnect_delay_callback(reconnect_delay)
            .subscription_capacity(limits::SUBSCRIPTION)
            .client_capacity(limits::CLIENT_COMMANDS)
            .request_timeout(Some(self.timeout()))
            .event_callback(move |event| {
                let events = events.clone();
                async move { events(event) }
            });
        options
            .connect(resolved.servers())
            .await
            .with_context(|| format!("cannot connect to NATS at {}", resolved.server_text()))
    }

    /// Fills missing settings from the context.
    fn resolve(&self) -> anyhow::Result<Resolved> {
        let file = self.context_file()?.unwrap_or_default();
        let text = |flag: &Option<String>, file: &str| flag.clone().or_else(|| non_empty(file));
        let path = |flag: &Option<PathBuf>, file: &str| flag.clone().or_else(|| non_empty(file).map(expand_home));
        // Given credentials replace all credentials of the context: a mixture of two identities is never intended.
        let own = self.user.is_some() || self.token.is_some() || self.creds.is_some() || self.nkey.is_some();
        let auth = if own {
            ContextFile::default()
        } else {
            ContextFile {
                user: file.user,
                password: file.password,
                token: file.token,
                creds: file.creds,
                nkey: file.nkey,
                ..Default::default()
            }
        };
        Ok(Resolved {
            server: text(&self.server, &file.url).unwrap_or_else(|| DEFAULT_SERVER.into()),
            user: text(&self.user, &auth.user),
            password: text(&self.password, &auth.password),
            token: text(&self.token, &auth.token),
            creds: path(&self.creds, &auth.creds),
            nkey: path(&self.nkey, &auth.nkey),
            cert: path(&self.tls_cert, &file.cert),
            key: path(&self.tls_key, &file.key),
            ca: path(&self.tls_ca, &file.ca),
            tls_first: self.tls_first || file.tls_first,
            inbox_prefix: text(&self.inbox_prefix, &file.inbox_prefix),
        })
    }

    /// The named context, or the selected one unless a server was named.
    fn context_file(&self) -> anyhow::Result<Option<ContextFile>> {
        let Some(folder) = config_folder().filter(|_| !self.no_context) else {
            return Ok(None);
        };
        let name = match &self.context {
            Some(name) => name.clone(),
            None if self.server.is_some() => return Ok(None),
            None => match std::fs::read_to_string(folder.join("context.txt")) {
                Ok(name) if !name.trim().is_empty() => name.trim().to_owned(),
                _ => return Ok(None),
            },
        };
        if name.contains(['/', '\\']) || name.contains("..") {
            bail!("`{name}` is not a context's name");
        }
        let file = folder.join("context").join(format!("{name}.json"));
        let text = std::fs::read_to_string(&file).with_context(|| {
            format!("context `{name}` cannot be read from {}: see `nats context ls`", file.display())
        })?;
        let context =
            serde_json::from_str(&text).with_context(|| format!("context file {} is not valid", file.display()))?;
        Ok(Some(context))
    }
}

/// The first try is immediate, and later pauses double. Jitter spreads the reconnects of workers with the same server:
/// the client's default pauses are equal for all.
fn reconnect_delay(tries: usize) -> Duration {
    if tries <= 1 {
        return Duration::ZERO;
    }
    let doublings = u32::try_from(tries - 1).unwrap_or(u32::MAX);
    let most = Duration::from_millis(2_u64.saturating_pow(doublings)).min(limits::RECONNECT_LONGEST);
    jitter::between(most / 2, most)
}

/// Whether the server has processed all earlier commands of this client within the bound, subscriptions included. A
/// flush only empties the client's buffer.
pub async fn round_trip(client: &Client, bound: Duration) -> bool {
    let echoed = async {
        let inbox = client.new_inbox();
        let mut echo = client.subscribe(inbox.clone()).await.ok()?;
        client.publish(inbox, "".into()).await.ok()?;
        echo.next().await
    };
    matches!(tokio::time::timeout(bound, echoed).await, Ok(Some(_)))
}

/// Ends a subscription at the server, and returns all messages sent by the server before its end.
///
/// The client's drain removes the subscription once the UNSUB is written: it loses messages in transit, and never ends
/// without a server. The count here has more digits than a server parses: the server unsubscribes at once, and the
/// client keeps the subscription.
pub async fn unsubscribe(client: &Client, mut messages: Subscriber) -> impl Iterator<Item = Message> {
    // Without a server the client's command queue may be full.
    if let Ok(Ok(())) = tokio::time::timeout(limits::UNSUBSCRIBE, messages.unsubscribe_after(u64::MAX)).await {
        round_trip(client, limits::UNSUBSCRIBE).await;
    }
    // Unconstrained, or an exhausted task budget would look like the end of the messages.
    std::iter::from_fn(move || unconstrained(messages.next()).now_or_never().flatten())
}

/// An unreachable server: a separate type, for a separate exit code.
#[derive(Debug, thiserror::Error)]
#[error(
    "NATS at {0} cannot be reached: {1}; start a server (`inferbus dev` includes one), or set another with --server or \
     NATS_URL"
)]
pub struct Unreachable(String, String);

struct Resolved {
    server: String,
    user: Option<String>,
    password: Option<String>,
    token: Option<String>,
    creds: Option<PathBuf>,
    nkey: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    ca: Option<PathBuf>,
    tls_first: bool,
    inbox_prefix: Option<String>,
}

impl Resolved {
    fn servers(&self) -> Vec<String> {
        self.server.split(',').map(|server| server.trim().to_owned()).filter(|server| !server.is_empty()).collect()
    }

    /// The servers, without secrets in their URLs.
    fn server_text(&self) -> String {
        let bare = |server: String| match (server.find("://"), server.rfind('@')) {
            (Some(scheme), Some(at)) if at > scheme => format!("{}{}", &server[..scheme + 3], &server[at + 1..]),
            _ => server,
        };
        self.servers().into_iter().map(bare).collect::<Vec<_>>().join(",")
    }

    async fn options(&self, name: &str) -> anyhow::Result<ConnectOptions> {
        let mut options = ConnectOptions::new().name(name);
        match (&self.user, &self.password) {
            (Some(user), Some(password)) => options = options.user_and_password(user.clone(), password.clone()),
            (Some(token), None) => options = options.token(token.clone()),
            (None, _) => {}
        }
        if let Some(token) = &self.token {
            options = options.token(token.clone());
        }
        if let Some(file) = &self.nkey {
            let seed = std::fs::read_to_string(file)
                .with_context(|| format!("the NKey seed {} cannot be read", file.display()))?;
            options = options.nkey(seed.trim().to_owned());
        }
        // The client would report a missing file as a fault of the server.
        for (file, what) in [(&self.ca, "certificate authority"), (&self.cert, "certificate"), (&self.key, "key")] {
            if let Some(file) = file {
                std::fs::File::open(file).with_context(|| format!("the {what} {} cannot be read", file.display()))?;
            }
        }
        if let Some(ca) = &self.ca {
            options = options.add_root_certificates(ca.clone()).require_tls(true);
        }
        if let (Some(cert), Some(key)) = (&self.cert, &self.key) {
            options = options.add_client_certificate(cert.clone(), key.clone());
        }
        if self.tls_first {
            options = options.tls_first();
        }
        if let Some(prefix) = &self.inbox_prefix {
            options = options.custom_inbox_prefix(prefix.clone());
        }
        match &self.creds {
            Some(file) => options
                .credentials_file(file)
                .await
                .with_context(|| format!("the credentials {} cannot be read", file.display())),
            None => Ok(options),
        }
    }
}

fn non_empty(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn expand_home(path: String) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => Path::new(&home).join(rest),
        _ => PathBuf::from(path),
    }
}

fn config_folder() -> Option<PathBuf> {
    let base = match std::env::var_os("XDG_CONFIG_HOME") {
        Some(folder) if !folder.is_empty() => PathBuf::from(folder),
        _ => PathBuf::from(std::env::var_os("HOME")?).join(".config"),
    };
    Some(base.join("nats"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_between_tries_grow_and_end_at_their_bound() {
        assert_eq!([0, 1].map(reconnect_delay), [Duration::ZERO; 2]);
        for (tries, most) in
            [(2, Duration::from_millis(2)), (8, Duration::from_millis(128)), (usize::MAX, limits::RECONNECT_LONGEST)]
        {
            let pause = reconnect_delay(tries);
            assert!((most / 2..=most).contains(&pause), "{pause:?} after {tries} tries");
        }
    }
}
