//! Double-entry ledger rules: accounts, transfers, holds, prices and the invariants.
//!
//! Credit is integer micro-credits ([`Amount`]). Every account has an issuer, every transfer debits one account and
//! credits another of the same issuer, so the balances of an issuer always sum to zero. The deciding functions
//! ([`grant()`], [`hold`], [`earn`], [`surcharge`], [`finalise`], [`void`], [`release`], [`audit_pay`], [`clear`]) answer
//! with transfers and change nothing; [`Balances::apply`] books them and refuses what a floor or a route forbids.
//!
//! The life of a job's credit: `hold` moves available credit into the job's escrow; `earn` moves the price of results
//! into the pending account of (job, host); `finalise` makes it spendable, or `void` returns it to the escrow; `release`
//! gives back what is left when the last result is final.
//!
//! **Granted credit** is kept apart from earned credit, in the account [`AccountKind::Granted`]. It pays for any job, is
//! spent before earned credit, and becomes earned credit only in the hands of somebody else: what a host earns from a job
//! that its own owner pays for comes back as granted credit. Nobody can turn a grant into earnings by working for
//! themselves, no credit appears or vanishes in the loop, and only earned credit can be cleared to another issuer.
//!
//! The crate is pure: it reads no clock, draws no randomness and keeps nothing between calls.

mod account;
mod amount;
mod audit;
mod book;
mod decide;
mod grant;
mod price;
mod transfer;

pub use account::{AccountKey, AccountKind, LedgerAccountId};
pub use amount::{Amount, AmountError};
pub use audit::{INVARIANTS, Invariant, JobRecord, Records, Violation, check};
pub use book::{Applied, Balances, Book, LedgerError};
pub use decide::{
    Batch, Held, JobAccounts, Payee, Reservation, audit_pay, clear, earn, finalise, hold, release,
    reserve, surcharge, void,
};
pub use grant::{GrantPolicy, GrantsSoFar, grant};
pub use price::{
    PriceError, PricedUse, RANGE_INPUT_MAX, STORAGE_TERM, cap, most_per_result, most_per_segment,
    price, surcharge_on, total,
};
pub use transfer::{Transfer, TransferKind};
