//! Databases of coordinators under test, and PostgreSQL for them.

use std::path::PathBuf;

use anyhow::Context;
use tallymill_postgres::Server;

use crate::repo;

/// A kind of database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// A file in the coordinator's folder.
    Sqlite,
    /// A server of its own, started for the purpose.
    Postgres,
}

/// Where a database is.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// An SQLite file.
    File(PathBuf),
    /// The address of a PostgreSQL database, with its password.
    Server(String),
}

/// A database for one coordinator. Dropping it stops its server.
pub(crate) struct Database(Option<(Server, String)>);

impl Database {
    /// Makes it, below the build folder and so on a real disk.
    pub(crate) fn start(kind: Kind) -> anyhow::Result<Self> {
        if kind == Kind::Sqlite {
            return Ok(Self(None));
        }
        ensure()?;
        let within = repo::target().join("tmp");
        std::fs::create_dir_all(&within)?;
        let server = Server::start_in(&within).context("failed to start PostgreSQL")?;
        let address = server.database()?;
        Ok(Self(Some((server, address))))
    }

    /// Its address, when it is on a server.
    pub(crate) fn address(&self) -> Option<String> {
        self.0.as_ref().map(|(_, address)| address.clone())
    }

    /// The process of its server.
    pub(crate) fn process(&self) -> anyhow::Result<Option<u32>> {
        Ok(self.0.as_ref().map(|(server, _)| server.id()).transpose()?)
    }
}

/// Installs PostgreSQL unless it is there.
pub(crate) fn ensure() -> anyhow::Result<()> {
    if tallymill_postgres::programs().is_err() {
        repo::install("postgresql").context("tests and benches need PostgreSQL")?;
        tallymill_postgres::programs()?;
    }
    Ok(())
}
