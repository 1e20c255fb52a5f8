//! Settings of a coordinator out of flags, variables, a file and defaults, and where each comes from.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::ArgMatches;
use clap::parser::ValueSource;
use serde::Deserialize;
use tallymill_coordinator::{Admission, Options, Retention, TlsFiles};
use tallymill_protocol::{AccountId, Micros, Network};
use tallymill_storage::Place;

use crate::args::{Secret, Settings};
use crate::fault::Usage;

/// How a time without an end is written.
const FOREVER: &str = "forever";
/// Least time for which uploads are kept, µs.
const LEAST_GRACE: u64 = 3_600 * Micros::SECOND;

/// Where a setting comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// The file.
    File(PathBuf),
    /// The environment.
    Variable,
    /// The command line.
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Variable => f.write_str("environment"),
            Self::Flag => f.write_str("flag"),
        }
    }
}

/// A setting as people read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Its name, that of its flag.
    pub name: &'static str,
    /// Its value; `None` where there is none.
    pub value: Option<String>,
    /// Who said so.
    pub origin: Origin,
}

/// A file of settings.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    coordinator: Section,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Section {
    data: Option<PathBuf>,
    database: Option<String>,
    blobs: Option<PathBuf>,
    listen: Option<SocketAddr>,
    network: Option<String>,
    public: Option<String>,
    shared: Option<String>,
    tls_cert: Option<PathBuf>,
    tls_key: Option<PathBuf>,
    allow_plain_http: Option<bool>,
    admission: Option<String>,
    operators: Option<Vec<String>>,
    retention: Option<String>,
    grace: Option<String>,
}

fn read(path: &Path) -> anyhow::Result<Section> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("failed to read the settings in {}", path.display()))?;
    let file: File = toml::from_str(&text).map_err(|error| {
        // The error shows the line, which may hold a password.
        let line = error.span().map_or(0, |span| text[..span.start].matches('\n').count() + 1);
        Usage(format!("{}, line {line}: {}", path.display(), error.message()))
    })?;
    Ok(file.coordinator)
}

/// What was typed or set, over what the file says.
pub struct Resolved {
    settings: Settings,
    section: Section,
}

impl Resolved {
    /// Reads the file, if one is named.
    ///
    /// # Errors
    /// When it cannot be read, or says what is no setting.
    pub fn of(settings: Settings) -> anyhow::Result<Self> {
        let section = settings.config.as_deref().map(read).transpose()?.unwrap_or_default();
        Ok(Self { settings, section })
    }

    fn data(&self) -> PathBuf {
        let said = self.settings.data.clone().or_else(|| self.section.data.clone());
        said.unwrap_or_else(|| PathBuf::from("coordinator"))
    }

    fn database(&self) -> Result<Option<Place>, Usage> {
        let said = self.settings.database.as_ref().map(|Secret(place)| place);
        let said = said.or(self.section.database.as_ref());
        let read = said.map(|place| place.parse().map_err(|e| Usage(format!("database: {e}"))));
        read.transpose()
    }

    fn blobs(&self) -> Option<PathBuf> {
        self.settings.blobs.clone().or_else(|| self.section.blobs.clone())
    }

    fn listen(&self) -> SocketAddr {
        let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 7411));
        self.settings.listen.or(self.section.listen).unwrap_or(here)
    }

    fn network(&self) -> String {
        let said = self.settings.network.clone().or_else(|| self.section.network.clone());
        said.unwrap_or_else(|| "localhost/tallymill".to_owned())
    }

    fn public(&self) -> Option<String> {
        self.settings.public.clone().or_else(|| self.section.public.clone())
    }

    fn shared(&self) -> Option<String> {
        self.settings.shared.clone().or_else(|| self.section.shared.clone())
    }

    fn tls_cert(&self) -> Option<PathBuf> {
        self.settings.tls_cert.clone().or_else(|| self.section.tls_cert.clone())
    }

    fn tls_key(&self) -> Option<PathBuf> {
        self.settings.tls_key.clone().or_else(|| self.section.tls_key.clone())
    }

    fn tls(&self) -> Result<Option<TlsFiles>, Usage> {
        match (self.tls_cert(), self.tls_key()) {
            (Some(cert), Some(key)) => Ok(Some(TlsFiles { cert, key })),
            (None, None) => Ok(None),
            (Some(_), None) => Err(Usage("tls-key: a certificate needs its key".to_owned())),
            (None, Some(_)) => Err(Usage("tls-cert: a key needs its certificate".to_owned())),
        }
    }

    fn allow_plain_http(&self) -> bool {
        self.settings.allow_plain_http || self.section.allow_plain_http.unwrap_or(false)
    }

    fn admission(&self) -> String {
        let said = self.settings.admission.clone().or_else(|| self.section.admission.clone());
        said.unwrap_or_else(|| "open".to_owned())
    }

    fn operators(&self) -> &[String] {
        match self.settings.operators.as_slice() {
            [] => self.section.operators.as_deref().unwrap_or_default(),
            said => said,
        }
    }

    fn retention(&self) -> String {
        let said = self.settings.retention.clone().or_else(|| self.section.retention.clone());
        said.unwrap_or_else(|| FOREVER.to_owned())
    }

    fn grace(&self) -> String {
        let said = self.settings.grace.clone().or_else(|| self.section.grace.clone());
        said.unwrap_or_else(|| "7d".to_owned())
    }

    /// How long things are kept.
    fn kept(&self) -> Result<Retention, Usage> {
        let (retention, grace) = (self.retention(), self.grace());
        let results = match retention.as_str() {
            FOREVER => None,
            text => Some(time("retention", text)?),
        };
        let uploads = time("grace", &grace)?;
        if uploads < LEAST_GRACE {
            let why = "1h at least: what a submission uploads must be there when its job is";
            return Err(Usage(format!("grace {grace}: {why}")));
        }
        Ok(Retention { results, uploads })
    }

    /// What to start a coordinator with.
    ///
    /// # Errors
    /// When a setting makes no sense.
    pub fn options(&self) -> Result<Options, Usage> {
        let network = Network::new(&self.network());
        let network = network.ok_or_else(|| {
            Usage("network: 1 to 128 bytes without control characters".to_owned())
        })?;
        let mut options = Options::new(self.listen(), self.data(), network);
        options.origin = self.public();
        options.shared = self.shared().as_deref().map(reached).transpose()?;
        options.tls = self.tls()?;
        options.allow_plain_http = self.allow_plain_http();
        if let Some(place) = self.database()? {
            options.database = place;
        }
        if let Some(folder) = self.blobs() {
            options.blobs = folder;
        }
        options.admission = match self.admission().as_str() {
            "open" => Admission::Open,
            "approved" => Admission::Approved,
            "closed" => Admission::Closed,
            other => return Err(Usage(format!("admission {other}: open, approved or closed"))),
        };
        let operators = self.operators().iter().map(|text| operator(text));
        options.operators = operators.collect::<Result<_, _>>()?;
        options.retention = self.kept()?;
        Ok(options)
    }

    /// Every setting; `typed` is what was typed and set.
    ///
    /// # Errors
    /// When the database's address makes no sense.
    pub fn shown(&self, typed: &ArgMatches) -> Result<Vec<Shown>, Usage> {
        let file = &self.section;
        let database = self.database()?.map(|place| match place {
            Place::File(path) => format!("sqlite:{}", path.display()),
            // Without its password.
            Place::Server(server) => server.to_string(),
        });
        let operators = Some(self.operators().join(",")).filter(|text| !text.is_empty());
        let shown = |path: Option<PathBuf>| path.map(|path| path.display().to_string());
        let plain = Some(self.allow_plain_http().to_string());
        let all: [(&'static str, Option<String>, bool); 14] = [
            ("data", Some(self.data().display().to_string()), file.data.is_some()),
            ("database", database, file.database.is_some()),
            ("blobs", shown(self.blobs()), file.blobs.is_some()),
            ("listen", Some(self.listen().to_string()), file.listen.is_some()),
            ("network", Some(self.network()), file.network.is_some()),
            ("public", self.public(), file.public.is_some()),
            ("shared", self.shared(), file.shared.is_some()),
            ("tls-cert", shown(self.tls_cert()), file.tls_cert.is_some()),
            ("tls-key", shown(self.tls_key()), file.tls_key.is_some()),
            ("allow-plain-http", plain, file.allow_plain_http.is_some()),
            ("admission", Some(self.admission()), file.admission.is_some()),
            ("operators", operators, file.operators.is_some()),
            ("retention", Some(self.retention()), file.retention.is_some()),
            ("grace", Some(self.grace()), file.grace.is_some()),
        ];
        let shown = all.into_iter().map(|(name, value, in_file)| {
            let path = self.settings.config.clone().filter(|_| in_file);
            let origin = match typed.value_source(&name.replace('-', "_")) {
                Some(ValueSource::CommandLine) => Origin::Flag,
                Some(ValueSource::EnvVariable) => Origin::Variable,
                _ => path.map_or(Origin::Default, Origin::File),
            };
            Shown { name, value, origin }
        });
        Ok(shown.collect())
    }
}

/// Where others reach a coordinator: scheme, host and port, and nothing behind them.
fn reached(text: &str) -> Result<String, Usage> {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let host = rest.map(|rest| rest.trim_end_matches('/'));
    match host {
        Some(host) if !host.is_empty() && !host.contains(['/', '?', '#', '@', ' ']) => {
            Ok(text.trim_end_matches('/').to_owned())
        }
        _ => Err(Usage(format!("shared {text}: http://HOST:PORT or https://HOST:PORT"))),
    }
}

/// A time: a number and its unit.
fn time(what: &str, text: &str) -> Result<u64, Usage> {
    let unit = |unit: char| match unit {
        's' => Some(Micros::SECOND),
        'm' => Some(60 * Micros::SECOND),
        'h' => Some(3_600 * Micros::SECOND),
        'd' => Some(Micros::DAY),
        _ => None,
    };
    let read = || {
        let (at, last) = text.char_indices().next_back()?;
        text[..at].parse::<u64>().ok()?.checked_mul(unit(last)?)
    };
    read().ok_or_else(|| Usage(format!("{what} {text}: a number and s, m, h or d, such as 90d")))
}

fn operator(text: &str) -> Result<AccountId, Usage> {
    text.parse().map_err(|e| Usage(format!("operator {text}: {e}; see: tallymill key show")))
}
