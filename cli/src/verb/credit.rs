//! `tallymill credit`: balance and statement.

use std::process::ExitCode;

use tallymill_sdk::model::TransferView;

use super::client;
use crate::args::{Common, CreditVerb};
use crate::ui;

pub async fn run(common: &Common, verb: CreditVerb) -> anyhow::Result<ExitCode> {
    match verb {
        CreditVerb::Balance => balance(common).await,
        CreditVerb::Statement => statement(common).await,
    }
}

async fn balance(common: &Common) -> anyhow::Result<ExitCode> {
    let view = client(common).await?.balance().await?;
    if common.json {
        ui::json(&view)?;
    } else {
        ui::line(format!("account    {}", view.id));
        ui::line(format!("available  {} credits", ui::credits(view.available)));
        ui::line(format!("pending    {} credits", ui::credits(view.pending)));
        ui::line(format!("held       {} credits", ui::credits(view.reserved)));
    }
    Ok(ExitCode::SUCCESS)
}

async fn statement(common: &Common) -> anyhow::Result<ExitCode> {
    let client = client(common).await?;
    let mut after = None;
    loop {
        let page = client.statement(after.as_deref()).await?;
        page.items.iter().try_for_each(|line| print(common, line))?;
        after = page.next;
        if after.is_none() {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

fn print(common: &Common, line: &TransferView) -> anyhow::Result<()> {
    if common.json {
        return ui::json(line);
    }
    let job = line.job.as_deref().map_or("", |job| job.get(..12).unwrap_or(job));
    ui::line(format!(
        "{:>8}  {:<10} {:>16}  {job}",
        line.id,
        ui::plain(&line.kind),
        ui::credits(line.amount)
    ));
    Ok(())
}
