//! The kernel against a real app that nobody here wrote: Kinto, started on loopback.
//!
//! Each test starts a Kinto of its own and keeps it in agreement with records of the
//! embedded store, as a configuration file of this folder and the connector file
//! `fixtures/connectors/kinto.toml` say. What must come out is worked out here anew,
//! naively, and read from both sides directly: nothing of the kernel's own judgement is
//! used to judge it.
//!
//! Not part of `cargo test`, because it installs Kinto (once, below
//! `$SYNCLINE_CACHE`): `cargo test --test real`.

mod app;
mod backfill;
mod contacts;
mod contract;
mod directus;
mod fields;
mod harness;
mod history;
mod kinto;
mod records;
mod replay;
mod served;
