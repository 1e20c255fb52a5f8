//! A coordinator seen from outside, and its pipeline over a store that fails.

#[cfg(test)]
mod api;
mod backup;
#[cfg(test)]
mod collect;
#[cfg(test)]
mod document;
#[cfg(test)]
mod edge;
#[cfg(test)]
mod failing;
#[cfg(test)]
mod group;
#[cfg(test)]
mod journal;
#[cfg(test)]
mod pipeline;
#[cfg(test)]
mod pulse;
#[cfg(test)]
mod rates;
#[cfg(test)]
mod reads;
#[cfg(test)]
mod reports;
#[cfg(test)]
mod slow;
#[cfg(test)]
mod steps;
#[cfg(test)]
mod submissions;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod upgrade;
#[cfg(test)]
mod uploads;
#[cfg(test)]
mod world;
