//! A worker and a server with their users: requests, streams, the catalog, misuse, commands and figures.

mod bad_entries;
mod bad_input;
mod bad_models;
mod batching;
mod commands;
mod compile_bomb;
mod connection;
mod crashes;
mod dead_letters;
mod doctor;
mod documents;
mod heldout;
mod hostile;
mod interop;
mod limits;
mod load_generator;
mod many_models;
mod open_inference;
mod reference;
mod replay;
mod roles;
mod routes;
mod shutdown;
mod streams;
mod telemetry;
mod version_bump;
