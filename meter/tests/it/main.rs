//! The meter as a host sees it: guests in the text format, metered and run.

mod bulk;
mod differential;
mod fuel;
mod growth;
mod host;
mod limits;
mod refusals;
