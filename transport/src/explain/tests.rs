//! Every way in which a handshake fails, on two ends in memory.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConnection, RootCertStore, ServerConfig, ServerConnection};

use super::*;

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A server for `mill.example`, its certificate changed.
    fn server(&self, change: impl FnOnce(&mut CertificateParams)) -> ServerConfig {
        let mut params = CertificateParams::new(vec!["mill.example".to_owned()]).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let made = params.signed_by(&key, &self.0).unwrap();
        serving(made.der().clone(), &key)
    }

    /// What a client that trusts this authority says of the server.
    fn judge(&self, server: ServerConfig, dialled: &str) -> Option<String> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let config = crate::config(roots).unwrap();
        let name = ServerName::try_from(dialled.to_owned()).unwrap();
        let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut server = ServerConnection::new(Arc::new(server)).unwrap();
        while client.is_handshaking() {
            let mut bytes = Vec::new();
            client.write_tls(&mut bytes).unwrap();
            server.read_tls(&mut bytes.as_slice()).unwrap();
            server.process_new_packets().unwrap();
            bytes.clear();
            server.write_tls(&mut bytes).unwrap();
            client.read_tls(&mut bytes.as_slice()).unwrap();
            if let Err(error) = client.process_new_packets() {
                return explain(&io::Error::other(error));
            }
        }
        None
    }
}

fn serving(certificate: CertificateDer<'static>, key: &KeyPair) -> ServerConfig {
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    config.with_single_cert(vec![certificate], key).unwrap()
}

#[track_caller]
fn says(found: Option<String>, words: &str) {
    let found = found.unwrap();
    assert!(found.contains(words), "{found}");
}

#[test]
fn a_certificate_that_is_right_is_taken() {
    let authority = Authority::new();
    assert_eq!(authority.judge(authority.server(|_| {}), "mill.example"), None);
}

#[test]
fn each_wrong_certificate_is_told_with_what_to_do() {
    let authority = Authority::new();
    let strange = Authority::new().server(|_| {});
    says(authority.judge(strange, "mill.example"), "name the authority's certificate with --ca");
    let other = authority.server(|_| {});
    says(authority.judge(other, "mall.example"), "not for mall.example but for mill.example");
    let by_number = authority.server(|_| {});
    says(authority.judge(by_number, "127.0.0.1"), "not for 127.0.0.1 but for mill.example");
    let number = authority.server(|params| {
        params.subject_alt_names = vec![rcgen::SanType::IpAddress([10, 0, 0, 1].into())];
    });
    says(authority.judge(number, "mill.example"), "not for mill.example but for 10.0.0.1:");
    let old = authority.server(|params| params.not_after = date_time_ymd(2020, 1, 1));
    says(authority.judge(old, "mill.example"), "has expired: its operator has to renew it");
    let early = authority.server(|params| params.not_before = date_time_ymd(3000, 1, 1));
    says(authority.judge(early, "mill.example"), "not valid yet");
}

#[test]
fn an_authority_that_serves_itself_is_told_apart() {
    let authority = Authority::new();
    let own = serving(authority.0.der().clone(), authority.0.key());
    says(authority.judge(own, "mill.example"), "signed by that authority");
}

#[test]
fn an_answer_without_tls_and_an_error_without_tls_are_told_apart() {
    let config = crate::config(RootCertStore::empty()).unwrap();
    let name = ServerName::try_from("mill.example").unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    client.read_tls(&mut &b"HTTP/1.1 400 Bad Request\r\n"[..]).unwrap();
    let error = client.process_new_packets().unwrap_err();
    says(explain(&io::Error::other(error)), "is it http:// and not https://?");
    assert_eq!(explain(&io::Error::from(io::ErrorKind::ConnectionRefused)), None);
}
