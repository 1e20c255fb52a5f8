//! `tallymill admin`: grants, suspensions and their lifting, approvals, the audit of the ledger.

use std::process::ExitCode;

use tallymill_protocol::AccountId;

use super::client;
use crate::args::{AdminVerb, Common};
use crate::fault::{NotVerified, Usage};
use crate::ui;

pub async fn run(common: &Common, verb: AdminVerb) -> anyhow::Result<ExitCode> {
    let client = client(common).await?;
    let (made, said) = match verb {
        AdminVerb::Grant { account, credits } => {
            let micros = credits
                .checked_mul(1_000_000)
                .ok_or_else(|| Usage("too many credits".to_owned()))?;
            let made = client.grant(named(&account)?, micros).await?;
            (made, format!("granted {credits} credits to {account}"))
        }
        AdminVerb::Suspend { kind, subject, reason } => {
            let made = client.suspend(&kind, &subject, &reason).await?;
            (made, format!("suspended {kind} {subject}"))
        }
        AdminVerb::Lift { kind, subject, reason } => {
            let made = client.lift(&kind, &subject, &reason).await?;
            (made, format!("{kind} {subject} gets leases again"))
        }
        AdminVerb::Approve { account } => {
            (client.approve(named(&account)?).await?, format!("account {account} is let in"))
        }
        AdminVerb::Audit => return audit(common, &client.audit().await?),
    };
    if common.json {
        ui::json(&made)?;
    } else {
        ui::line(said);
    }
    Ok(ExitCode::SUCCESS)
}

fn named(account: &str) -> Result<AccountId, Usage> {
    account.parse().map_err(|e| Usage(format!("'{account}' is not an account: {e}")))
}

/// Prints what the audit found; a broken rule is an error.
fn audit(common: &Common, report: &serde_json::Value) -> anyhow::Result<ExitCode> {
    if common.json {
        ui::json(report)?;
    } else {
        ui::line(ui::plain(&serde_json::to_string_pretty(report)?).replace("\\n", "\n"));
    }
    let violations = report.get("offences").and_then(serde_json::Value::as_array);
    match violations {
        Some(list) if list.is_empty() => Ok(ExitCode::SUCCESS),
        Some(list) => {
            Err(NotVerified(format!("{} violations of the ledger's invariants", list.len())).into())
        }
        None => Err(anyhow::anyhow!("the answer names no offences, not even an empty list")),
    }
}
