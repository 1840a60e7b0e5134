//! What the program prints: JSON for programs on stdout, text for people on stderr. The only file that does.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::io::{IsTerminal, Write, stderr, stdout};

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use potluck_common::escape::Escaped;
use potluck_common::qr;
use potluck_common::transport::is_loopback;
use potluck_rendezvous::{AdminAnswer, Event, InvitationLine, LinkLine, MemberLine, RunLine, StatusLine};
use serde::Serialize;

/// Tells the events of a tracker.
#[derive(Debug)]
pub(crate) struct Output {
    json: bool,
    addresses: Vec<Multiaddr>,
}

impl Output {
    /// For programs if `json`, else for people.
    pub(crate) fn new(json: bool) -> Self {
        Self { json, addresses: Vec::new() }
    }

    /// Tells an event. That nobody reads any more is no reason to stop.
    pub(crate) fn tell(&mut self, event: &Event) {
        match event {
            Event::Listening(address) if self.json => print_json(&RunLine::Listening { address: &address.to_string() }),
            Event::Restoring { files, of } if self.json => print_json(&RunLine::Restoring { files: *files, of: *of }),
            Event::Restored { files } if self.json => print_json(&RunLine::Restored { files: *files }),
            Event::Invited(line) if self.json => print_json(&RunLine::Invited { line }),
            Event::Listening(address) => {
                let _nobody_reads = writeln!(stderr(), "listening on {address}");
                self.addresses.push(address.clone());
            }
            Event::Invited(line) => {
                let _nobody_reads = stderr().write_all(invitation(line, stderr().is_terminal()).as_bytes());
            }
            Event::Restoring { files, of } => {
                let _nobody_reads = writeln!(stderr(), "reading what peers published: {files} of {of} files");
            }
            Event::Restored { files } => {
                let _nobody_reads = writeln!(stderr(), "{files} files are known from before; peers that come back need not publish anew");
            }
            Event::Page(address) if self.json => print_json(&RunLine::Page { address }),
            Event::Page(address) => {
                let _nobody_reads = writeln!(stderr(), "page at {address}; `potluck-tracker page` prints a link that signs in");
            }
            Event::Ready { .. } if self.json => {}
            Event::Ready { is_private } => {
                let text = if *is_private { PRIVATE.to_owned() } else { how_to_join(&self.addresses) };
                let _nobody_reads = stderr().write_all(text.as_bytes());
                self.addresses.clear();
            }
        }
    }

    /// Tells what a private tracker answers: JSON or the bare result on stdout, what a person does with it on stderr.
    pub(crate) fn answer(&self, answer: &AdminAnswer) {
        match answer {
            AdminAnswer::Invitations(lines) if self.json => lines.iter().for_each(print_json),
            AdminAnswer::Members(lines) if self.json => lines.iter().for_each(print_json),
            AdminAnswer::Invitations(lines) => lines.iter().for_each(tell_invitation),
            AdminAnswer::Members(lines) => lines.iter().for_each(|line| print_text(&member(line))),
            AdminAnswer::Status(status) if self.json => print_json(status),
            AdminAnswer::Status(status) => print_text(&how_it_is(status)),
            AdminAnswer::Peers(page) => page.items.iter().for_each(print_json),
            AdminAnswer::Page(link) if self.json => print_json(&LinkLine { link }),
            AdminAnswer::Page(link) => print_text(link),
            AdminAnswer::Failed(error) => complain(error),
        }
    }
}

/// Says why the program ends.
pub(crate) fn complain(failure: &impl std::fmt::Display) {
    let _nobody_reads = writeln!(stderr(), "error: {failure}");
}

/// What a private tracker says when it is up.
const PRIVATE: &str = "\nThe tracker is up and private. Invite one more with:\n  potluck-tracker invite create\nCtrl-C stops it.\n";

/// Prints text as it is.
pub(crate) fn print(text: &str) {
    let _nobody_reads = stdout().write_all(text.as_bytes());
}

fn print_json(line: &impl Serialize) {
    print_text(&serde_json::to_string(line).unwrap_or_default());
}

fn print_text(line: &str) {
    let mut out = stdout().lock();
    let _nobody_reads = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// A new invitation goes to stdout alone, so that it can be piped; the others are a list.
fn tell_invitation(line: &InvitationLine) {
    match &line.invitation {
        Some(text) => {
            if !stdout().is_terminal() {
                print_text(text);
            }
            let _nobody_reads = stderr().write_all(invitation(line, stderr().is_terminal()).as_bytes());
        }
        None => print_text(&format!(
            "{}  {}  {}{}  {} of {} used  until {}",
            line.id,
            line.state.replace('_', " "),
            Escaped(&line.namespace),
            if line.read_only { " (read only)" } else { "" },
            line.used,
            line.uses,
            line.expires.as_deref().unwrap_or("revoked"),
        )),
    }
}

/// What a person does with an invitation, with a QR code if there is a terminal for it.
fn invitation(line: &InvitationLine, with_code: bool) -> String {
    let text = line.invitation.as_deref().unwrap_or_default();
    let code = with_code.then(|| qr::for_terminal(&text.to_ascii_uppercase())).flatten(); // upper case: the denser mode
    let code = code.map(|code| format!("{code}\n")).unwrap_or_default();
    let people = if line.uses == 1 { "one may".to_owned() } else { format!("{} may", line.uses) };
    let until = line.expires.as_ref().map(|expires| format!(", until {expires}")).unwrap_or_default();
    let rights = if line.read_only { ", to search and download only" } else { "" };
    format!(
        "\n{code}An invitation to {}{rights} ({people} join{until}; take it back with `potluck-tracker invite revoke {}`):\n\n  potluck join {text}\n\n\
         After that, without further ado:\n  potluck node --share DIR\n",
        Escaped(&line.namespace),
        line.id
    )
}

fn member(line: &MemberLine) -> String {
    let read_only = line.read_only.iter().map(|name| format!("{} (read only)", Escaped(name)));
    let namespaces: Vec<String> = line.namespaces.iter().map(|name| Escaped(name).to_string()).chain(read_only).collect();
    format!("{}  {}  {}  since {}  {}", Escaped(&line.nickname), line.state, namespaces.join(", "), line.joined, line.peer_id)
}

/// Why requests are refused, if they are.
fn what_keeps_it(status: &StatusLine) -> Option<&'static str> {
    match status {
        StatusLine { ready: true, .. } => None,
        StatusLine { shares_index: true, .. } => Some("the database of the index does not answer"),
        _ => Some("reading what peers published"),
    }
}

fn how_it_is(status: &StatusLine) -> String {
    let kind = match status.members {
        Some(members) => format!("private, {members} members"),
        None => "open".to_owned(),
    };
    let mut rows = vec![
        ("tracker", format!("{kind}{}", what_keeps_it(status).map(|why| format!(", {why}")).unwrap_or_default())),
        (
            "peers",
            format!("{}{}, {} connected", status.peers, if status.shares_index { " at this tracker" } else { "" }, status.connections),
        ),
        ("files", files_of(status.files)),
        ("searches", format!("{:.1} a second, {} since it started", status.searches_per_second, status.searches)),
    ];
    rows.extend(status.namespaces.iter().map(|line| {
        (
            "namespace",
            format!(
                "{}: {} peers{}",
                Escaped(&line.namespace),
                line.peers,
                line.files.map(|files| format!(", {files} files")).unwrap_or_default()
            ),
        )
    }));
    rows.extend(status.addresses.iter().map(|address| ("listens at", address.clone())));
    rows.extend(status.page.iter().map(|page| ("page", page.clone())));
    let lines: Vec<String> = rows.into_iter().map(|(name, value)| format!("{name:13} {value}")).collect();
    lines.join("\n")
}

fn files_of(files: Option<u64>) -> String {
    files.map_or_else(|| "in the database that the trackers share, not counted here".to_owned(), |files| files.to_string())
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
