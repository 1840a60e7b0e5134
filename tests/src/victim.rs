//! [`Victim`]: somebody who has nothing to do with a swarm, and counts who connects to it all the same.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::failure::Result;

/// A machine that liars name as theirs. It closes each connection at once.
#[derive(Debug)]
pub struct Victim {
    address: SocketAddr,
    knocks: Arc<AtomicU32>,
}

impl Victim {
    /// Listens at `ADDRESS:0`. The thread that counts ends with the test.
    ///
    /// # Errors
    /// When the address is not this machine's.
    pub fn listen(address: &str) -> Result<Self> {
        let listener = TcpListener::bind(address)?;
        let victim = Self { address: listener.local_addr()?, knocks: Arc::default() };
        let knocks = Arc::clone(&victim.knocks);
        std::thread::spawn(move || {
            for _closed_at_once in listener.incoming() {
                knocks.fetch_add(1, Ordering::SeqCst);
            }
        });
        Ok(victim)
    }

    /// Where it is, as a multiaddr.
    #[must_use]
    pub fn multiaddr(&self) -> String {
        let (ip, port) = (self.address.ip(), self.address.port());
        format!("/{}/{ip}/tcp/{port}", if ip.is_ipv4() { "ip4" } else { "ip6" })
    }

    /// How many connected so far.
    #[must_use]
    pub fn knocks(&self) -> u32 {
        self.knocks.load(Ordering::SeqCst)
    }
}
