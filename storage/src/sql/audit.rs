//! The audit of the ledger: the database adds up; only sums and what breaks a rule come here.

use sqlx::Connection;
use tallymill_ledger::{Amount, GrantPolicy};
use tallymill_protocol::CoordinatorId;

use super::load::plain;
use super::value::{Cells, cells};
use super::{Backend, sql};
use crate::{CorruptRow, LedgerAudit, Offence, ReadError, Rule};

/// Examines every rule over one state of the database.
pub(crate) async fn audit<B: Backend>(
    connection: &mut B::Connection,
    policy: GrantPolicy,
) -> Result<LedgerAudit, ReadError> {
    let mut snapshot = connection.begin_with(B::SNAPSHOT).await?;
    let tx = &mut snapshot;
    B::patient(tx).await?;
    let counts = plain::<B, (i64, i64)>(tx, sql!("audit/count"), cells![]).await?;
    let (transfers, balances) = counts.first().copied().unwrap_or_default();
    let sums = plain::<B, (Vec<u8>, i64)>(tx, sql!("audit/sums"), cells![]).await?;
    let sums = sums.into_iter().map(|(id, sum)| Ok((issuer(&id)?, sum)));
    let sums = sums.collect::<Result<Vec<_>, CorruptRow>>()?;
    let mut offences = unequal(&sums);
    let [each, all] = [policy.per_account, policy.total].map(Amount::micros);
    for (rule, sql, cells) in [
        (Rule::Floor, sql!("audit/floors"), cells![]),
        (Rule::BalanceIsTransfers, sql!("audit/balances"), cells![]),
        (Rule::EscrowCoversReserved, sql!("audit/escrow"), cells![]),
        (Rule::ClosedIsEmpty, sql!("audit/closed"), cells![]),
        (Rule::GrantsWithinLimits, sql!("audit/grants"), cells![policy.issuer, each, all]),
        (Rule::PaidOnce, sql!("audit/paid_once"), cells![]),
        (Rule::PayFollowsPayer, sql!("audit/payer"), cells![]),
    ] {
        offences.extend(examine::<B>(tx, rule, sql, cells).await?);
    }
    snapshot.rollback().await?;
    let (transfers, balances) = (transfers.unsigned_abs(), balances.unsigned_abs());
    Ok(LedgerAudit { transfers, balances, sums, offences })
}

/// The issuer of this id.
pub(super) fn issuer(id: &[u8]) -> Result<CoordinatorId, CorruptRow> {
    CoordinatorId::from_slice(id).ok_or_else(|| CorruptRow {
        table: "ledger_account",
        column: "issuer".to_owned(),
        key: hex(id),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Issuers whose balances do not sum to zero.
fn unequal(sums: &[(CoordinatorId, i64)]) -> Vec<Offence> {
    let unequal = sums.iter().filter(|(_, sum)| *sum != 0);
    let offence = |(issuer, sum): &(CoordinatorId, i64)| Offence {
        rule: Rule::SumIsZero,
        subject: issuer.to_string(),
        found: *sum,
        expected: 0,
    };
    unequal.map(offence).collect()
}

/// What breaks one rule.
async fn examine<B: Backend>(
    connection: &mut B::Connection,
    rule: Rule,
    sql: &'static str,
    cells: Cells,
) -> Result<Vec<Offence>, ReadError> {
    let found = plain::<B, (Vec<u8>, i64, i64)>(connection, sql, cells).await?;
    let offence = |(subject, found, expected): (Vec<u8>, _, _)| Offence {
        rule,
        subject: hex(&subject),
        found,
        expected,
    };
    Ok(found.into_iter().map(offence).collect())
}
