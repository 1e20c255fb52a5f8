//! A client that trusts one certificate whatever name it is for: that of the coordinator on this machine, whose file is here.

use std::path::Path;
use std::sync::Arc;

use reqwest::ClientBuilder;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

use crate::TransportError;

/// A client for the coordinator whose certificate is the first in this file.
///
/// # Errors
/// When the file cannot be read or holds no certificate.
pub fn pinned(file: &Path) -> Result<ClientBuilder, TransportError> {
    let path = || file.to_owned();
    let pem =
        std::fs::read(file).map_err(|source| TransportError::Read { path: path(), source })?;
    let first = CertificateDer::pem_slice_iter(&pem).next();
    let reason = || "there is no BEGIN CERTIFICATE in it".to_owned();
    let bad = |reason| TransportError::Authorities { path: path(), reason };
    let only = first.ok_or_else(|| bad(reason()))?.map_err(|error| bad(error.to_string()))?;
    let provider = Arc::new(ring::default_provider());
    let pinned = Pinned { only, provider: Arc::clone(&provider) };
    let config =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let config = config.dangerous().with_custom_certificate_verifier(Arc::new(pinned));
    Ok(crate::over(config.with_no_client_auth()).https_only(true))
}

#[derive(Debug)]
struct Pinned {
    only: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    // tidy: the library's signature
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match *end_entity == self.only {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
