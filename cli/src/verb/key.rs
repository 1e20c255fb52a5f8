//! `tallymill key`: new, show, rotate, revoke.

use std::path::Path;
use std::process::ExitCode;

use tallymill_sdk::{Client, KeyFile};

use super::{client, key_path};
use crate::args::{Common, KeyVerb};
use crate::fault::Usage;
use crate::ui;

pub async fn run(common: &Common, verb: KeyVerb) -> anyhow::Result<ExitCode> {
    match verb {
        KeyVerb::New { file } => show(common, &KeyFile::create(&file)?)?,
        KeyVerb::Show => show(common, &KeyFile::load(&key_path(common))?)?,
        KeyVerb::Rotate { file, recovery, account } => {
            let client = match recovery.zip(account) {
                Some((recovery, account)) => recovering(common, &recovery, &account).await?,
                None => client(common).await?,
            };
            let next = KeyFile::create_for(&file, client.account())?;
            client.rotate(&next).await?;
            rotated(common, &next, &file)?;
        }
        KeyVerb::Revoke { host } => {
            let id = host.parse().map_err(|e| Usage(format!("'{host}' is not a host: {e}")))?;
            client(common).await?.revoke(id).await?;
            if common.json {
                ui::json(&serde_json::json!({ "host": host, "withdrawn": true }))?;
            } else {
                ui::note(format!("host {host} is withdrawn: its later reports do not count"));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A client that speaks for an account with its recovery key.
async fn recovering(common: &Common, file: &Path, account: &str) -> anyhow::Result<Client> {
    let id = account.parse().map_err(|e| Usage(format!("'{account}' is not an account: {e}")))?;
    let key = KeyFile::load(file)?.speaking_for(id);
    Ok(Client::connect_trusting(&common.url, key, common.ca.as_deref()).await?)
}

fn rotated(common: &Common, next: &KeyFile, file: &Path) -> anyhow::Result<()> {
    if common.json {
        return show(common, next);
    }
    ui::note(format!(
        "the account signs with {} now; keep the old file until you have a backup",
        file.display()
    ));
    Ok(())
}

fn show(common: &Common, key: &KeyFile) -> anyhow::Result<()> {
    let (account, public) = (key.account().to_string(), key.pair().public().to_string());
    if common.json {
        return ui::json(&serde_json::json!({ "account": account, "key": public }));
    }
    ui::line(account);
    Ok(())
}
