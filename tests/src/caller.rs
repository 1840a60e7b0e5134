//! [`call`]: a QUIC client on quinn and rustls that shows whatever certificate it is told to. libp2p's own shows none but an honest one.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use libp2p::Multiaddr;
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint};
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair, date_time_ymd};
use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{default_provider, sign::any_ecdsa_type};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, SignatureScheme};

use crate::clock::PATIENCE;
use crate::failure::{Failure, Result};

/// Where libp2p's certificates have the identity (libp2p specs, tls).
const EXTENSION: [u64; 9] = [1, 3, 6, 1, 4, 1, 53594, 1, 1];
/// An extension that nobody knows.
const UNKNOWN: [u64; 9] = [1, 3, 6, 1, 4, 1, 53594, 1, 77];
/// What every stream of libp2p begins with.
const HELLO: &[u8] = b"\x13/multistream/1.0.0\n";

/// The certificate that a caller shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Badge {
    /// One that holds.
    Honest,
    /// None.
    Missing,
    /// Bytes that are no certificate.
    Noise,
    /// One that does not say who it is of.
    OfNobody,
    /// One in which that is noise.
    OfNoise,
    /// One that says it twice.
    OfTwo,
    /// One that is said to be of somebody else, who has not signed it.
    OfSomebodyElse,
    /// One that was signed for another certificate.
    Copied,
    /// One that has expired.
    Expired,
    /// One that is not valid yet.
    NotYetValid,
    /// One that must not be taken by who does not know what else it says.
    Critical,
    /// One with so many bytes more.
    Long(usize),
    /// So many of them.
    Many(usize),
}

/// Calls an address of QUIC over IPv4, and says hello. Whether it is answered.
///
/// # Errors
/// When nobody listens there, or neither an answer nor an end comes.
pub fn call(address: &str, badge: Badge) -> Result<bool> {
    let address: Multiaddr = address.parse()?;
    let mut parts = address.iter();
    let (Some(Protocol::Ip4(ip)), Some(Protocol::Udp(port))) = (parts.next(), parts.next()) else {
        return Err(Failure::new(format!("{address} is no address of QUIC over IPv4")));
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into())?;
        endpoint.set_default_client_config(config(badge)?);
        let connecting = endpoint.connect(SocketAddr::new(ip.into(), port), "l").map_err(|error| Failure::new(error.to_string()))?;
        let all = async {
            // In TLS 1.3 a client is through before the server has seen its certificate.
            match connecting.await {
                Ok(connection) => is_answered(&connection).await,
                Err(_refused) => false,
            }
        };
        Ok(tokio::time::timeout(PATIENCE, all).await?)
    })
}

async fn is_answered(connection: &Connection) -> bool {
    let Ok((mut send, mut receive)) = connection.open_bi().await else { return false };
    let mut heard = [0; HELLO.len()];
    send.write_all(HELLO).await.is_ok() && receive.read_exact(&mut heard).await.is_ok() && heard == HELLO
}

fn config(badge: Badge) -> Result<ClientConfig> {
    let failed = |error: rustls::Error| Failure::new(error.to_string());
    let provider = Arc::new(default_provider());
    let config = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(failed)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)));
    let mut config = match badge {
        Badge::Missing => config.with_no_client_auth(),
        badge => config.with_client_cert_resolver(Arc::new(Shows(Arc::new(certified(badge)?)))),
    };
    config.alpn_protocols = vec![b"libp2p".to_vec()];
    let quic = QuicClientConfig::try_from(config).map_err(|error| Failure::new(error.to_string()))?;
    Ok(ClientConfig::new(Arc::new(quic)))
}

/// A certificate with its key.
fn certified(badge: Badge) -> Result<CertifiedKey> {
    let failed = |error: rcgen::Error| Failure::new(error.to_string());
    let (key, another) = (KeyPair::generate().map_err(failed)?, KeyPair::generate().map_err(failed)?);
    let identity = Keypair::generate_ed25519();
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.custom_extensions = match badge {
        Badge::OfNobody => Vec::new(),
        Badge::OfNoise => vec![extension(vec![0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 1, 2, 3])],
        Badge::OfTwo => vec![signed(&identity, &identity, &key)?, signed(&Keypair::generate_ed25519(), &identity, &key)?],
        Badge::OfSomebodyElse => vec![signed(&Keypair::generate_ed25519(), &identity, &key)?],
        Badge::Copied => vec![signed(&identity, &identity, &another)?],
        _ => vec![signed(&identity, &identity, &key)?],
    };
    match badge {
        Badge::Expired => params.not_after = date_time_ymd(2020, 1, 1),
        Badge::NotYetValid => params.not_before = date_time_ymd(4000, 1, 1),
        Badge::Long(bytes) => params.custom_extensions.push(CustomExtension::from_oid_content(&UNKNOWN, vec![0; bytes])),
        Badge::Critical => {
            let mut unknown = CustomExtension::from_oid_content(&UNKNOWN, vec![5, 0]);
            unknown.set_criticality(true);
            params.custom_extensions.push(unknown);
        }
        _ => {}
    }
    let certificate = match badge {
        Badge::Noise => CertificateDer::from(vec![0x30; 512]),
        _ => params.self_signed(&key).map_err(failed)?.into(),
    };
    let count = if let Badge::Many(count) = badge { count } else { 1 };
    let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(Failure::new)?;
    let key = any_ecdsa_type(&key).map_err(|error| Failure::new(error.to_string()))?;
    Ok(CertifiedKey::new(vec![certificate; count], key))
}

/// What says of whom a certificate is: of `named`, signed by `by`.
fn signed(named: &Keypair, by: &Keypair, key: &KeyPair) -> Result<CustomExtension> {
    let message = [b"libp2p-tls-handshake:", key.public_key_der().as_slice()].concat();
    let (public, signature) = (named.public().encode_protobuf(), by.sign(&message)?);
    let octets = |bytes: &[u8]| [&[0x04, bytes.len() as u8], bytes].concat(); // both are shorter than 128 bytes
    let both = [octets(&public), octets(&signature)].concat();
    Ok(extension([&[0x30, both.len() as u8], &both[..]].concat()))
}

fn extension(content: Vec<u8>) -> CustomExtension {
    CustomExtension::from_oid_content(&EXTENSION, content)
}

/// Shows a certificate to whoever asks.
#[derive(Debug)]
struct Shows(Arc<CertifiedKey>);

impl ResolvesClientCert for Shows {
    fn resolve(&self, _issuers: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Does not care who answers.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
