//! Re-executes receipts and checks them against their signatures.
//!
//! Two questions, two answers: [`check_signatures`] says whether a receipt is what the host signed, under a lease the coordinator
//! signed, for a job the submitter signed; [`Executor::verify`] says whether running the task again gives what the receipt says.
//! An [`Evidence`] file holds all that is needed for both but the blobs. A [`LocalReceipt`] is the same for a run without a network.
//! Everything a stranger needs is in the files: nothing here asks a server.

mod encoding;
mod evidence;
mod execute;
mod local;
mod signatures;

pub use evidence::{Blobs, Evidence, EvidenceError, TableProof};
pub use execute::{Executor, Mismatch, Task, VerifyError};
pub use local::{LocalFile, LocalLimits, LocalOutcome, LocalReceipt, LocalVersions};
pub use signatures::{Believed, Doubt, check_signatures};
