//! `tallymill open`: a link that signs a browser in, once.

use std::process::ExitCode;

use super::client;
use crate::args::Common;
use crate::ui;

pub async fn run(common: &Common) -> anyhow::Result<ExitCode> {
    let client = client(common).await?;
    let link = client.web_link().await?;
    if common.json {
        ui::json(&link)?;
        return Ok(ExitCode::SUCCESS);
    }
    let path = link.get("path").and_then(serde_json::Value::as_str);
    let path = path.ok_or_else(|| anyhow::anyhow!("the answer has no path"))?;
    ui::line(format!("{}{}", client.url(), ui::plain(path)));
    ui::note("open it in a browser within five minutes; it works once");
    Ok(ExitCode::SUCCESS)
}
