//! Money: every transfer of a batch, booked in one place.

use tallymill_ledger::{
    AccountKey, AccountKind, Amount, Batch as Prices, LedgerError, Transfer, earn, finalise,
    release,
};
use tallymill_protocol::{JobId, merkle};

use crate::rows::{BalanceRow, TransferRow};
use crate::state::Core;

/// Books a transfer.
///
/// # Errors
/// When the ledger's rules refuse it; nothing has changed then.
pub fn post(core: &mut Core, transfer: Transfer) -> Result<u64, LedgerError> {
    core.balances.apply(&transfer)?;
    core.counters.transfer += 1;
    let id = core.counters.transfer;
    for account in [transfer.debit, transfer.credit] {
        core.out.moved.insert(account, id);
        if let Some(owner) = owner_of(&account) {
            core.out.told.insert(owner);
        }
    }
    core.out.batch.transfers.push(TransferRow { id, transfer, at: core.now });
    Ok(id)
}

const fn owner_of(account: &AccountKey) -> Option<tallymill_protocol::AccountId> {
    match account.kind {
        AccountKind::Available { owner }
        | AccountKind::Granted { owner }
        | AccountKind::Pending { owner, .. } => Some(owner),
        _ => None,
    }
}

#[expect(
    clippy::expect_used,
    reason = "leases reserve the most a result can cost, so the escrow covers every result; books that say otherwise must stop the engine before the batch is committed"
)]
fn post_all(core: &mut Core, transfers: Result<Vec<Transfer>, LedgerError>) {
    for transfer in transfers.expect("prices are amounts") {
        post(core, transfer).expect("the escrow covers what its leases reserved");
    }
}

/// Pays what the results of this batch earned: one transfer into pending and one out of it per job and host. Their evidence
/// is the Merkle root over the leaves of the receipts they settle, in the order of tasks and
/// segments.
pub fn pay_earned(core: &mut Core, job_id: JobId) {
    let Some(job) = core.jobs.get_mut(&job_id) else { return };
    let accounts = job.accounts;
    for (payee, mut results) in std::mem::take(&mut job.earned) {
        results.sort_unstable_by_key(|(place, ..)| *place);
        let leaves: Vec<_> = results.iter().map(|(.., leaf)| *leaf).collect();
        let prices: Vec<Amount> = results.iter().map(|(_, amount, _)| *amount).collect();
        let prices = Prices { prices: &prices, evidence: merkle::root(&leaves) };
        post_all(core, earn(&accounts, &payee, &prices));
        post_all(core, finalise(&accounts, &payee, &prices));
    }
}

/// Gives back what is left of the escrow of a job that is over, and forgets the job.
pub fn close(core: &mut Core, job_id: JobId) {
    let Some(job) = core.jobs.get(&job_id) else { return };
    let back = release(&core.balances, &job.accounts, job.held(), 0);
    post_all(core, back);
    if let Some(job) = core.jobs.remove(&job_id) {
        core.ended.insert(&job.row);
    }
}

/// The rows of the balances that moved.
pub fn balance_rows(core: &mut Core) -> Vec<BalanceRow> {
    use tallymill_ledger::Book as _;
    let moved = std::mem::take(&mut core.out.moved);
    let row = |(account, sequence)| BalanceRow {
        account,
        amount: core.balances.balance(&account),
        sequence,
    };
    moved.into_iter().map(row).collect()
}
