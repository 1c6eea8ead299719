//! The kernel against Directus, a second real app, with habits quite unlike Kinto's: it
//! tells of changes by webhooks that come unsigned, unordered and once; it answers 403
//! for what is gone, and its items have no modified time until their first update.
//!
//! Ignored, because Directus takes minutes and a gigabyte to install: `.ci/real`, or
//! `cargo test --test real -- --ignored directus`.

mod contract;
mod model;
mod peer;
mod story;
mod world;
