//! What can be typed: flags beat the environment, which beats a file of settings, which beats the defaults.

mod coordinator;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub use coordinator::{ConfigVerb, CoordinatorArgs, CoordinatorVerb, Settings, VARIABLES};

/// The variable that names the coordinator's database.
pub const DATABASE: &str = "TALLYMILL_DATABASE";

/// Text that may hold a password: it is never shown.
#[derive(Clone)]
pub struct Secret(pub String);

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// Share idle CPU with honest accounts.
#[derive(Debug, Parser)]
#[command(name = "tallymill", version, propagate_version = true)]
pub struct Cli {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    pub verb: Verb,
}

/// Where, who and how to print.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// The coordinator's address.
    #[arg(long, global = true, env = "TALLYMILL_URL", default_value = "http://127.0.0.1:7411")]
    pub url: String,
    /// Certificates of authorities (PEM) to trust over https, beside those of this system.
    #[arg(long, global = true, env = "TALLYMILL_CA", value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Your key file; made when it does not exist.
    #[arg(long, global = true, env = "TALLYMILL_KEY")]
    pub key: Option<PathBuf>,
    /// Print JSON, one document per line.
    #[arg(long, global = true)]
    pub json: bool,
    /// Log more to stderr; repeat for still more.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Start a whole network on this machine: coordinator, workers, a funded account.
    Dev(DevArgs),
    /// Print a link that signs a browser in, once.
    Open,
    /// Run a coordinator (super-node).
    Coordinator(CoordinatorArgs),
    /// Lend this machine: join, status, pause, resume, finish, doctor.
    Worker(WorkerArgs),
    /// Run a WASI program here, in the sandbox, and print its output.
    Run(RunArgs),
    /// Say what a job would cost at most.
    Quote(SubmitArgs),
    /// Submit a job.
    Submit(SubmitArgs),
    /// Jobs: list, show, watch, results, logs, cancel, keep, release, why, receipt.
    #[command(subcommand)]
    Job(JobVerb),
    /// Credit: balance, statement.
    #[command(subcommand)]
    Credit(CreditVerb),
    /// Check a receipt: signatures, then re-execution.
    Verify(VerifyArgs),
    /// For operators: grant, suspend, lift, approve, audit.
    #[command(subcommand)]
    Admin(AdminVerb),
    /// Keys: new, show, rotate, revoke.
    #[command(subcommand)]
    Key(KeyVerb),
    /// Settings of a coordinator: show.
    #[command(subcommand)]
    Config(ConfigVerb),
    /// Print completions for a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Write the man pages into a folder.
    Man {
        /// The folder.
        folder: PathBuf,
    },
}

#[derive(Debug, Args)]
pub struct DevArgs {
    /// Where the network keeps its files.
    #[arg(long, default_value = ".tallymill")]
    pub state: PathBuf,
    /// Workers, each of another owner.
    #[arg(long, default_value_t = 2)]
    pub workers: u32,
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:7411")]
    pub listen: std::net::SocketAddr,
    /// Speak plain HTTP also where others can reach it.
    #[arg(long)]
    pub allow_plain_http: bool,
    /// Credits granted to your account.
    #[arg(long, default_value_t = 25_000)]
    pub credits: u32,
}

#[derive(Debug, Args)]
pub struct WorkerArgs {
    /// Where the worker keeps keys, cache and outbox.
    #[arg(long, env = "TALLYMILL_WORKER", default_value = "worker", global = true)]
    pub state: PathBuf,
    #[command(subcommand)]
    pub verb: WorkerVerb,
}

#[derive(Debug, Subcommand)]
pub enum WorkerVerb {
    /// Join the coordinator at --url and work until stopped.
    Join(JoinArgs),
    /// Say in one sentence whether it works, and why not.
    Status,
    /// Finish no task, take no lease, until resumed.
    Pause,
    /// Go on.
    Resume,
    /// Finish what is leased, then stop.
    Finish,
    /// Find out whether this machine can confine what jobs run, by trying to get out.
    Doctor,
}

#[derive(Debug, Args)]
pub struct JoinArgs {
    /// Tasks to run at once.
    #[arg(long, default_value_t = 1)]
    pub slots: u32,
    /// Lowest tariff accepted, micro-credits per 10^9 fuel.
    #[arg(long, default_value_t = 0)]
    pub min_tariff: u64,
    /// Least share of the ordinary price of processor time that others' jobs must pay, percent; 0 asks for nothing.
    #[arg(long, default_value_t = 50)]
    pub least_pay: u32,
    /// Seconds of processor time that one submitter's jobs may use without paying for it, before they are refused for a while.
    #[arg(long, default_value_t = 10)]
    pub patience: u64,
    /// Bytes that cached modules and files may take.
    #[arg(long, default_value_t = 2 << 30)]
    pub cache: u64,
    /// Run strangers' jobs although this machine cannot confine them: see `worker doctor`.
    #[arg(long)]
    pub allow_unconfined: bool,
    /// Work only for these submitters (repeatable).
    #[arg(long = "accept-submitter")]
    pub accept_submitters: Vec<String>,
    /// Never work for these submitters.
    #[arg(long = "refuse-submitter")]
    pub refuse_submitters: Vec<String>,
    /// Work only on jobs with one of these tags.
    #[arg(long = "accept-tag")]
    pub accept_tags: Vec<String>,
    /// Never work on jobs with one of these tags.
    #[arg(long = "refuse-tag")]
    pub refuse_tags: Vec<String>,
    /// Run only these modules.
    #[arg(long = "accept-module")]
    pub accept_modules: Vec<String>,
    /// Never run these modules.
    #[arg(long = "refuse-module")]
    pub refuse_modules: Vec<String>,
}

/// Limits of one task.
#[derive(Debug, Clone, Default, Args)]
pub struct LimitArgs {
    /// Fuel.
    #[arg(long)]
    pub fuel: Option<u64>,
    /// Linear memory, MiB.
    #[arg(long)]
    pub memory: Option<u64>,
    /// Standard output, MiB.
    #[arg(long)]
    pub output: Option<u64>,
}

#[derive(Debug, Args)]
pub struct RunArgs {
    /// The program: a WebAssembly module with the WASI preview 1 interface.
    pub module: PathBuf,
    /// Standard input; "-" or nothing is this command's own when it is not a terminal.
    #[arg(long)]
    pub stdin: Option<PathBuf>,
    /// A named read-only file, NAME=FILE (repeatable).
    #[arg(long = "input", value_name = "NAME=FILE")]
    pub inputs: Vec<String>,
    /// A variable of the environment, K=V (repeatable).
    #[arg(long = "env", value_name = "K=V")]
    pub env: Vec<String>,
    /// Write the receipt as JSON to this file.
    #[arg(long)]
    pub receipt: Option<PathBuf>,
    /// Seed of the guest's randomness, 64 hexadecimal digits.
    #[arg(long)]
    pub seed: Option<String>,
    /// Wall-clock limit, seconds.
    #[arg(long, default_value_t = 3_600)]
    pub wall: u64,
    /// The module works in steps: fuel of a step, and fuel after which it goes on from a snapshot in a new process.
    #[arg(long, value_name = "BUDGET:SEGMENT", conflicts_with = "receipt")]
    pub steps: Option<String>,
    #[command(flatten)]
    pub limits: LimitArgs,
    /// Arguments of the program.
    #[arg(last = true)]
    pub args: Vec<String>,
}

#[derive(Debug, Args)]
pub struct SubmitArgs {
    /// The program.
    pub module: PathBuf,
    /// One task per number, FROM..=TO.
    #[arg(long, conflicts_with_all = ["lines", "files"])]
    pub range: Option<String>,
    /// One task per line of this file.
    #[arg(long, conflicts_with = "files")]
    pub lines: Option<PathBuf>,
    /// One task per file.
    #[arg(long = "stdin")]
    pub files: Vec<PathBuf>,
    /// A named read-only file, NAME=FILE (repeatable).
    #[arg(long = "input", value_name = "NAME=FILE")]
    pub inputs: Vec<String>,
    /// A variable of the environment, K=V (repeatable).
    #[arg(long = "env", value_name = "K=V")]
    pub env: Vec<String>,
    /// Hosts of different owners that must agree; 1 runs it once, on your own machines only.
    #[arg(long, default_value_t = 2)]
    pub quorum: u8,
    /// The module works in steps: fuel of a step, and fuel after which another machine may go on (2^22 at least).
    #[arg(long, value_name = "BUDGET:SEGMENT", requires = "fuel")]
    pub steps: Option<String>,
    /// The most it may cost, credits.
    #[arg(long)]
    pub budget: Option<u64>,
    /// What it offers, micro-credits per 10^9 fuel: more for programs that wait for memory a lot, see `quote`.
    #[arg(long, default_value_t = 1_000_000)]
    pub tariff: u64,
    /// What it offers for each task besides, micro-credits.
    #[arg(long, default_value_t = 0)]
    pub task_price: u64,
    /// 0 to 9 among your own jobs, 9 first.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(0..=9))]
    pub priority: u8,
    /// Seed of the program's randomness, 64 hexadecimal digits; zeros otherwise.
    #[arg(long, value_name = "HEX")]
    pub seed: Option<String>,
    /// Stop what is not decided after this many hours.
    #[arg(long, default_value_t = 24)]
    pub hours: u64,
    /// Name for people.
    #[arg(long)]
    pub title: Option<String>,
    /// A tag (repeatable).
    #[arg(long = "tag")]
    pub tags: Vec<String>,
    /// Show inputs and outputs to nobody else.
    #[arg(long)]
    pub private: bool,
    /// Wait and print the results.
    #[arg(long)]
    pub wait: bool,
    #[command(flatten)]
    pub limits: LimitArgs,
    /// Arguments of the program.
    #[arg(last = true)]
    pub args: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub enum JobVerb {
    /// Your jobs.
    List,
    /// One job's totals.
    Show {
        /// The job's id.
        job: String,
    },
    /// Follow it until it is over.
    Watch {
        /// The job's id.
        job: String,
    },
    /// Print its results in the order of its tasks.
    Results {
        /// The job's id.
        job: String,
        /// Write each output to this folder instead, named by its task.
        #[arg(long)]
        into: Option<PathBuf>,
    },
    /// Print what a task wrote to standard error.
    Logs {
        /// The job's id.
        job: String,
        /// The task.
        task: u32,
    },
    /// Stop it: what ran is paid, the rest of the credit returns.
    Cancel {
        /// The job's id.
        job: String,
        /// Why, for its workers and pages.
        #[arg(long, default_value = "cancelled by the submitter")]
        reason: String,
    },
    /// Keep its results until they are released, however long the coordinator keeps those of others.
    Keep {
        /// The job's id.
        job: String,
        /// Why, for those who see the job.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Keep its results no longer than those of others.
    Release {
        /// The job's id.
        job: String,
    },
    /// Say why its tasks wait.
    Why {
        /// The job's id.
        job: String,
    },
    /// Write the evidence of a task's result, for `tallymill verify`.
    Receipt {
        /// The job's id.
        job: String,
        /// The task.
        task: u32,
        /// Of a long task, the segment, from 0; the last one when left out.
        #[arg(long)]
        segment: Option<u32>,
        /// The file.
        #[arg(long, short)]
        out: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub enum CreditVerb {
    /// What you have, what is pending, what is held.
    Balance,
    /// Every transfer.
    Statement,
}

#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// A receipt written by `run --receipt` or `job receipt`.
    pub receipt: PathBuf,
    /// The module; fetched from the coordinator when it is not given.
    #[arg(long)]
    pub module: Option<PathBuf>,
    /// The task's standard input; of a receipt from a coordinator it is computed, or fetched when it is not given.
    #[arg(long)]
    pub stdin: Option<PathBuf>,
    /// Its named files, NAME=FILE; of a receipt from a coordinator those that are not given are fetched.
    #[arg(long = "input", value_name = "NAME=FILE")]
    pub inputs: Vec<String>,
    /// Of a segment of a long task, the snapshot it began from; fetched from the coordinator when it is not given.
    #[arg(long)]
    pub snapshot: Option<PathBuf>,
    /// The coordinator's key that leases must be signed with, hex.
    #[arg(long)]
    pub coordinator: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum AdminVerb {
    /// Grant credit to an account.
    Grant {
        /// The account.
        account: String,
        /// Credits.
        credits: u64,
    },
    /// Stop leases of an account, module, job or host.
    Suspend {
        /// account, module, job or host.
        kind: String,
        /// Its id.
        subject: String,
        /// Why, for everybody to read.
        reason: String,
    },
    /// Let what was suspended get leases again.
    Lift {
        /// account, module, job or host.
        kind: String,
        /// Its id.
        subject: String,
        /// Why, for everybody to read.
        reason: String,
    },
    /// Let in an account that waits for it.
    Approve {
        /// The account.
        account: String,
    },
    /// Check the invariants of the whole ledger.
    Audit,
}

#[derive(Debug, Subcommand)]
pub enum KeyVerb {
    /// Make a key file.
    New {
        /// The file.
        file: PathBuf,
    },
    /// Print your account.
    Show,
    /// Move your account to a new key.
    Rotate {
        /// The new key file; made by this command.
        file: PathBuf,
        /// Sign with the account's recovery key in this file: the present key is lost or stolen.
        #[arg(long, value_name = "FILE", requires = "account")]
        recovery: Option<PathBuf>,
        /// The account that is recovered.
        #[arg(long, requires = "recovery")]
        account: Option<String>,
    },
    /// Withdraw one of your hosts.
    Revoke {
        /// The host.
        host: String,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_password_in_the_database_is_not_shown() {
        let words = ["tallymill", "coordinator", "--database", "postgres://m:s3cret@h/mill"];
        let cli = Cli::try_parse_from(words).unwrap();
        assert!(!format!("{cli:?}").contains("s3cret"));
        let Verb::Coordinator(args) = cli.verb else { panic!("another verb") };
        assert_eq!(args.settings.database.unwrap().0, words[3]);
    }
}
