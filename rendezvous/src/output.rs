//! What the program prints: JSON for programs on stdout, text for people on stderr. The only file that does.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::io::{Write, stderr, stdout};

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use potluck_common::transport::is_loopback;
use potluck_rendezvous::Event;
use serde::Serialize;

use crate::Failure;

/// Tells the events of a tracker.
#[derive(Debug)]
pub(crate) struct Output {
    json: bool,
    addresses: Vec<Multiaddr>,
}

/// A line for programs.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Line<'a> {
    Listening { address: &'a str },
    Restoring { files: u64, of: u64 },
    Restored { files: u64 },
}

impl Output {
    /// For programs if `json`, else for people.
    pub(crate) fn new(json: bool) -> Self {
        Self { json, addresses: Vec::new() }
    }

    /// Tells an event. That nobody reads any more is no reason to stop.
    pub(crate) fn tell(&mut self, event: &Event) {
        match event {
            Event::Listening(address) if self.json => tell_program(&Line::Listening { address: &address.to_string() }),
            Event::Restoring { files, of } if self.json => tell_program(&Line::Restoring { files: *files, of: *of }),
            Event::Restored { files } if self.json => tell_program(&Line::Restored { files: *files }),
            Event::Listening(address) => {
                let _nobody_reads = writeln!(stderr(), "listening on {address}");
                self.addresses.push(address.clone());
            }
            Event::Restoring { files, of } => {
                let _nobody_reads = writeln!(stderr(), "reading what peers published: {files} of {of} files");
            }
            Event::Restored { files } => {
                let _nobody_reads = writeln!(stderr(), "{files} files are known from before; peers that come back need not publish anew");
            }
            Event::Ready if self.json => {}
            Event::Ready => {
                let _nobody_reads = stderr().write_all(how_to_join(&self.addresses).as_bytes());
                self.addresses.clear();
            }
        }
    }
}

fn tell_program(line: &Line<'_>) {
    let line = serde_json::to_string(line).unwrap_or_default();
    let mut out = stdout().lock();
    let _nobody_reads = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Says why the program ends.
pub(crate) fn complain(failure: &Failure) {
    let _nobody_reads = writeln!(stderr(), "error: {failure}");
}

/// What a person does next.
fn how_to_join(addresses: &[Multiaddr]) -> String {
    let by_tcp = |address: &&Multiaddr| address.iter().any(|part| matches!(part, Protocol::Tcp(_)));
    let from_outside = addresses.iter().filter(by_tcp).find(|address| !is_loopback(address));
    let best = from_outside.or_else(|| addresses.iter().find(by_tcp)).or_else(|| addresses.first());
    let address = best.map(ToString::to_string).unwrap_or_default();
    format!(
        "\nThe tracker is up. On this machine or network, a node finds it by itself:\n  potluck node --share DIR\n\
         From elsewhere, name it:\n  potluck node --share DIR --tracker {address}\nCtrl-C stops it.\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_told_an_address_that_others_can_reach_if_there_is_one() {
        let [loopback, quic, lan] = ["/ip4/127.0.0.1/tcp/9470", "/ip4/192.168.1.5/udp/9470/quic-v1", "/ip4/192.168.1.5/tcp/9470"]
            .map(|address| address.parse::<Multiaddr>().unwrap());
        assert!(how_to_join(&[loopback.clone(), quic.clone(), lan.clone()]).contains("--tracker /ip4/192.168.1.5/tcp/9470\n"));
        assert!(how_to_join(&[quic.clone(), loopback]).contains("--tracker /ip4/127.0.0.1/tcp/9470\n"));
        assert!(how_to_join(&[quic]).contains("--tracker /ip4/192.168.1.5/udp/9470/quic-v1\n"));
    }
}
