//! The commands: one file each.

pub mod activate;
pub mod bench;
pub mod check;
pub mod compile_plugin;
pub mod completions;
pub mod dev;
pub mod dlq;
pub mod doctor;
pub mod infer;
pub mod list;
pub mod load_model;
pub mod push;
pub mod reference;
pub mod replay;
pub mod rollback;
pub mod route;
pub mod show;
pub mod status;
pub mod worker;
