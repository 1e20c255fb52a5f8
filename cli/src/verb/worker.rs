//! `tallymill worker`: join, status, pause, resume, finish.

use std::path::Path;
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tallymill_sandbox::{Confinement, Launcher, Protection};
use tallymill_worker::{Command, Handle, Options, Rules, Sandboxed, Strangers, Worker};

use super::Stop;
use crate::args::{Common, JoinArgs, WorkerArgs, WorkerVerb};
use crate::fault::Usage;
use crate::{notify, ui};

/// Longest wall-clock time of one task; what runs longer is void here and goes to another host.
const WALL: Duration = Duration::from_secs(24 * 3_600);

pub async fn run(common: &Common, args: WorkerArgs) -> anyhow::Result<ExitCode> {
    match args.verb {
        WorkerVerb::Join(join) => work(common, &args.state, &join).await,
        WorkerVerb::Status => tell(common, &args.state, None).await,
        WorkerVerb::Pause => tell(common, &args.state, Some(Command::Pause)).await,
        WorkerVerb::Resume => tell(common, &args.state, Some(Command::Resume)).await,
        WorkerVerb::Finish => tell(common, &args.state, Some(Command::Finish)).await,
        WorkerVerb::Doctor => super::doctor::run(common),
    }
}

/// Says something to the worker that runs on this state folder, and prints what it is doing.
async fn tell(common: &Common, state: &Path, command: Option<Command>) -> anyhow::Result<ExitCode> {
    let status =
        tallymill_worker::ask_local(state, command).await.context("failed to ask the worker")?;
    if common.json {
        ui::json(&status)?;
    } else {
        ui::line(ui::plain(&status.sentence()));
    }
    Ok(ExitCode::SUCCESS)
}

async fn work(common: &Common, state: &Path, args: &JoinArgs) -> anyhow::Result<ExitCode> {
    let mut stop = Stop::listen()?;
    let mut handle = tokio::select! {
        started = start(common, state, args) => started?,
        () = stop.asked() => return Ok(ExitCode::SUCCESS),
    };
    tokio::select! {
        () = stop.asked() => {}
        () = notify::follow(&mut handle) => {}
    }
    notify::stopping();
    handle.shutdown().await;
    Ok(ExitCode::SUCCESS)
}

async fn start(common: &Common, state: &Path, args: &JoinArgs) -> anyhow::Result<Handle> {
    let joined = tallymill_worker::join(&common.url, state, common.ca.as_deref()).await?;
    if common.json {
        let (host, owner) =
            (joined.membership.host.to_string(), joined.membership.owner.to_string());
        ui::json(&serde_json::json!({ "host": host, "owner": owner }))?;
    } else {
        ui::line(ui::plain(&joined.visible).replace("\\n", "\n"));
    }
    let mut options = Options::new(common.url.clone(), state);
    options.ca.clone_from(&common.ca);
    options.slots = args.slots;
    options.cache_quota = args.cache;
    options.least_pay = args.least_pay;
    options.patience = Duration::from_secs(args.patience);
    options.rules = rules(args)?;
    let mut launcher = Launcher::current_exe().context("failed to find this program's own file")?;
    options.strangers = strangers(&launcher, args.allow_unconfined);
    if let Some(warning) = options.strangers.warning() {
        ui::note(format!("warning: {}; see `tallymill worker doctor`", ui::plain(&warning)));
        launcher = launcher.with_confinement(Confinement::Available);
    }
    let execute = Sandboxed::open(launcher, &state.join("modules"), args.cache, WALL)
        .context("failed to open the module cache")?;
    Worker::start(options, Arc::new(execute)).await.context("failed to start the worker")
}

/// Whether strangers' jobs run here: only where children cannot get out, unless the owner wishes otherwise.
fn strangers(launcher: &Launcher, allow_unconfined: bool) -> Strangers {
    let gap = Protection::examine(launcher).map_or_else(|e| Some(e.to_string()), |p| p.gap());
    match gap {
        None => Strangers::Confined,
        Some(gap) if allow_unconfined => Strangers::Unconfined(gap),
        Some(gap) => Strangers::Refused(gap),
    }
}

fn ids<T: FromStr<Err: std::fmt::Display>>(texts: &[String]) -> Result<Vec<T>, Usage> {
    let parse =
        |text: &String| text.parse().map_err(|e| Usage(format!("'{text}' is not an id: {e}")));
    texts.iter().map(parse).collect()
}

fn rules(args: &JoinArgs) -> Result<Rules, Usage> {
    Ok(Rules {
        submitters: ids(&args.accept_submitters)?,
        refused_submitters: ids(&args.refuse_submitters)?,
        tags: args.accept_tags.clone(),
        refused_tags: args.refuse_tags.clone(),
        modules: ids(&args.accept_modules)?,
        refused_modules: ids(&args.refuse_modules)?,
        min_tariff: args.min_tariff,
    })
}
