//! The process of a peer, with all of its children.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::kind::{Kind, OUTPUT, SUBJECT, workers};
use crate::machine::process::tree;
use crate::project::root;

/// Bytes of a failed peer's log for the error message.
const LOG_TAIL: usize = 600;

/// A peer's process. All of its children end with it.
pub struct PeerProcess {
    pub child: Child,
    log: PathBuf,
    /// For the peer's files.
    _scratch: TempDir,
}

impl PeerProcess {
    pub fn spawn(kind: &Kind, server: &str, port: u16, workload: &str, folder: &str) -> anyhow::Result<Self> {
        let logs = root().join("target/peers");
        std::fs::create_dir_all(&logs)?;
        let log = logs.join(format!("{}.log", kind.name));
        let (out, scratch) = (File::create(&log)?, tempfile::tempdir_in(&logs)?);
        let sources = root().join("bench/peers");
        let environment = kind.environment.map_or(".tools/venv".into(), |name| format!(".tools/peers/{name}"));
        let (program, arguments) = kind.command(server, port, workload, folder);
        let program = root().join(environment).join("bin").join(program);
        let mut command = Command::new(&program);
        command.args(arguments).current_dir(match kind.environment {
            None | Some("uvloop") => sources.clone(),
            Some(name) => sources.join(name),
        });
        command.envs(variables(kind, server, port, workload, folder));
        command.env("PYTHONPATH", &sources).env("BENTOML_HOME", scratch.path()).env("PYTRITON_HOME", scratch.path());
        command.env("MLSERVER_METRICS_DIR", scratch.path()).env("MLSERVER_ENVIRONMENTS_DIR", scratch.path());
        command.stdout(out.try_clone()?).stderr(out).process_group(0).kill_on_drop(true);
        let child = command.spawn().with_context(|| format!("{} cannot be started", program.display()))?;
        Ok(Self { child, log, _scratch: scratch })
    }

    pub fn log_tail(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let last = String::from_utf8_lossy(&log[log.len().saturating_sub(LOG_TAIL)..]).into_owned();
        last.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Parents first: a living parent could restart a child.
    pub fn kill(&mut self) {
        let family = self.child.id().map(tree).and_then(Result::ok).unwrap_or_default();
        for process in family {
            let process = i32::try_from(process).ok().and_then(Pid::from_raw);
            // It may have ended already.
            let _ = process.map(|process| kill_process(process, Signal::KILL));
        }
    }
}

impl Drop for PeerProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

fn variables(kind: &Kind, server: &str, port: u16, workload: &str, folder: &str) -> Vec<(&'static str, String)> {
    let parallel = if kind.name == "mlserver_single" { "0".into() } else { workers() };
    let mut variables = vec![
        ("PEER_SERVER", server.to_owned()),
        ("PEER_SUBJECT", format!("{SUBJECT}.*")),
        ("PEER_OUTPUT", OUTPUT.to_owned()),
        ("PEER_WORKLOAD", workload.to_owned()),
        ("PEER_FOLDER", folder.to_owned()),
        ("PEER_WORKERS", workers()),
        ("MLSERVER_HTTP_PORT", port.to_string()),
        ("MLSERVER_PARALLEL_WORKERS", parallel),
        ("BENTOML_DO_NOT_TRACK", "true".to_owned()),
        ("PYTHONDONTWRITEBYTECODE", "1".to_owned()),
        // numpy's threads would spin, at a cost.
        ("OPENBLAS_NUM_THREADS", "1".to_owned()),
        ("OMP_NUM_THREADS", "1".to_owned()),
    ];
    // MLServer requires a gRPC port.
    variables.extend(free_port().map(|port| ("MLSERVER_GRPC_PORT", port.to_string())));
    variables
}

pub fn free_port() -> anyhow::Result<u16> {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    ensure!(port > 1023, "port {port} is reserved");
    Ok(port)
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;
    use std::time::Duration;

    use tokio::io::{AsyncBufReadExt as _, BufReader};

    use super::*;

    const BOUND: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_peer_ends_with_all_of_its_children() {
        let child = "sh -c 'echo started; exec sleep 100' &";
        // The second child is an orphan before the last line.
        let script = format!("{child} ({child}); echo started; wait");
        let mut command = Command::new("sh");
        command.args(["-c", &script]).stdout(Stdio::piped()).process_group(0);
        let mut child = command.spawn().unwrap();
        let mut arguments = BufReader::new(child.stdout.take().unwrap()).lines();
        for _ in 0..3 {
            assert_eq!(arguments.next_line().await.unwrap().as_deref(), Some("started"));
        }
        drop(PeerProcess { child, log: PathBuf::new(), _scratch: tempfile::tempdir().unwrap() });
        // The pipe closes after the last writer ends.
        let end = tokio::time::timeout(BOUND, arguments.next_line()).await.expect("a child still runs");
        assert_eq!(end.unwrap(), None);
    }
}
