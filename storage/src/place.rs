//! Where a database is: a file, or a server.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use tallymill_engine::rows::Identity;

use crate::{OpenError, PlaceError, PostgresStore, Seat, Server, SqliteStore, Store, postgres};

/// Where a database is.
#[derive(Debug, Clone)]
pub enum Place {
    /// An SQLite file.
    File(PathBuf),
    /// A PostgreSQL server.
    Server(Server),
}

impl Place {
    /// Opens the database for writing, and takes its shards in a new epoch.
    ///
    /// # Errors
    /// When it cannot be used, or belongs to somebody else.
    pub async fn open(&self, identity: &Identity) -> Result<Arc<dyn Store>, OpenError> {
        Ok(match self {
            Self::File(path) => Arc::new(SqliteStore::open(path, identity).await?),
            Self::Server(server) => Arc::new(PostgresStore::connect(server, identity).await?),
        })
    }

    /// The seat of the database, for coordinators that take over from each other. Its schema is brought up to date.
    ///
    /// # Errors
    /// When it cannot be used, belongs to somebody else, or is a file.
    pub async fn seat(&self, identity: &Identity) -> Result<Arc<dyn Seat>, OpenError> {
        match self {
            Self::File(path) => Err(OpenError::Alone { path: path.display().to_string() }),
            Self::Server(server) => Ok(Arc::new(postgres::seat(server, identity).await?)),
        }
    }
}

impl FromStr for Place {
    type Err = PlaceError;

    /// `postgres://…`, `sqlite:FILE`, or a file.
    fn from_str(text: &str) -> Result<Self, PlaceError> {
        match text.split_once(':') {
            Some(("postgres" | "postgresql", rest)) if rest.starts_with("//") => {
                text.parse().map(Self::Server)
            }
            Some(("sqlite", path)) => Ok(Self::File(path.into())),
            Some((scheme, _)) if !scheme.contains(['/', '\\', '@']) => {
                Err(PlaceError::Scheme(scheme.to_owned()))
            }
            _ => Ok(Self::File(text.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> PathBuf {
        match text.parse().unwrap() {
            Place::File(path) => path,
            Place::Server(server) => panic!("{text} is {server}"),
        }
    }

    #[test]
    fn files_and_servers_are_told_apart() {
        assert_eq!(file("sqlite:data/a.db"), PathBuf::from("data/a.db"));
        assert_eq!(file("data/a.db"), PathBuf::from("data/a.db"));
        assert_eq!(file("./odd:name"), PathBuf::from("./odd:name"));
        for text in ["postgres://m@h/mill", "postgresql://m@h/mill"] {
            assert!(matches!(text.parse().unwrap(), Place::Server(_)));
        }
    }

    #[test]
    fn another_kind_of_database_is_refused_without_showing_its_address() {
        for text in ["mysql://m:s3cret@h/mill", "postgres:m:s3cret@h/mill"] {
            let error = text.parse::<Place>().unwrap_err();
            assert!(matches!(error, PlaceError::Scheme(_)), "{error:?}");
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
    }
}
