//! The verbs of whoever runs a private tracker: `invite` and `members`.

use std::time::Duration;

use clap::{Args, Subcommand};
use potluck_common::invitation::Place;
use potluck_common::namespace::Namespace;
use potluck_rendezvous::AdminRequest;

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
    /// What the tracker is asked.
    pub(crate) fn into_request(self) -> AdminRequest {
        match self {
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
        }
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
    fn times_are_read_as_people_write_them() {
        assert_eq!(expiry("7d"), Ok(Expiry(Some(Duration::from_secs(7 * 86_400)))));
        assert_eq!(expiry("2s"), Ok(Expiry(Some(Duration::from_secs(2)))));
        assert_eq!(expiry("never"), Ok(Expiry(None)));
        assert!(expiry("7").is_err() && expiry("0s").is_err() && expiry("soon").is_err());
    }
}
