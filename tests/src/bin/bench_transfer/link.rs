//! A long line in user space: what is sent into one end comes out of the other after a delay, at a rate, with losses.
//!
//! It carries packets, not byte streams: a proxy of TCP connections would acknowledge on its own side of the line, and
//! what crossed it would be TCP between proxy and kernel. Here each end is a VXLAN device in a network namespace of its
//! own (`ground.rs`), whose UDP datagrams this program delays and drops, so that both kernels' TCP sees the line and behaves as it would.
//! Each direction has a queue of bounded length that drops what does not fit, as routers do.
//!
//! It runs as a process of its own in the namespace between the two: `bench-transfer link ARGUMENTS`.

use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use potluck_tests::clock::now;
use potluck_tests::{Failure, Result};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rustix::net::sockopt::set_socket_recv_buffer_size_force;
use rustix::process::{Signal, set_parent_process_death_signal};

/// The word that makes the benchmark be the line.
pub(crate) const VERB: &str = "link";
/// The port of VXLAN at every end.
pub(crate) const PORT: u16 = 4789;
/// What VXLAN puts before a packet: its own header and that of Ethernet. The rate is that of what users send.
const ENVELOPE: usize = 8 + 14;
/// Longest datagram: a packet of 1,500 bytes in its envelope.
const MAX_DATAGRAM: usize = 1600;
/// Datagrams on their way in one direction: a quarter of a second of small ones at a gigabit.
const MAX_UNDER_WAY: usize = 1 << 16;
/// What the system keeps for us while we are not running: ten milliseconds at a gigabit.
const SOCKET_BUFFER: usize = 4 << 20;

/// What a line is like, each way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Line {
    /// How long a packet travels.
    pub(crate) delay: Duration,
    /// Megabits per second.
    pub(crate) mbit: f64,
    /// How many packets of a hundred are lost, besides those that the queue has no room for.
    pub(crate) loss: f64,
    /// How long a packet may wait for those before it.
    pub(crate) queue: Duration,
}

/// Two ends, each as the address where we listen for it and the one where it listens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ends {
    pub(crate) left: (SocketAddr, SocketAddr),
    pub(crate) right: (SocketAddr, SocketAddr),
}

/// A packet that travels.
struct Packet {
    arrives: Instant,
    bytes: Box<[u8]>,
}

impl Line {
    /// The arguments that make a process be this line.
    pub(crate) fn arguments(&self, ends: &Ends) -> Vec<String> {
        let mut arguments = vec![VERB.to_owned()];
        arguments.extend([self.delay, self.queue].iter().map(|time| time.as_micros().to_string()));
        arguments.extend([self.mbit, self.loss].iter().map(f64::to_string));
        arguments.extend([ends.left.0, ends.left.1, ends.right.0, ends.right.1].iter().map(SocketAddr::to_string));
        arguments
    }

    /// Is the line, until it is killed or the benchmark ends.
    pub(crate) fn run(arguments: &[String]) -> Result {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        let [delay, queue, mbit, loss, left, left_end, right, right_end] = arguments else {
            return Err(Failure::new("the line needs eight arguments"));
        };
        let micros = |text: &str| -> Result<Duration> { Ok(Duration::from_micros(text.parse()?)) };
        let line = Self { delay: micros(delay)?, queue: micros(queue)?, mbit: mbit.parse()?, loss: loss.parse()? };
        let (left, right) = (listen(left)?, listen(right)?);
        let (left_end, right_end) = (left_end.parse()?, right_end.parse()?);
        println!("ready");
        thread::scope(|scope| {
            for (from, to, end, seed) in [(&left, &right, right_end, 1), (&right, &left, left_end, 2)] {
                let (sender, receiver) = sync_channel(MAX_UNDER_WAY);
                scope.spawn(move || line.take_in(from, &sender, seed));
                scope.spawn(move || let_out(to, end, &receiver));
            }
        });
        Ok(())
    }

    /// Reads what comes in at one end, and decides when it comes out at the other, or that it does not.
    fn take_in(self, from: &UdpSocket, under_way: &SyncSender<Packet>, seed: u64) {
        let mut random = StdRng::seed_from_u64(seed);
        let mut buffer = [0; MAX_DATAGRAM];
        let mut is_free_at = now();
        while let Ok(length) = from.recv(&mut buffer) {
            let Some(bytes) = buffer.get(..length) else { return };
            let Some(sent) = self.send(length.saturating_sub(ENVELOPE), now(), &mut is_free_at) else { continue };
            if self.loss > 0.0 && random.random_range(0.0..100.0) < self.loss {
                continue;
            }
            // A line on which more is under way than fits drops it, which is what a line does.
            let _ = under_way.try_send(Packet { arrives: sent + self.delay, bytes: bytes.into() });
        }
    }

    /// When the last bit of a packet has left, if the queue takes it.
    fn send(self, bytes: usize, now: Instant, is_free_at: &mut Instant) -> Option<Instant> {
        let begins = now.max(*is_free_at);
        if begins - now > self.queue {
            return None;
        }
        *is_free_at = begins + Duration::from_secs_f64(bytes as f64 * 8.0 / (self.mbit * 1e6));
        Some(*is_free_at)
    }
}

/// Sends packets on when their time has come.
fn let_out(to: &UdpSocket, end: SocketAddr, under_way: &Receiver<Packet>) {
    while let Ok(packet) = under_way.recv() {
        let wait = packet.arrives.saturating_duration_since(now());
        if !wait.is_zero() {
            thread::sleep(wait);
        }
        let _ = to.send_to(&packet.bytes, end); // an end that is gone takes nothing
    }
}

fn listen(address: &str) -> Result<UdpSocket> {
    let socket = UdpSocket::bind(address)?;
    set_socket_recv_buffer_size_force(&socket, SOCKET_BUFFER)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: Line = Line { delay: Duration::from_millis(25), mbit: 8.0, loss: 0.0, queue: Duration::from_millis(3) };

    #[test]
    fn packets_leave_one_after_the_other_at_the_rate_and_what_the_queue_cannot_hold_is_dropped() {
        let start = now();
        let mut is_free_at = start;
        let mut send = |after_ms| {
            let left = LINE.send(1000, start + Duration::from_millis(after_ms), &mut is_free_at);
            left.map(|left| (left - start).as_millis())
        };
        // 1,000 bytes take a millisecond at 8 Mbit/s
        assert_eq!([send(0), send(0), send(0), send(0)], [Some(1), Some(2), Some(3), Some(4)]);
        assert_eq!(send(0), None);
        assert_eq!(send(1), Some(5));
        assert_eq!(send(100), Some(101));
    }
}
