//! How clients reach a coordinator: over TLS, which the system's authorities and those of one more file vouch for, or
//! over plain HTTP.
//!
//! Every HTTP client of the workspace comes from here, so that TLS is one library with one kind of cryptography, and so
//! that what goes wrong with it is told in the same words by the worker and by the client library.

mod explain;
mod pinned;
mod ways;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use reqwest::{ClientBuilder, Url};
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

pub use explain::explain;
pub use pinned::pinned;
pub use ways::Ways;

/// Why there is no way to a coordinator.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// Not an address this can use.
    #[error("{0:?} is not a coordinator's address; it looks like https://host or http://host:port")]
    Url(String),
    /// The file of authorities cannot be read.
    #[error("failed to read the authorities in {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file of authorities holds none.
    #[error("{path} holds no certificate of an authority that can be used: {reason}")]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Nobody is trusted.
    #[error(
        "this system has no authorities to check a certificate with ({0}); name some with --ca"
    )]
    Nobody(String),
    /// The TLS library.
    #[error("failed to set TLS up")]
    Tls(#[from] rustls::Error),
}

/// Scheme, host and port of a coordinator, as a login names them.
///
/// # Errors
/// When it is not an http(s) address, or more than one.
pub fn origin(url: &str) -> Result<Url, TransportError> {
    let bad = || TransportError::Url(url.to_owned());
    let read = Url::parse(url).map_err(|_| bad())?;
    let known = matches!(read.scheme(), "http" | "https") && read.has_host();
    let bare = read.path() == "/" && read.query().is_none() && read.fragment().is_none();
    let nobody = read.username().is_empty() && read.password().is_none();
    if known && bare && nobody { Ok(read) } else { Err(bad()) }
}

/// A client for the coordinator at `url`; over https it trusts the system's authorities and those in `ca`.
///
/// It never goes on from https to http.
///
/// # Errors
/// When there are no authorities, or those in the file cannot be read.
pub fn client(url: &Url, ca: Option<&Path>) -> Result<ClientBuilder, TransportError> {
    if url.scheme() != "https" {
        return plain();
    }
    let mut roots = RootCertStore::empty();
    if let Some(path) = ca {
        let path = || path.to_owned();
        let bytes = std::fs::read(path())
            .map_err(|source| TransportError::Read { path: path(), source })?;
        let named = |reason| TransportError::Authorities { path: path(), reason };
        authorities(&mut roots, &bytes).map_err(named)?;
    }
    let system = rustls_native_certs::load_native_certs();
    // Some systems keep certificates that this library does not take; it trusts the others.
    roots.add_parsable_certificates(system.certs);
    if roots.is_empty() {
        let why: Vec<String> = system.errors.iter().map(ToString::to_string).collect();
        return Err(TransportError::Nobody(why.join(", ")));
    }
    Ok(with(roots)?.https_only(true))
}

/// A client for plain HTTP alone: it trusts nobody.
///
/// # Errors
/// When TLS cannot be set up at all.
pub fn plain() -> Result<ClientBuilder, TransportError> {
    Ok(with(RootCertStore::empty())?)
}

fn authorities(roots: &mut RootCertStore, pem: &[u8]) -> Result<(), String> {
    let mut found = false;
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
        found = true;
    }
    if found { Ok(()) } else { Err("there is no BEGIN CERTIFICATE in it".to_owned()) }
}

fn config(roots: RootCertStore) -> Result<ClientConfig, rustls::Error> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions()?;
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn with(roots: RootCertStore) -> Result<ClientBuilder, rustls::Error> {
    Ok(over(config(roots)?))
}

#[expect(clippy::disallowed_methods, reason = "this is where the others get theirs")]
fn over(config: ClientConfig) -> ClientBuilder {
    reqwest::Client::builder().tls_backend_preconfigured(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_scheme_host_and_port_and_nothing_else() {
        let origin = |url| origin(url).map(|url| url.origin().ascii_serialization()).ok();
        assert_eq!(origin("https://Mill.Example:443/").unwrap(), "https://mill.example");
        assert_eq!(origin("http://127.0.0.1:7411").unwrap(), "http://127.0.0.1:7411");
        for bad in
            ["mill.example", "ftp://a", "http://a/b", "http://me@a", "http://a?b", "http:a b"]
        {
            assert_eq!(origin(bad), None, "{bad}");
        }
    }

    #[test]
    fn authorities_that_cannot_be_read_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let (url, path) = (origin("https://mill.example").unwrap(), folder.path().join("ca.pem"));
        let told = |path: &Path| client(&url, Some(path)).unwrap_err().to_string();
        assert!(told(&path).contains("failed to read the authorities in "));
        std::fs::write(&path, "hello").unwrap();
        assert!(told(&path).contains("no BEGIN CERTIFICATE"), "{}", told(&path));
        let half = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        std::fs::write(&path, half).unwrap();
        assert!(told(&path).contains("ca.pem holds no certificate"), "{}", told(&path));
        // Over plain HTTP nobody needs to be trusted.
        assert!(client(&origin("http://mill.example").unwrap(), Some(&path)).is_ok());
    }
}
