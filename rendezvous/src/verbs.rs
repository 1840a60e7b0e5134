//! The verbs of whoever runs a tracker.

use std::time::Duration;

use clap::{Args, CommandFactory, Subcommand};
use clap_complete::Shell;
use potluck_common::invitation::Place;
use potluck_common::namespace::Namespace;
use potluck_rendezvous::AdminRequest;

use crate::cli::Cli;

/// What to do instead of running a tracker.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Verb {
    /// Invite people to a private tracker, which may be running
    #[command(subcommand)]
    Invite(InviteVerb),
    /// Show how the running tracker is
    #[command(after_help = "Example:\n  potluck-tracker status --json")]
    Status,
    /// Print a link that opens the page of the running tracker in a browser
    #[command(
        after_help = "Example:\n  potluck-tracker page\n\nThe link signs in once, within ten minutes. The browser stays signed in for a month."
    )]
    Page,
    /// See who is a member of a private tracker, and end memberships
    #[command(subcommand)]
    Members(MembersVerb),
    /// Print a script that completes the verbs in a shell
    #[command(after_help = "Example:\n  potluck-tracker completions bash > /etc/bash_completion.d/potluck-tracker")]
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Print the manual page
    #[command(after_help = "Example:\n  potluck-tracker man | man -l -")]
    Man,
}

/// What a verb comes to.
#[derive(Clone, Debug)]
pub(crate) enum Task {
    /// Something that the tracker of the data folder does.
    Ask(AdminRequest),
    /// Text that is printed as it is.
    Print(String),
}

/// What `invite` takes.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum InviteVerb {
    /// Print an invitation: one line, and on a terminal a QR code
    #[command(after_help = "\
Examples:
  potluck-tracker invite create                       for one person, within a week
  potluck-tracker invite create --uses 20 --expires 1day --namespace choir
  potluck-tracker invite create --read-only           for somebody who shall search and download, but offer nothing

Whoever has the line can join: send it as you would send a password.")]
    Create(InviteArgs),
    /// List the invitations and what became of them
    #[command(visible_alias = "list")]
    Ls,
    /// Take an invitation back; who joined by it stays a member
    Revoke {
        /// Its id, as `invite ls` shows it
        id: String,
    },
}

/// What `invite create` takes.
#[derive(Clone, Debug, Args)]
pub(crate) struct InviteArgs {
    /// How many may join by it
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    uses: u32,
    /// How long it holds: 30min, 12h, 7d; or never
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = expiry)]
    expires: Expiry,
    /// The group that it is for
    #[arg(long, value_name = "NAME", env = "POTLUCK_NAMESPACE", hide_env_values = true, default_value_t)]
    namespace: Namespace,
    /// Who joins by it may search and download, but offer nothing
    #[arg(long)]
    read_only: bool,
    /// Where others reach the tracker, before what it knows itself; repeat for several
    #[arg(long, value_name = "MULTIADDR")]
    address: Vec<Place>,
}

/// What `members` takes.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum MembersVerb {
    /// List the members
    #[command(visible_alias = "list")]
    Ls,
    /// End a membership: within seconds nobody speaks to that peer any more
    Revoke {
        /// A nickname, a PeerId, or the last letters of one
        member: String,
    },
}

/// How long an invitation holds; `None`: until it is used up or revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Expiry(Option<Duration>);

impl Verb {
    /// What is to be done.
    pub(crate) fn into_task(self) -> Task {
        let mut text = Vec::new();
        Task::Ask(match self {
            Self::Completions { shell } => {
                clap_complete::generate(shell, &mut Cli::command(), "potluck-tracker", &mut text);
                return Task::Print(String::from_utf8_lossy(&text).into_owned());
            }
            Self::Man => {
                let _memory_takes_it = clap_mangen::Man::new(Cli::command()).render(&mut text);
                return Task::Print(String::from_utf8_lossy(&text).into_owned());
            }
            Self::Status => AdminRequest::Status,
            Self::Page => AdminRequest::Page,
            Self::Invite(InviteVerb::Create(args)) => AdminRequest::Invite {
                uses: args.uses,
                expires_in: args.expires.0.map(|time| time.as_secs()),
                namespace: args.namespace,
                read_only: args.read_only,
                addresses: args.address.iter().map(ToString::to_string).collect(),
            },
            Self::Invite(InviteVerb::Ls) => AdminRequest::Invitations,
            Self::Invite(InviteVerb::Revoke { id }) => AdminRequest::RevokeInvitation { id },
            Self::Members(MembersVerb::Ls) => AdminRequest::Members,
            Self::Members(MembersVerb::Revoke { member }) => AdminRequest::RevokeMember { name: member },
        })
    }
}

fn expiry(text: &str) -> Result<Expiry, String> {
    if text == "never" {
        return Ok(Expiry(None));
    }
    let time = humantime::parse_duration(text).map_err(|_| "give a time such as 30min, 12h or 7d, or never".to_owned())?;
    if time.as_secs() == 0 { Err("an invitation must hold for a second at least".to_owned()) } else { Ok(Expiry(Some(time))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manual_page_and_the_completions_know_the_verbs() {
        for verb in [Verb::Man, Verb::Completions { shell: Shell::Bash }] {
            let Task::Print(text) = verb.into_task() else { panic!("it is printed") };
            assert!(["invite", "members", "status", "completions"].iter().all(|verb| text.contains(verb)), "{text}");
        }
    }

    #[test]
    fn times_are_read_as_people_write_them() {
        assert_eq!(expiry("7d"), Ok(Expiry(Some(Duration::from_secs(7 * 86_400)))));
        assert_eq!(expiry("2s"), Ok(Expiry(Some(Duration::from_secs(2)))));
        assert_eq!(expiry("never"), Ok(Expiry(None)));
        assert!(expiry("7").is_err() && expiry("0s").is_err() && expiry("soon").is_err());
    }
}
