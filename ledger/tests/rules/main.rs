//! The ledger's rules: random commands under all invariants, and each limit and error by itself.

#[cfg(test)]
mod books;
#[cfg(test)]
mod jobs;
#[cfg(test)]
mod prices;
#[cfg(test)]
mod random;
#[cfg(test)]
mod world;
