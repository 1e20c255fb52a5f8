//! What can be typed of a coordinator and its settings.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{DATABASE, Secret};

/// A coordinator, or what is done with its files.
#[derive(Debug, Args)]
pub struct CoordinatorArgs {
    /// How it is set up.
    #[command(flatten)]
    pub settings: Settings,
    /// What to do instead of running it.
    #[command(subcommand)]
    pub verb: Option<CoordinatorVerb>,
}

/// What a coordinator is set up with. A flag beats its variable, that beats the file, and that beats the default.
#[derive(Debug, Clone, Default, Args)]
pub struct Settings {
    /// A TOML file with settings: under [coordinator], the names that `config show` shows.
    #[arg(long, env = "TALLYMILL_CONFIG", value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Where the coordinator keeps its key, its blobs unless --blobs says otherwise, and its database unless --database does
    /// [default: coordinator].
    #[arg(long, env = "TALLYMILL_DATA", global = true)]
    pub data: Option<PathBuf>,
    /// The database: postgres://USER@HOST/NAME, or sqlite:FILE. A password comes from PGPASSWORD or a password file: what
    /// stands on a command line is seen by everybody on this machine.
    #[arg(long, env = DATABASE, hide_env_values = true, value_name = "PLACE", global = true)]
    pub database: Option<Secret>,
    /// The folder of blobs [default: blobs, below --data].
    #[arg(long, env = "TALLYMILL_BLOBS", value_name = "FOLDER", global = true)]
    pub blobs: Option<PathBuf>,
    /// Address to listen on; port 0 takes a free one [default: 127.0.0.1:7411].
    #[arg(long, env = "TALLYMILL_LISTEN", global = true)]
    pub listen: Option<std::net::SocketAddr>,
    /// Name of the network: the origin of its log [default: localhost/tallymill].
    #[arg(long, env = "TALLYMILL_NETWORK")]
    pub network: Option<String>,
    /// Address that clients dial, when it is not the one listened on.
    #[arg(long, env = "TALLYMILL_PUBLIC")]
    pub public: Option<String>,
    /// Where other coordinators on the same database reach this one (http://HOST:PORT): one of them serves, the others
    /// stand by, pass requests on to it, and take over when it stops. All have the same key and blobs.
    #[arg(long, env = "TALLYMILL_SHARED", value_name = "URL")]
    pub shared: Option<String>,
    /// Speak TLS with the certificate in this file (PEM: its own, then those that lead to its authority). A file that changes is
    /// read again.
    #[arg(long, env = "TALLYMILL_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// The certificate's key (PEM), which only its owner may read.
    #[arg(long, env = "TALLYMILL_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Speak plain HTTP also on an address that others can reach: everybody on the way reads what is said.
    #[arg(long, env = "TALLYMILL_ALLOW_PLAIN_HTTP")]
    pub allow_plain_http: bool,
    /// Who may join: open, approved or closed [default: open].
    #[arg(long, env = "TALLYMILL_ADMISSION")]
    pub admission: Option<String>,
    /// Accounts that may grant, suspend and audit; in the variable with commas between.
    #[arg(long = "operator", env = "TALLYMILL_OPERATORS", value_delimiter = ',')]
    pub operators: Vec<String>,
    /// How long results of a job are kept after its end: 90d, 12h, 30m, or forever [default: forever].
    #[arg(long, env = "TALLYMILL_RETENTION", value_name = "TIME")]
    pub retention: Option<String>,
    /// How long blobs that no job names are kept after their last upload, 1h at least [default: 7d].
    #[arg(long, env = "TALLYMILL_GRACE", value_name = "TIME")]
    pub grace: Option<String>,
}

/// Variables of the settings.
pub const VARIABLES: [&str; 15] = [
    "TALLYMILL_CONFIG",
    "TALLYMILL_DATA",
    DATABASE,
    "TALLYMILL_BLOBS",
    "TALLYMILL_LISTEN",
    "TALLYMILL_NETWORK",
    "TALLYMILL_PUBLIC",
    "TALLYMILL_SHARED",
    "TALLYMILL_TLS_CERT",
    "TALLYMILL_TLS_KEY",
    "TALLYMILL_ALLOW_PLAIN_HTTP",
    "TALLYMILL_ADMISSION",
    "TALLYMILL_OPERATORS",
    "TALLYMILL_RETENTION",
    "TALLYMILL_GRACE",
];

/// What is done with settings.
#[derive(Debug, Subcommand)]
pub enum ConfigVerb {
    /// Show every setting of a coordinator that is started here, with these flags.
    Show {
        /// Say where each comes from: flag, variable, file or default.
        #[arg(long)]
        origin: bool,
        /// Flags that such a coordinator would get.
        #[command(flatten)]
        settings: Settings,
    },
}

/// What is done with a coordinator's files.
#[derive(Debug, Subcommand)]
pub enum CoordinatorVerb {
    /// Copy database, blobs and key into a folder, also while the coordinator runs.
    Backup {
        /// The folder, which must not be there yet.
        into: PathBuf,
        /// Leave the coordinator's key out: without it nothing can be restored but by who has the key elsewhere.
        #[arg(long)]
        without_key: bool,
    },
    /// Ask the coordinator that listens as these settings say whether it is ready; exit code 1 when it is not.
    Health,
    /// Put a backup into a data directory (--data) in which no coordinator was.
    Restore {
        /// The folder of the backup.
        from: PathBuf,
        /// Check pages, books, and the signatures of all reports with their receipts before anything starts on it.
        #[arg(long)]
        verify: bool,
    },
}
