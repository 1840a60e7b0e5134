//! What a liar's answers are made of.

use std::collections::BTreeMap;

use libp2p::Swarm;
use libp2p::request_response::ResponseChannel;
use potluck_common::codec::{PieceAnswer, encode};
use potluck_common::content_id::PieceHash;
use potluck_common::geometry::{Geometry, PieceIndex};
use potluck_common::wire::piece::Header;
use potluck_common::wire::{Text, index};
use serde_cbor::Value;

use crate::raw::{Behaviour, Said};

/// A name that every parser takes, in the place of the offer's own.
pub(super) fn stand_in(number: usize) -> String {
    format!("stand-in/{number}")
}

pub(super) fn rename(value: &mut Value, names: &BTreeMap<String, String>) {
    match value {
        Value::Text(text) => {
            if let Some(name) = names.get(text) {
                name.clone_into(text);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, names)),
        Value::Map(map) => map.values_mut().for_each(|item| rename(item, names)),
        _ => {}
    }
}

pub(super) fn external(swarm: &Swarm<Behaviour>) -> Vec<index::Address> {
    swarm.external_addresses().map(|address| Text::truncated(&address.to_string())).collect()
}

/// The pieces of a file: number, hash and bytes.
pub(super) fn pieces(content: &[u8]) -> impl Iterator<Item = (PieceIndex, PieceHash, &[u8])> {
    let geometry = Geometry::new(content.len() as u64).ok();
    geometry.into_iter().flat_map(move |geometry| {
        geometry.pieces().map(move |piece| {
            let start = geometry.offset(piece) as usize;
            let bytes = &content[start..start + geometry.length(piece) as usize];
            (piece, PieceHash::of(geometry, piece, bytes), bytes)
        })
    })
}

/// An answer of the piece protocol as bytes.
pub(super) fn frame(header: &Header, body: &[u8]) -> Vec<u8> {
    let header = encode(header).unwrap_or_default(); // a header always encodes
    [&(header.len() as u32).to_be_bytes()[..], &header, body].concat()
}

/// Leaves the asker without an answer: a dropped channel would close the stream, and that is an answer too.
pub(super) fn keep_waiting(channel: ResponseChannel<Said<PieceAnswer>>) {
    std::mem::forget(channel);
}
