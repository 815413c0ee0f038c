//! One client's connection: TLS where it is ours, then HTTP/2 or HTTP/1.1, until its end; or
//! media, where it begins like that.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use super::engines::TakeStream;
use super::tls::{ACME_TLS_1, H2};
use crate::metrics::Metrics;
use crate::turn::{Relay, Transport};

/// Longest wait for the first byte, which says what a connection carries.
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest TLS handshake: two round trips, and lost packets sent again.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Requests that one HTTP/2 connection may have open: a page has its events and a few more.
const MAX_STREAMS: u32 = 64;

/// Streams that a client may reset before we have looked at them; beyond, its connection ends
/// (CVE-2023-44487).
const MAX_PENDING_RESETS: usize = 20;

/// An HTTP/2 connection that is silent is asked after this long whether it is still there.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// And it has so long to answer.
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// A peer that acknowledges nothing for this long is gone; the kernel alone would wait for
/// a quarter of an hour.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(30);

type Failure = Box<dyn Error + Send + Sync>;

/// Who answers requests, and what their heads are held to.
#[derive(Clone)]
pub(super) struct Answering {
    pub(super) router: Router,
    /// Largest head, in bytes.
    pub(super) head_bytes: usize,
    /// Longest wait for a head. Also ends connections that idle between requests.
    pub(super) head_patience: Duration,
    /// Whether further requests may follow in the same connection.
    pub(super) stays_open: bool,
    /// Counts heads that were refused before they were requests.
    pub(super) metrics: Arc<Metrics>,
}

/// A connection that was accepted.
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) streams: Option<TakeStream>,
    pub(super) relay: Option<Relay>,
    /// Answers requests; without it there is only the relay.
    pub(super) answering: Option<Answering>,
    pub(super) stopped: watch::Receiver<bool>,
}

impl Connection {
    /// Serves it to its end.
    pub(super) async fn serve(self) {
        let peer = self.peer;
        if let Err(error) = self.try_serve().await {
            // Clients come and go as they like.
            tracing::trace!(%error, %peer, "connection ended");
        }
    }

    /// What comes after the first bytes is boxed: most connections wait for another request most of
    /// the time, and each would have room for the largest of the ways.
    async fn try_serve(self) -> Result<(), Failure> {
        let Self {
            stream,
            peer,
            tls,
            streams,
            relay,
            answering,
            stopped,
        } = self;
        if let Some(take) = streams
            && is_media(&stream, stopped.clone()).await?
        {
            take(stream.into_std()?);
            return Ok(());
        }
        prepare(&stream);
        let Some(tls) = tls else {
            // HTTP/2 is for TLS: browsers speak it nowhere else, and to tell the two apart by
            // their first bytes means to wait for bytes that may never come.
            return match answering {
                Some(answering) => Box::pin(serve_http1(stream, peer, answering, stopped)).await,
                None => Ok(()),
            };
        };
        Box::pin(serve_encrypted(
            stream,
            peer,
            (tls, relay, answering),
            stopped,
        ))
        .await
    }
}

/// Serves a connection that begins with a TLS handshake.
async fn serve_encrypted(
    stream: TcpStream,
    peer: SocketAddr,
    (tls, relay, answering): (TlsAcceptor, Option<Relay>, Option<Answering>),
    stopped: watch::Receiver<bool>,
) -> Result<(), Failure> {
    let local = stream.local_addr()?;
    let mut stream = tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await??;
    let protocol = stream.get_ref().1.alpn_protocol();
    if protocol == Some(ACME_TLS_1) {
        // Who asks has seen what was to be seen (RFC 8737 §3).
        return Ok(());
    }
    let is_h2 = protocol == Some(H2);
    if let Some(relay) = relay.filter(|_| !is_h2)
        && is_turn(&mut stream, stopped.clone()).await?
    {
        let tls = Transport::Tls;
        relay.serve_stream(stream, peer, local, tls).await;
        return Ok(());
    }
    let Some(answering) = answering else {
        return Ok(());
    };
    if is_h2 {
        serve_http2(stream, peer, answering, stopped).await
    } else {
        serve_http1(stream, peer, answering, stopped).await
    }
}

/// Whether a connection begins with the length of a STUN message (RFC 4571 §2), as ICE over TCP
/// does: some hundred bytes, so that the first of two is zero or little more. TLS begins with 22
/// (RFC 8446 §5.1) and HTTP with a letter.
async fn is_media(stream: &TcpStream, mut stopped: watch::Receiver<bool>) -> Result<bool, Failure> {
    let mut first = [0];
    let peek = tokio::time::timeout(FIRST_BYTE_TIMEOUT, stream.peek(&mut first));
    let seen = tokio::select! {
        peeked = peek => peeked??,
        _ = stopped.changed() => 0,
    };
    Ok(seen == 1 && first[0] < MAX_LENGTH_BYTE)
}

/// Whether an encrypted connection begins with a STUN request, whose first byte is zero, as TURN
/// does; HTTP begins with a letter.
async fn is_turn(
    stream: &mut (impl AsyncBufRead + Unpin),
    mut stopped: watch::Receiver<bool>,
) -> Result<bool, Failure> {
    let first = tokio::time::timeout(FIRST_BYTE_TIMEOUT, stream.fill_buf());
    tokio::select! {
        first = first => Ok(first??.first() == Some(&0)),
        _ = stopped.changed() => Ok(false),
    }
}

/// No check is longer than 4 KiB.
const MAX_LENGTH_BYTE: u8 = 16;

async fn serve_http1(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: SocketAddr,
    answering: Answering,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), Failure> {
    let router = answering.router;
    let service = service_fn(move |request| answer(router.clone(), peer, request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(answering.head_patience)
        .max_buf_size(answering.head_bytes)
        .keep_alive(answering.stays_open)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        _ = stopped.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    // It has been answered, and is not a request that anything else would count.
    if served.as_ref().is_err_and(hyper::Error::is_parse_too_large) {
        answering.metrics.count_refusal("head");
    }
    Ok(served?)
}

/// How many times the largest head HTTP/2 reads before it refuses by itself, where nobody counts:
/// up to that, the router answers.
const HEADS_READ: usize = 4;

async fn serve_http2(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: SocketAddr,
    answering: Answering,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), Failure> {
    let router = answering.router;
    let service = service_fn(move |request| answer(router.clone(), peer, request));
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size((HEADS_READ * answering.head_bytes) as u32)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        served = connection.as_mut() => return Ok(served?),
        _ = stopped.changed() => connection.as_mut().graceful_shutdown(),
    }
    Ok(connection.await?)
}

async fn answer(
    router: Router,
    peer: SocketAddr,
    request: hyper::Request<Incoming>,
) -> Result<axum::response::Response, std::convert::Infallible> {
    let mut request: Request<Incoming> = request;
    request.extensions_mut().insert(ConnectInfo(peer));
    router.oneshot(request).await
}

/// Answers leave at once, and a vanished peer is noticed.
fn prepare(stream: &TcpStream) {
    // Nagle's algorithm would hold the second part of an answer back for 40 ms.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY");
    }
    if let Err(error) = SockRef::from(stream).set_tcp_user_timeout(Some(TCP_USER_TIMEOUT)) {
        tracing::debug!(%error, "TCP_USER_TIMEOUT");
    }
}
