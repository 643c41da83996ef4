//! The table of peers: environment, protocol and command of each.

use std::thread::available_parallelism;

use crate::project::root;

/// The subject prefix of requests to peers on NATS, and of their messages beside replies.
pub const SUBJECT: &str = "peer.job";
pub const OUTPUT: &str = "peer-results";

/// A row of the table.
pub struct Kind {
    pub name: &'static str,
    /// Its environment in .tools/peers and its folder in bench/peers [default: the environment of the tests].
    pub environment: Option<&'static str>,
    pub protocol: Protocol,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Nats,
    Http,
    /// HTTP with a tensor as the body, and the result as a tensor after JSON.
    Triton,
}

pub static KINDS: [Kind; 10] = [
    Kind { name: "python", environment: None, protocol: Protocol::Nats },
    Kind { name: "uvloop", environment: Some("uvloop"), protocol: Protocol::Nats },
    Kind { name: "python_two", environment: None, protocol: Protocol::Nats },
    Kind { name: "faststream", environment: Some("faststream"), protocol: Protocol::Nats },
    Kind { name: "faststream_two", environment: Some("faststream"), protocol: Protocol::Nats },
    Kind { name: "litserve", environment: Some("litserve"), protocol: Protocol::Http },
    Kind { name: "bentoml", environment: Some("bentoml"), protocol: Protocol::Http },
    Kind { name: "mlserver", environment: Some("mlserver"), protocol: Protocol::Http },
    Kind { name: "mlserver_single", environment: Some("mlserver"), protocol: Protocol::Http },
    Kind { name: "triton", environment: Some("triton"), protocol: Protocol::Triton },
];

impl Kind {
    /// The reason why the peer cannot be measured, if any.
    pub fn missing(&self) -> Option<String> {
        self.environment.and_then(missing)
    }

    /// The program in its environment, and its arguments.
    pub fn command(&self, server: &str, port: u16, workload: &str, folder: &str) -> (&'static str, Vec<String>) {
        let (port, workers, subject) = (port.to_string(), workers(), format!("{SUBJECT}.*"));
        let by_hand = [&["nats_worker.py", server, &subject, workload, folder, OUTPUT][..]];
        let faststream = ["run", "app:app", "--loop", "uvloop:new_event_loop"];
        let (program, arguments) = match self.name {
            "python_two" => ("python", [by_hand[0], &["--processes", "2"]].concat()),
            "uvloop" => ("python", [by_hand[0], &["--loop", "uvloop"]].concat()),
            "faststream" => ("faststream", faststream.to_vec()),
            "faststream_two" => ("faststream", [&faststream[..], &["--workers", "2"]].concat()),
            "litserve" => ("python", vec!["app.py", &port, workload, folder, &workers]),
            "bentoml" => ("bentoml", vec!["serve", "app:Job", "--host", "127.0.0.1", "--port", &port]),
            "mlserver" | "mlserver_single" => ("mlserver", vec!["start", "."]),
            "triton" => ("python", vec!["app.py", &port, workload, folder]),
            _ => ("python", by_hand[0].to_vec()),
        };
        (program, arguments.into_iter().map(Into::into).collect())
    }
}

/// The reason why a part of .tools/peers is missing, if any.
pub fn missing(name: &str) -> Option<String> {
    let folder = root().join(".tools/peers").join(name);
    match std::fs::read_to_string(folder.join("error")) {
        Ok(error) => Some(error.trim().to_owned()),
        Err(_) => (!folder.exists()).then(|| "not installed: run `tools/setup peers`".into()),
    }
}

/// The default number of a worker's lanes.
pub fn workers() -> String {
    available_parallelism().map_or(1, usize::from).to_string()
}
