//! Whether connections to the database are encrypted, and whose certificate is believed: what its address says of it.
//!
//! | `sslmode` | encrypted | the certificate of the server |
//! |---|---|---|
//! | `disable` | no | |
//! | `prefer`, also when nothing is said | if the server can | any |
//! | `require` | or there is no connection | any; with `sslrootcert` as below |
//! | `verify-full` | or there is no connection | signed by one of the file `sslrootcert`, for the host of the address |
//!
//! These are the words of PostgreSQL's own programs. As with them, a socket of the same machine is not encrypted. A password is
//! bound to the connection wherever the server can (SCRAM with channel binding), so that nobody in between learns or uses it.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::DatabaseError;

/// What an address says that the driver does not read: it knows no certificates.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wishes {
    mode: Option<String>,
    /// A file of certificates in PEM.
    roots: Option<PathBuf>,
}

/// Believes every certificate, and still holds a server to the key in it.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

/// Reads the address of a database, and makes what encrypts connections to it.
///
/// # Errors
/// When the text is no such address, or the certificates that it names cannot be read.
pub(super) fn open(url: &str) -> Result<(Config, MakeRustlsConnect), DatabaseError> {
    let (address, wishes) = split(url);
    // The text may hold a password: what is wrong with it is told, not the text.
    let mut config = Config::from_str(&address).map_err(|error| DatabaseError::Address(format!("the text after --index ({error})")))?;
    let (mode, is_verified) = match wishes.mode.as_deref() {
        Some("disable") => (SslMode::Disable, false),
        None | Some("prefer") => (SslMode::Prefer, false),
        Some("require") => (SslMode::Require, wishes.roots.is_some()),
        Some("verify-full") => (SslMode::Require, true),
        Some(other) => return Err(DatabaseError::Tls(format!("sslmode={other} is none of disable, prefer, require and verify-full"))),
    };
    let is_here = config.get_hosts().iter().all(|host| matches!(host, Host::Unix(_)));
    config.ssl_mode(if is_here && config.get_hostaddrs().is_empty() { SslMode::Disable } else { mode });
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| DatabaseError::Tls(error.to_string()))?;
    let tls = if is_verified {
        builder.with_root_certificates(roots(wishes.roots.as_deref())?).with_no_client_auth()
    } else {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider))).with_no_client_auth()
    };
    Ok((config, MakeRustlsConnect::new(tls)))
}

/// Takes what is said of encryption out of an address.
fn split(url: &str) -> (String, Wishes) {
    let mut wishes = Wishes::default();
    let Some((address, query)) = url.split_once('?') else { return (url.to_owned(), wishes) };
    let mut rest = Vec::new();
    for part in query.split('&') {
        match part.split_once('=') {
            Some(("sslmode", mode)) => wishes.mode = Some(mode.to_owned()),
            Some(("sslrootcert", file)) => wishes.roots = Some(PathBuf::from(file)),
            _ => rest.push(part),
        }
    }
    (if rest.is_empty() { address.to_owned() } else { format!("{address}?{}", rest.join("&")) }, wishes)
}

fn roots(file: Option<&Path>) -> Result<RootCertStore, DatabaseError> {
    let unnamed = "sslmode=verify-full needs the certificates of those whose signature is believed: add \
                   &sslrootcert=FILE, for public ones /etc/ssl/certs/ca-certificates.crt";
    let file = file.ok_or_else(|| DatabaseError::Tls(unnamed.to_owned()))?;
    let unread = |why: &dyn std::fmt::Display| DatabaseError::Tls(format!("sslrootcert={} cannot be read: {why}", file.display()));
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| unread(&error))? {
        // Those of a system may be of kinds that are not known here: what is signed by the others holds.
        if let Err(error) = roots.add(certificate.map_err(|error| unread(&error))?) {
            tracing::debug!(%error, "a certificate of sslrootcert is left out");
        }
    }
    if roots.is_empty() {
        return Err(unread(&"there is no certificate in it"));
    }
    Ok(roots)
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _between: &[CertificateDer<'_>],
        _host: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(url: &str) -> SslMode {
        open(url).unwrap().0.get_ssl_mode()
    }

    #[test]
    fn what_an_address_says_of_encryption_is_taken_out_of_it() {
        let (rest, wishes) = split("postgres://a:b@c/d?sslmode=verify-full&application_name=x&sslrootcert=/etc/ca.pem");
        assert_eq!(rest, "postgres://a:b@c/d?application_name=x");
        assert_eq!(wishes, Wishes { mode: Some("verify-full".to_owned()), roots: Some("/etc/ca.pem".into()) });
        assert_eq!(split("postgres://a@c/d?sslmode=require").0, "postgres://a@c/d");
        assert_eq!(split("postgres://a@c/d"), ("postgres://a@c/d".to_owned(), Wishes::default()));
    }

    #[test]
    fn connections_to_other_machines_are_encrypted_unless_it_is_said_otherwise() {
        assert_eq!(mode("postgres://a@c/d"), SslMode::Prefer);
        assert_eq!(mode("postgres://a@c/d?sslmode=require"), SslMode::Require);
        assert_eq!(mode("postgres://a@c/d?sslmode=disable"), SslMode::Disable);
        assert_eq!(mode("postgres:///d?user=a&host=/run/postgresql&sslmode=require"), SslMode::Disable);
    }

    #[test]
    fn what_cannot_be_done_as_asked_is_refused_with_the_next_step() {
        let refused = |url: &str| open(url).err().unwrap().to_string();
        let told = refused("postgres://a:secret@c/d?sslmode=verify-full");
        assert!(told.contains("sslrootcert=FILE") && !told.contains("secret"), "{told}");
        assert!(refused("postgres://a@c/d?sslmode=verify-ca").contains("none of disable, prefer, require and verify-full"));
        assert!(refused("postgres://a@c/d?sslmode=require&sslrootcert=/nowhere.pem").contains("/nowhere.pem cannot be read"));
        let empty = tempfile::NamedTempFile::new().unwrap();
        let told = refused(&format!("postgres://a@c/d?sslmode=verify-full&sslrootcert={}", empty.path().display()));
        assert!(told.contains("no certificate in it"), "{told}");
    }
}
