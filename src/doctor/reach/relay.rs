//! A check through a relay: allocation, permission, and the check itself, by a real TURN client.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket, lookup_host};
use tokio::time::{sleep_until, timeout};
use tokio_rustls::TlsConnector;
use turn_client_proto::api::{
    TransmitBuild, TurnClientApi, TurnConfig, TurnEvent, TurnPollRet, TurnRecvRet,
};
use turn_client_proto::stun::agent::Transmit;
use turn_client_proto::tcp::TurnClientTcp;
use turn_client_proto::types::prelude::DelayedTransmitBuild;
use turn_client_proto::types::{
    AddressFamily, Instant as ProtoInstant, TransportType, TurnCredentials,
};
use turn_client_proto::udp::TurnClientUdp;

use super::probe::{Check, Credentials, PATIENCE, RESEND_AFTER, any, now};
use super::session::RelayUrl;

/// Most that one read takes.
const READ_BYTES: usize = 4096;

/// Tries a way to `media` through a relay; gives how long all of it took.
pub(super) async fn by_relay(
    relay: &RelayUrl,
    media: SocketAddr,
    credentials: &Credentials,
) -> Result<Duration, String> {
    let begun = now();
    let attempt = async {
        let mut found = lookup_host((relay.host.as_str(), relay.port)).await?;
        let address = found.next().ok_or(io::ErrorKind::NotFound)?;
        let config = config(relay, media);
        if relay.is_udp {
            let socket = UdpSocket::bind(any(address)).await?;
            socket.connect(address).await?;
            let client = TurnClientUdp::allocate(socket.local_addr()?, address, config);
            return Caller::new(client, credentials, media)
                .run(Datagrams(socket))
                .await;
        }
        let stream = TcpStream::connect(address).await?;
        let client = TurnClientTcp::allocate(stream.local_addr()?, address, config);
        let caller = Caller::new(client, credentials, media);
        if !relay.is_tls {
            return caller.run(Stream(stream)).await;
        }
        let name = ServerName::try_from(relay.host.clone()).map_err(io::Error::other)?;
        caller
            .run(Stream(connector()?.connect(name, stream).await?))
            .await
    };
    match timeout(PATIENCE, attempt).await {
        Ok(tried) => tried
            .map(|()| begun.elapsed())
            .map_err(|error| error.to_string()),
        Err(_) => Err("no answer".to_owned()),
    }
}

fn config(relay: &RelayUrl, media: SocketAddr) -> TurnConfig {
    let mut config = TurnConfig::new(TurnCredentials::new(&relay.username, &relay.credential));
    config.set_address_family(match media {
        SocketAddr::V4(_) => AddressFamily::IPV4,
        SocketAddr::V6(_) => AddressFamily::IPV6,
    });
    // Names made for coturn, too, are not hashed.
    config.set_anonymous_username(turn_client_proto::stun::auth::Feature::Disabled);
    config
}

/// TLS as browsers check it: with the roots of the system.
fn connector() -> io::Result<TlsConnector> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(BuilderVerifierExt::with_platform_verifier)
        .map_err(io::Error::other)?;
    Ok(TlsConnector::from(Arc::new(config.with_no_client_auth())))
}

/// How messages come and go.
trait Pipe {
    async fn send(&mut self, message: &[u8]) -> io::Result<()>;
    async fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize>;
}

struct Datagrams(UdpSocket);
struct Stream<S>(S);

impl Pipe for Datagrams {
    async fn send(&mut self, message: &[u8]) -> io::Result<()> {
        self.0.send(message).await.map(drop)
    }

    async fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.recv(buffer).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Pipe for Stream<S> {
    async fn send(&mut self, message: &[u8]) -> io::Result<()> {
        self.0.write_all(message).await?;
        self.0.flush().await
    }

    async fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            bytes => Ok(bytes),
        }
    }
}

/// A client of a relay with one thing to say.
struct Caller<C> {
    client: C,
    check: Check,
    media: SocketAddr,
    /// The relay lets the check through.
    is_permitted: bool,
}

impl<C: TurnClientApi> Caller<C> {
    fn new(client: C, credentials: &Credentials, media: SocketAddr) -> Self {
        Self {
            client,
            check: Check::new(credentials),
            media,
            is_permitted: false,
        }
    }

    /// Goes on until the check is answered.
    async fn run(mut self, mut pipe: impl Pipe) -> io::Result<()> {
        let epoch = now();
        let mut buffer = [0; READ_BYTES];
        loop {
            let time = ProtoInstant::from_nanos(epoch.elapsed().as_nanos() as i64);
            let wait = match self.client.poll(time) {
                TurnPollRet::WaitUntil(until) => until.saturating_duration_since(time),
                TurnPollRet::Closed => return Err(io::ErrorKind::ConnectionAborted.into()),
                _ => RESEND_AFTER,
            };
            self.heed(time)?;
            while let Some(transmit) = self.client.poll_transmit(time) {
                pipe.send(&transmit.data).await?;
            }
            if self.is_permitted {
                let check = self.check.bytes.clone();
                let sent = self
                    .client
                    .send_to(TransportType::Udp, self.media, check, time);
                let sent: Option<TransmitBuild<_>> = sent.map_err(io::Error::other)?;
                if let Some(transmit) = sent {
                    pipe.send(&transmit.data.build()).await?;
                }
            }
            let wake_at = now() + wait.min(RESEND_AFTER);
            let bytes = tokio::select! {
                received = pipe.receive(&mut buffer) => received?,
                () = sleep_until(wake_at) => continue,
            };
            let time = ProtoInstant::from_nanos(epoch.elapsed().as_nanos() as i64);
            if self.is_answered(&buffer[..bytes], time) {
                // The relay would notice by itself after ten minutes.
                let _ = self.client.delete(time);
                while let Some(transmit) = self.client.poll_transmit(time) {
                    let _ = pipe.send(&transmit.data).await;
                }
                return Ok(());
            }
        }
    }

    /// What the relay has decided.
    fn heed(&mut self, time: ProtoInstant) -> io::Result<()> {
        while let Some(event) = self.client.poll_event() {
            match event {
                TurnEvent::AllocationCreated(..) => {
                    let udp = TransportType::Udp;
                    let asked = self.client.create_permission(udp, self.media.ip(), time);
                    asked.map_err(io::Error::other)?;
                }
                TurnEvent::PermissionCreated(..) => self.is_permitted = true,
                TurnEvent::AllocationCreateFailed(_) => {
                    return Err(io::Error::other("it refuses the credentials, or is full"));
                }
                TurnEvent::PermissionCreateFailed(..) => {
                    return Err(io::Error::other("it does not relay to the server's media"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn is_answered(&mut self, received: &[u8], time: ProtoInstant) -> bool {
        let transport = self.client.transport();
        let (relay, local) = (self.client.remote_addr(), self.client.local_addr());
        let transmit = Transmit::new(received, transport, relay, local);
        if let TurnRecvRet::PeerData(data) = self.client.recv(transmit, time)
            && self.check.is_answered_by(data.data())
        {
            return true;
        }
        while let Some(data) = self.client.poll_recv(time) {
            if self.check.is_answered_by(data.data()) {
                return true;
            }
        }
        false
    }
}
