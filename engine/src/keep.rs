//! Keeping the results of a job, whatever the time after which results are collected.

use tallymill_protocol::{AccountId, JobId};

use crate::admin::{MAX_REASON, field, note, operator};
use crate::api::Reply;
use crate::refusal::Refusal;
use crate::rows::{HoldKind, HoldRow};
use crate::state::Core;

/// Keeps results, or ends it. A payer or submitter keeps in the own name; an operator in that of the network, and ends what
/// anybody asked for.
pub fn on_keep(
    core: &mut Core,
    (job, of): (JobId, [AccountId; 2]),
    by: AccountId,
    reason: Option<String>,
) -> Result<Reply, Refusal> {
    let own = of.contains(&by);
    let operates = operator(core, by);
    if !own && operates.is_err() {
        let who = "its payer, its submitter and operators";
        return Err(Refusal::Forbidden { by, action: "keep results of this job", who });
    }
    let kind = if own { HoldKind::Payer } else { HoldKind::Operator };
    let subject = job.to_string();
    let Some(reason) = reason else {
        let kinds =
            if operates.is_ok() { [HoldKind::Payer, HoldKind::Operator] } else { [kind; 2] };
        core.out.batch.holds.retain(|row| row.job != job || !kinds.contains(&row.kind));
        core.out.batch.released.extend(kinds.map(|kind| (job, kind)));
        if !own {
            note(core, by, ("release", subject, String::new()));
        }
        return Ok(Reply::Done { subject: job.0.to_vec() });
    };
    if reason.len() > MAX_REASON {
        return Err(field("reason", format!("at most {MAX_REASON} bytes")));
    }
    if !own {
        note(core, by, ("keep", subject, reason.clone()));
    }
    let at = core.now;
    let batch = &mut core.out.batch;
    batch.released.retain(|released| *released != (job, kind));
    batch.holds.retain(|row| (row.job, row.kind) != (job, kind));
    batch.holds.push(HoldRow { job, kind, account: by, reason, at });
    Ok(Reply::Done { subject: job.0.to_vec() })
}
