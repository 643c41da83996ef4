//! The needs of a deployment, from measurements of small ones. docs/explanation/scale.md explains the formulas.

use inferbus_catalog::limits::RECONCILE;

/// Measured on two cores of a shared x86-64 virtual machine, by `inferbus-bench scale` unless stated.
pub mod measured {
    /// Processor time of a worker per message of a tiny model (`make bench`).
    pub const WORKER_MICROS: f64 = 27.5;
    /// Processor time of the server per request of 784 bytes and its answer. With 200 workers in the group; fewer cost
    /// less.
    pub const SERVER_MICROS: f64 = 35.5;
    /// Bytes sent by the server at the start of a worker, per key of the catalog.
    pub const START_BYTES: f64 = 53.0;
    /// Processor time of the server at the start of a worker: per key, and the fixed part.
    pub const START_KEY_MICROS: f64 = 6.8;
    pub const START_MICROS: f64 = 1800.0;
    /// Processor time of the server per worker that reconnects and follows after a restart of the server.
    pub const STORM_MICROS: f64 = 5400.0;
    /// The time until all workers have a change after a restart; mostly pauses between retries.
    pub const STORM_SECONDS: f64 = 4.3;
    /// Requests of a worker to JetStream for a bump of a served model.
    pub const BUMP_REQUESTS: f64 = 2.0;
    /// Bytes sent for an artifact, as a multiple of its size.
    pub const FETCH_RATIO: f64 = 1.34;
    /// Memory of the server per idle connection with one subscription.
    pub const CONNECTION_BYTES: f64 = 15_000.0;
}

/// Assumed machines, and their acceptable load.
pub mod assumed {
    pub const WORKER_CORES: f64 = 2.0;
    pub const SERVER_CORES: f64 = 8.0;
    pub const SERVER_MEMORY: f64 = 32e9;
    pub const BUSY: f64 = 0.7;
}

/// Requests of a worker to JetStream per reconcile interval: one per followed bucket.
const COMPARISONS: f64 = 2.0;
/// A request enters and leaves the server, and so does its answer.
const HOPS: f64 = 4.0;

#[derive(Clone, Copy, Debug)]
pub struct Deployment {
    pub workers: f64,
    pub devices: f64,
    /// Seconds between two messages of one device.
    pub period: f64,
    /// Keys of the bucket `models`: a pointer per model, and an entry per version.
    pub keys: f64,
}

/// A resource with its used share; 1 is all of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit {
    pub name: &'static str,
    pub share: f64,
}

impl Deployment {
    pub fn messages(&self) -> f64 {
        self.devices / self.period
    }

    /// Workers of [`assumed::WORKER_CORES`] cores required for the messages.
    pub fn workers_needed(&self) -> f64 {
        let one = assumed::WORKER_CORES * assumed::BUSY * 1e6 / measured::WORKER_MICROS;
        (self.messages() / one).ceil().max(1.0)
    }

    /// Messages in and out of the servers, per second.
    pub fn server_messages(&self) -> f64 {
        self.messages() * HOPS
    }

    /// Cores of the servers used by the messages.
    pub fn server_cores(&self) -> f64 {
        self.messages() * measured::SERVER_MICROS / 1e6
    }

    pub fn servers_needed(&self) -> f64 {
        let cores = self.server_cores() / (assumed::SERVER_CORES * assumed::BUSY);
        let memory = self.connections_bytes() / assumed::SERVER_MEMORY;
        cores.max(memory).ceil().max(1.0)
    }

    /// With one connection per device.
    pub fn connections_bytes(&self) -> f64 {
        (self.devices + self.workers) * measured::CONNECTION_BYTES
    }

    /// Bytes sent if all workers start at once.
    pub fn start_bytes(&self) -> f64 {
        self.workers * self.keys * measured::START_BYTES
    }

    /// The busy time of the catalog's server for that.
    pub fn start_seconds(&self) -> f64 {
        let each = measured::START_MICROS + self.keys * measured::START_KEY_MICROS;
        self.workers * each / 1e6 / assumed::SERVER_CORES
    }

    /// Requests to JetStream per second without changes.
    pub fn requests_at_rest(&self) -> f64 {
        self.workers * COMPARISONS / RECONCILE.as_secs_f64()
    }

    /// The time until all workers follow after a server's restart, if they need not read the catalog again.
    pub fn reconnect_seconds(&self) -> f64 {
        measured::STORM_SECONDS + self.workers * measured::STORM_MICROS / 1e6 / assumed::SERVER_CORES
    }

    /// Requests of all workers to JetStream for one bump.
    pub fn bump_requests(&self) -> f64 {
        self.workers * measured::BUMP_REQUESTS
    }

    /// Bytes sent if all workers fetch a model of this size.
    pub fn fetch_bytes(&self, model: f64) -> f64 {
        self.workers * model * measured::FETCH_RATIO
    }

    /// The most used resource.
    pub fn first_limit(&self) -> Limit {
        let limits = [
            Limit { name: "workers", share: self.workers_needed() / self.workers },
            Limit { name: "a server's cores", share: self.server_cores() / (assumed::SERVER_CORES * assumed::BUSY) },
            Limit { name: "a server's memory", share: self.connections_bytes() / assumed::SERVER_MEMORY },
        ];
        let none = Limit { name: "none", share: 0.0 };
        limits.into_iter().fold(none, |most, limit| if limit.share > most.share { limit } else { most })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Deployment = Deployment { workers: 10.0, devices: 1e4, period: 1.0, keys: 1000.0 };

    #[test]
    fn messages_determine_the_number_of_workers_and_servers() {
        assert_eq!(SMALL.messages(), 1e4);
        assert_eq!(Deployment { period: 10.0, ..SMALL }.messages(), 1e3);
        // Each worker has two cores. 70 % of them is 50,900 messages of 27.5 µs.
        assert_eq!(SMALL.workers_needed(), 1.0);
        assert_eq!(Deployment { devices: 1e6, ..SMALL }.workers_needed(), 20.0);
        assert_eq!(SMALL.server_messages(), 4e4);
        assert_eq!(SMALL.servers_needed(), 1.0);
        assert!(Deployment { devices: 1e6, ..SMALL }.servers_needed() > 1.0);
    }

    #[test]
    fn the_catalog_costs_in_proportion_to_workers_and_keys() {
        let large = Deployment { workers: 1000.0, keys: 10_000.0, ..SMALL };
        assert!((large.start_bytes() / SMALL.start_bytes() - 1000.0).abs() < 1e-6);
        assert!((large.requests_at_rest() / SMALL.requests_at_rest() - 100.0).abs() < 1e-6);
        assert!((large.requests_at_rest() - 2000.0 / RECONCILE.as_secs_f64()).abs() < 1e-6);
        assert!((large.fetch_bytes(1e6) / SMALL.fetch_bytes(1e6) - 100.0).abs() < 1e-6);
        assert!(large.start_seconds() > SMALL.start_seconds() && large.reconnect_seconds() > SMALL.reconnect_seconds());
    }

    #[test]
    fn the_first_limit_is_the_most_used_resource() {
        let limit = Deployment { devices: 1e6, ..SMALL }.first_limit();
        assert!(limit.share > 1.0, "{limit:?}");
        let idle = Deployment { devices: 1e6, period: 3600.0, ..SMALL }.first_limit();
        assert_eq!(idle.name, "a server's memory");
        let slow = Deployment { workers: 1.0, devices: 1e6, period: 1.0, ..SMALL }.first_limit();
        assert_eq!(slow.name, "workers");
    }
}
