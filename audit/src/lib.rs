//! Re-executes receipts and checks them against their signatures.
//!
//! Two questions, two answers: [`check_signatures`] says whether a receipt is what the host signed, under a lease the coordinator
//! signed, for a job the submitter signed; [`Executor::verify`] says whether running the task again gives what the receipt says.
//! Segments of long tasks are verified one by one ([`verify_segment`]). Two hosts that disagree about
//! a segment are told apart by one step of it ([`first_turn`]), and by the first part of the state that differs after it ([`judge`]).
//! An [`Evidence`] file holds all that is needed for both but the blobs. A [`LocalReceipt`] is the same for a run without a network.
//! Everything a stranger needs is in the files: nothing here asks a server.

mod dispute;
mod encoding;
mod evidence;
mod execute;
mod local;
mod segment;
mod signatures;

pub use dispute::{Claims, Turn, Verdict, first_turn, judge};
pub use evidence::{Blobs, Evidence, EvidenceError, TableProof};
pub use execute::{Executor, Mismatch, Task, VerifyError};
pub use local::{LocalFile, LocalLimits, LocalOutcome, LocalReceipt, LocalVersions};
pub use segment::{Found, Part, PartResult, RunSegment, verify_segment};
pub use signatures::{Believed, Doubt, check_signatures};
