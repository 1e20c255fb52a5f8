//! Whether a database that comes from elsewhere holds: its pages, its books, and every report with the receipts in it.

use tallymill_engine::rows::ReportRow;
use tallymill_ledger::GrantPolicy;
use tallymill_protocol::{CoordinatorId, Lease, Report, Signed, merkle};
use tallymill_storage::DatabaseFile;

use super::{BackupError, Manifest};

/// What was checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verified {
    /// Reports whose signature, root and leases hold.
    pub reports: u64,
    /// Receipts under those roots.
    pub receipts: u64,
    /// Transfers that give the balances.
    pub transfers: u64,
    /// Reports of which, their time being over, only the root in the log and the answer are kept: nothing of them can be
    /// checked.
    pub collected: u64,
}

/// Checks all of it.
pub(super) async fn all(
    database: &mut DatabaseFile,
    policy: GrantPolicy,
    manifest: &Manifest,
) -> Result<Verified, BackupError> {
    if let Some(damage) = database.damage().await? {
        return Err(BackupError::Untrue(format!("SQLite says: {damage}")));
    }
    if let Some(strays) = database.strays().await? {
        return Err(BackupError::Untrue(strays));
    }
    let audit = database.audit(policy).await?;
    if let Some(offence) = audit.offences.first() {
        let (rule, subject) = (offence.rule.phrase(), &offence.subject);
        let (found, expected) = (offence.found, offence.expected);
        let what = format!("{rule}: {found} instead of {expected} at {subject}");
        return Err(BackupError::Untrue(what));
    }
    let collected = database.collected().await?;
    let mut verified = Verified { transfers: audit.transfers, collected, ..Verified::default() };
    let mut after = 0;
    loop {
        let page = database.reports(after).await?;
        let Some(last) = page.last() else { return Ok(verified) };
        after = last.log_index;
        for row in &page {
            let holds = report(row, manifest)
                .map_err(|why| BackupError::Untrue(format!("the report {}: {why}", row.root)));
            verified.receipts += holds?;
            verified.reports += 1;
        }
    }
}

/// The receipts of a report that holds.
fn report(row: &ReportRow, manifest: &Manifest) -> Result<u64, String> {
    let signed = Signed::<Report>::new(row.envelope.clone());
    let report = signed.open(&row.host.into()).map_err(|error| error.to_string())?;
    let coordinator = report.coordinator;
    let rules = [
        (report.root == row.root, "it names another root"),
        (merkle::root(&row.leaves) == row.root, "its receipts have another root"),
        (report.count as usize == row.leaves.len(), "it has another number of receipts"),
        (report.host == row.host, "it is of another host"),
        (report.sequence == row.sequence, "it has another place among its host's reports"),
        (coordinator.to_string() == manifest.coordinator, "it is for another coordinator"),
    ];
    if let Some((_, why)) = rules.iter().find(|(holds, _)| !holds) {
        return Err((*why).to_owned());
    }
    for (digest, envelope) in &row.leases {
        let token = Signed::<Lease>::new(envelope.clone());
        lease(&token, coordinator).map_err(|why| format!("its lease {digest}: {why}"))?;
        if Lease::digest_of(token.payload()) != *digest {
            return Err(format!("its lease {digest} is another one"));
        }
    }
    Ok(row.leaves.len() as u64)
}

fn lease(token: &Signed<Lease>, coordinator: CoordinatorId) -> Result<(), String> {
    token.open(&coordinator.into()).map(drop).map_err(|error| error.to_string())
}
