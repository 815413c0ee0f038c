//! HTTPS with a certificate of our own: W33.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use hyper::{HeaderMap, Request};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::server::World;

/// Longer than it takes to look at files, which is done each second.
const LOOKED: Duration = Duration::from_secs(3);
/// A new certificate has effect as soon as it was looked at, and later only where the machine is busy.
const PATIENCE: Duration = Duration::from_secs(15);

/// Writes a new certificate for `localhost`.
fn renew(folder: &Path) -> CertificateDer<'static> {
    let made: CertifiedKey<KeyPair> =
        generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    fs::write(folder.join("cert.pem"), made.cert.pem()).expect("it can be written");
    fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).expect("it can be written");
    made.cert.der().clone()
}

async fn start() -> (World, TempDir, CertificateDer<'static>) {
    let folder = tempfile::tempdir().expect("a folder");
    let cert = renew(folder.path());
    let world = World::with(|settings| {
        settings.tls.tls_cert = Some(folder.path().join("cert.pem"));
        settings.tls.tls_key = Some(folder.path().join("key.pem"));
    })
    .await;
    (world, folder, cert)
}

/// Connects, trusting this certificate alone.
async fn connect(
    address: SocketAddr,
    trusted: &CertificateDer<'static>,
    protocol: &[u8],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).expect("a certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("there are some")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").expect("a name");
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}

/// The status and headers of a door.
async fn look(stream: TlsStream<TcpStream>) -> (u16, HeaderMap) {
    look_with(stream, "").await
}

/// The same, with a long field in the request's head.
async fn look_with(stream: TlsStream<TcpStream>, field: &str) -> (u16, HeaderMap) {
    let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let request = Request::get("https://localhost/whip/demo")
        .header("host", "localhost")
        .header("x", field)
        .body(String::new())
        .expect("a request");
    let stream = TokioIo::new(stream);
    let response = if is_h2 {
        let handshake = http2::handshake(TokioExecutor::new(), stream).await;
        let (mut sender, connection) = handshake.expect("HTTP/2");
        tokio::spawn(connection);
        sender.send_request(request).await
    } else {
        let (mut sender, connection) = http1::handshake(stream).await.expect("HTTP/1.1");
        tokio::spawn(connection);
        sender.send_request(request).await
    };
    let response = response.expect("an answer");
    (response.status().as_u16(), response.headers().clone())
}

#[tokio::test]
async fn w33_https_speaks_both_protocols_and_tells_browsers_to_stay() {
    let (world, _folder, cert) = start().await;
    for protocol in [&b"h2"[..], b"http/1.1"] {
        let stream = connect(world.address(), &cert, protocol).await;
        let stream = stream.expect("a handshake");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(protocol));
        let (status, headers) = look(stream).await;
        assert_eq!(status, 204);
        assert_eq!(headers["strict-transport-security"], "max-age=31536000");
    }
}

#[tokio::test]
async fn w36_a_head_is_small_in_both_protocols() {
    let (world, _folder, cert) = start().await;
    for (refused, protocol) in [(1, &b"h2"[..]), (2, b"http/1.1")] {
        let stream = connect(world.address(), &cert, protocol).await;
        let stream = stream.expect("a handshake");
        let (status, _) = look_with(stream, &"x".repeat(17 * 1024)).await;
        assert_eq!(status, 431);
        world.refused("head", refused).await;
    }
}

#[tokio::test]
async fn w33_without_a_certificate_nothing_is_said_of_https() {
    let world = World::start().await;
    let answer = world.ask("GET", "/whip/demo").await;
    assert!(!answer.has("strict-transport-security"));
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_to_new_connections() {
    let (world, folder, old) = start().await;
    // In between, certificate and key do not fit: the old one stays.
    fs::write(folder.path().join("cert.pem"), "").expect("it can be written");
    tokio::time::sleep(LOOKED).await;
    let stream = connect(world.address(), &old, b"h2").await;
    assert!(stream.is_ok(), "{:?}", stream.err());

    let new = renew(folder.path());
    let shown = async {
        while connect(world.address(), &new, b"h2").await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let shown = tokio::time::timeout(PATIENCE, shown).await;
    assert!(shown.is_ok(), "the new one is not shown");
    assert!(connect(world.address(), &old, b"h2").await.is_err());
}
