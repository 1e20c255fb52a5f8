//! What went wrong with TLS, in words that tell a person what to do.

use std::error::Error;
use std::io;

use rustls::{CertificateError, InvalidMessage};

/// What TLS has against a connection, and what to do about it; `None` when it is not TLS that failed.
///
/// ```
/// let error = std::io::Error::other(rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer));
/// assert!(tallymill_transport::explain(&error).unwrap().contains("--ca"));
/// ```
#[must_use]
pub fn explain(error: &(dyn Error + 'static)) -> Option<String> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<rustls::Error>() {
            return Some(of(found));
        }
        // What stands within an error of the system is not its source.
        let within = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = within.map(|within| within as &(dyn Error + 'static)).or_else(|| error.source());
    }
    None
}

fn of(error: &rustls::Error) -> String {
    use rustls::Error::{InvalidCertificate, InvalidMessage as Message};
    match error {
        InvalidCertificate(error) => of_certificate(error),
        Message(InvalidMessage::InvalidContentType) => {
            "what answers there speaks no TLS: is it http:// and not https://?".to_owned()
        }
        error => format!("TLS failed: {error}"),
    }
}

fn of_certificate(error: &CertificateError) -> String {
    const RENEW: &str = "its operator has to renew it, unless this machine's clock is wrong";
    match error {
        // Two authorities of one name differ in their keys alone.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => "its certificate is of an authority that this machine does not know; \
             name the authority's certificate with --ca (TALLYMILL_CA) if you trust it"
            .to_owned(),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            format!("its certificate has expired: {RENEW}")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            format!("its certificate is not valid yet: {RENEW}")
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            let (dialled, names) = (expected.to_str(), presented.iter().map(|name| bare(name)));
            let names = names.collect::<Vec<_>>().join(", ");
            format!(
                "its certificate is not for {dialled} but for {names}: dial it by such a name, or let its operator get \
                 a certificate for this one"
            )
        }
        CertificateError::NotValidForName => {
            "its certificate is for other names than the one dialled".to_owned()
        }
        error if error.to_string().contains("CaUsedAsEndEntity") => {
            "it shows an authority's own certificate; its operator has to make one for the server, signed by that \
             authority (CA:FALSE)"
                .to_owned()
        }
        error => format!("its certificate is not accepted: {error}"),
    }
}

/// A name as people write it: the library shows `DnsName("mill.example")` and `IpAddress(10.0.0.1)`.
fn bare(name: &str) -> &str {
    let within = name.split_once('(').and_then(|(_, name)| name.strip_suffix(')'));
    within.unwrap_or(name).trim_matches('"')
}

#[cfg(test)]
mod tests;
