//! [`Elsewhere`]: connections that come from many addresses. All of 127.0.0.0/8 is this machine, so a test has sixteen million.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::clock::now;
use crate::failure::{Failure, Result};

/// How long a connection that says nothing is held when nobody ends it.
const SILENCE: Duration = Duration::from_secs(60);
/// Between two bytes of one that drips.
const DRIP: Duration = Duration::from_millis(500);
/// What every libp2p connection begins with.
const HELLO: &[u8] = b"\x13/multistream/1.0.0\n\x07/noise\n";
/// Pause after a connection that was not let in, or was ended.
const AGAIN: Duration = Duration::from_millis(200);

/// A way to a program on which each connection comes from the next of some addresses.
#[derive(Clone, Debug)]
pub struct Elsewhere {
    to: SocketAddr,
    from: Arc<[Ipv4Addr]>,
    next: Arc<AtomicUsize>,
}

/// How a connection that is no use to anybody behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idler {
    /// It says nothing.
    Silent,
    /// It says a byte now and then.
    Drips,
    /// It begins, and says nothing more.
    Begins,
}

impl Elsewhere {
    /// A way to a multiaddr of TCP on this machine.
    ///
    /// # Errors
    /// When it is none, or there are no addresses to come from.
    pub fn new(address: &str, from: impl IntoIterator<Item = Ipv4Addr>) -> Result<Self> {
        let address: Multiaddr = address.parse()?;
        let mut parts = address.iter();
        let (Some(Protocol::Ip4(ip)), Some(Protocol::Tcp(port))) = (parts.next(), parts.next()) else {
            return Err(Failure::new(format!("{address} is no address of TCP over IPv4")));
        };
        let from: Arc<[Ipv4Addr]> = from.into_iter().collect();
        if from.is_empty() {
            return Err(Failure::new("there are no addresses to come from"));
        }
        Ok(Self { to: SocketAddr::new(IpAddr::V4(ip), port), from, next: Arc::default() })
    }

    /// A plain connection from the next address.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn connect(&self) -> Result<TcpStream> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.from.len();
        let from = self.from.get(turn).copied().unwrap_or(Ipv4Addr::LOCALHOST);
        let socket = TcpSocket::new_v4()?;
        socket.bind((from, 0).into())?;
        Ok(socket.connect(self.to).await?)
    }

    /// Listens on a port of its own for libp2p programs, which cannot choose where they come from, and carries their bytes on. Returns
    /// its multiaddr, with `peer_id` at the end. Goes on until the runtime ends.
    ///
    /// # Errors
    /// When there is no port.
    pub async fn listen(&self, peer_id: &str) -> Result<String> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let way = self.clone();
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let way = way.clone();
                tokio::spawn(async move {
                    let mut far = way.connect().await?;
                    near.set_nodelay(true)?;
                    far.set_nodelay(true)?;
                    let _ended = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                    Ok::<(), Failure>(())
                });
            }
        });
        Ok(format!("/ip4/127.0.0.1/tcp/{port}/p2p/{peer_id}"))
    }

    /// Is connected for some time, as often as it is let in. Returns how often it was, for at least a moment.
    pub async fn idle(&self, how: Idler, time: Duration) -> usize {
        let (began, mut times) = (now(), 0);
        let round = async || {
            let mut connection = self.connect().await.ok()?;
            connection.set_zero_linger().ok()?; // or ports run out
            match how {
                Idler::Silent => {}
                Idler::Begins => connection.write_all(HELLO).await.ok()?,
                Idler::Drips => {
                    for byte in HELLO {
                        connection.write_all(&[*byte]).await.ok()?;
                        tokio::time::sleep(DRIP).await;
                    }
                }
            }
            let _ended = tokio::time::timeout(SILENCE, tokio::io::copy(&mut connection, &mut tokio::io::sink())).await;
            Some(())
        };
        let all = async {
            loop {
                times += usize::from(round().await.is_some());
                tokio::time::sleep(AGAIN).await;
            }
        };
        let _time_is_up = tokio::time::timeout(time.saturating_sub(began.elapsed()), all).await;
        times
    }
}
