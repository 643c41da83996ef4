//! The alternatives to Inferbus, and the clients that request them.

pub mod bare_wasmtime;
pub mod collector;
pub mod contestant;
pub mod http_client;
pub mod peers;
pub mod sandbox_peers;
pub mod stage_process;
