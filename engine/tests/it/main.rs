//! The engine's rules, each as a script over a small world.

#[cfg(test)]
mod accounts;
#[cfg(test)]
mod chains;
#[cfg(test)]
mod keeps;
#[cfg(test)]
mod leases;
#[cfg(test)]
mod random;
#[cfg(test)]
mod reload;
#[cfg(test)]
mod reports;
#[cfg(test)]
mod steps;
#[cfg(test)]
mod stops;
#[cfg(test)]
mod store;
#[cfg(test)]
mod submission;
#[cfg(test)]
mod voids;
#[cfg(test)]
mod waits;
#[cfg(test)]
mod world;
