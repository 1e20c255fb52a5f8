//! The address of a database on a server.

use std::fmt;
use std::str::FromStr;

use sqlx::postgres::PgConnectOptions;

/// What an address may say after its question mark. The driver passes over anything else, and names it with its value in
/// the log: a password under a mistyped name would stand there.
const PARAMETERS: [&str; 14] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "host",
    "port",
    "user",
    "password",
    "dbname",
];

/// Why an address is none. It never shows the address, which may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// Something else in front of the colon.
    #[error(
        "a database is postgres://USER@HOST/NAME, sqlite:FILE or a file; '{0}:' is none of them"
    )]
    Scheme(String),
    /// Not an address.
    #[error(
        "the database's address is wrong ({0}); it is written postgres://USER@HOST:PORT/NAME?sslmode=MODE"
    )]
    Address(String),
    /// An unknown parameter.
    #[error("the database's address has an unknown parameter '{0}'; known are {known}", known = PARAMETERS.join(", "))]
    Parameter(String),
    /// No database is named.
    #[error("the database's address names no database: postgres://USER@HOST/NAME")]
    Nameless,
}

/// A database on a PostgreSQL server: address, user, and password if it has one. Shown without the password.
#[derive(Clone)]
pub struct Server {
    /// Boxed: many settings, of a database that is opened once.
    options: Box<PgConnectOptions>,
    shown: String,
}

impl Server {
    /// How to connect.
    pub(crate) fn options(&self) -> PgConnectOptions {
        (*self.options).clone()
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Server").field(&self.shown).finish()
    }
}

impl FromStr for Server {
    type Err = PlaceError;

    /// What the address leaves out comes from PGHOST, PGPORT, PGUSER, PGPASSWORD, PGDATABASE and the password file, as
    /// everywhere with PostgreSQL.
    fn from_str(text: &str) -> Result<Self, PlaceError> {
        if let Some((_, query)) = text.split_once('?') {
            let names = query.split('&').map(|pair| pair.split('=').next().unwrap_or_default());
            if let Some(unknown) = names.into_iter().find(|name| !PARAMETERS.contains(name)) {
                return Err(PlaceError::Parameter(unknown.to_owned()));
            }
        }
        let options = PgConnectOptions::from_str(text);
        let options = options.map_err(|error| PlaceError::Address(error.to_string()))?;
        let options = options.application_name("tallymill");
        let name = options.get_database().ok_or(PlaceError::Nameless)?;
        let host =
            options.get_socket().map_or(options.get_host().into(), |it| it.display().to_string());
        let (user, port) = (options.get_username(), options.get_port());
        let shown = format!("postgres://{user}@{host}:{port}/{name}");
        Ok(Self { shown, options: Box::new(options) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> PlaceError {
        Server::from_str(text).unwrap_err()
    }

    #[test]
    fn an_address_is_shown_without_its_password() {
        for text in [
            "postgres://miller:s3cret@db.example:5433/mill?sslmode=require",
            "postgresql://db.example:5433/mill?user=miller&password=s3cret",
        ] {
            let server = Server::from_str(text).unwrap();
            assert_eq!(server.to_string(), "postgres://miller@db.example:5433/mill");
            assert!(!format!("{server:?}").contains("s3cret"));
        }
        let socket = Server::from_str("postgres://miller@h/mill?host=/run/postgresql").unwrap();
        assert_eq!(socket.to_string(), "postgres://miller@/run/postgresql:5432/mill");
    }

    #[test]
    fn a_wrong_address_is_refused_without_showing_it() {
        let errors = [
            refused("postgres://m:s3cret@h:port/mill"),
            refused("postgres://m:s3cret@h/mill?sslmode=sometimes"),
            refused("postgres://m:s3cret@h/mill?pasword=s3cret"),
            refused("postgres://m:s3cret@[h/mill"),
        ];
        assert!(errors.iter().all(|error| !error.to_string().contains("s3cret")), "{errors:?}");
        assert_eq!(errors[2], PlaceError::Parameter("pasword".to_owned()));
        assert_eq!(refused("postgres://m:s3cret@h"), PlaceError::Nameless);
    }
}
