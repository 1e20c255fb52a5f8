//! The engine's rules, each as a script over a small world.

mod accounts;
mod leases;
mod random;
mod reload;
mod reports;
mod stops;
mod store;
mod submission;
mod voids;
mod waits;
mod world;
