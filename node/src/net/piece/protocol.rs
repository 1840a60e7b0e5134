//! What is negotiated for a stream: whether it carries one request or request after request.

use std::array;
use std::convert::Infallible;
use std::future::{Ready, ready};

use libp2p::StreamProtocol;
use libp2p::core::upgrade::{InboundUpgrade, OutboundUpgrade, UpgradeInfo};
use potluck_common::wire::{PIECE_PROTOCOL, PIECES_PROTOCOL};

const ONE: StreamProtocol = StreamProtocol::new(PIECE_PROTOCOL);
const MANY: StreamProtocol = StreamProtocol::new(PIECES_PROTOCOL);

/// How many requests a stream carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carries {
    /// One, of `/potluck/piece/1`.
    One,
    /// One after the other, of `/potluck/pieces/1`.
    Many,
}

impl Carries {
    /// Whether a peer that speaks these protocols keeps streams.
    pub(super) fn any_many<'a>(mut protocols: impl Iterator<Item = &'a StreamProtocol>) -> bool {
        protocols.any(|protocol| *protocol == MANY)
    }
}

/// What we accept: both.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Accept;

impl UpgradeInfo for Accept {
    type Info = StreamProtocol;
    type InfoIter = array::IntoIter<StreamProtocol, 2>;
    fn protocol_info(&self) -> Self::InfoIter {
        [MANY, ONE].into_iter()
    }
}

impl<S> InboundUpgrade<S> for Accept {
    type Output = (S, Carries);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;
    fn upgrade_inbound(self, stream: S, protocol: StreamProtocol) -> Self::Future {
        ready(Ok((stream, if protocol == MANY { Carries::Many } else { Carries::One })))
    }
}

/// What we propose: one of them, so that the first request goes along with the proposal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Propose(pub(super) Carries);

impl UpgradeInfo for Propose {
    type Info = StreamProtocol;
    type InfoIter = array::IntoIter<StreamProtocol, 1>;
    fn protocol_info(&self) -> Self::InfoIter {
        [match self.0 {
            Carries::One => ONE,
            Carries::Many => MANY,
        }]
        .into_iter()
    }
}

impl<S> OutboundUpgrade<S> for Propose {
    type Output = (S, Carries);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;
    fn upgrade_outbound(self, stream: S, _: StreamProtocol) -> Self::Future {
        ready(Ok((stream, self.0)))
    }
}
