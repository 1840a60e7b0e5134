//! Targets that take bytes as they are.

use std::fmt::Debug;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::executor::block_on;
use futures::task::noop_waker;
use futures::{AsyncRead, AsyncWrite};
use libp2p::StreamProtocol;
use libp2p::core::muxing::StreamMuxer;
use libp2p::core::upgrade::InboundConnectionUpgrade;
use libp2p::request_response::Codec;
use potluck_common::buffer::BufferPool;
use potluck_common::certificate::{open, open_list};
use potluck_common::codec::{CborCodec, PieceCodec, decode, encode, read_next_request};
use potluck_common::content_id::{ContentId, PieceHash};
use potluck_common::geometry::Geometry;
use potluck_common::muxer::MuxerConfig;
use potluck_common::wire::admit::{CertificateBytes, DenyListBytes};
use potluck_common::wire::{MAX_ADMIT_MESSAGE_BYTES, admit, index, piece};
use potluck_node::core::piece_set::PieceSet;
use potluck_node::store::DownloadRecord;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Streams that the muxer's target takes and keeps: as many as a connection may have, and one.
const STREAMS: usize = 257;
/// Steps of the muxer's target; each handles what has come.
const STEPS: usize = 64;

/// Any CBOR: the first byte says what it is taken for.
pub fn messages(input: &[u8]) {
    let Some((kind, bytes)) = input.split_first() else { return };
    match kind % 8 {
        0 => survives::<index::Request>(bytes),
        1 => survives::<index::Answer>(bytes),
        2 => survives::<piece::Request>(bytes),
        3 => survives::<piece::Header>(bytes),
        4 => survives::<admit::Request>(bytes),
        5 => survives::<admit::Answer>(bytes),
        6 => survives::<admit::Claims>(bytes),
        _ => survives::<admit::DenyList>(bytes),
    }
}

fn survives<M: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) {
    let Ok(message) = decode::<M>(bytes) else { return };
    let again = encode(&message).map(|again| decode::<M>(&again));
    assert!(matches!(&again, Ok(Ok(same)) if *same == message), "{message:?} became {again:?}");
}

/// A stream: the first byte says which, the second how many bytes come at a time.
pub fn frames(input: &[u8]) {
    let [kind, step, bytes @ ..] = input else { return };
    let mut io = Line { incoming: bytes.to_vec(), at: 0, step: usize::from(*step).pow(2) + 1 };
    let mut pieces = PieceCodec::new(BufferPool::new(1));
    let protocol = StreamProtocol::new("/fuzz");
    match kind % 6 {
        0 => drop(block_on(CborCodec::<index::Request, index::Answer>::default().read_request(&protocol, &mut io))),
        1 => drop(block_on(CborCodec::<index::Request, index::Answer>::default().read_response(&protocol, &mut io))),
        2 => {
            let mut codec = CborCodec::<admit::Request, admit::Answer, MAX_ADMIT_MESSAGE_BYTES>::default();
            drop(block_on(codec.read_request(&protocol, &mut io)));
        }
        3 => drop(block_on(pieces.read_request(&protocol, &mut io))),
        4 => {
            if let Ok(answer) = block_on(pieces.read_response(&protocol, &mut io)) {
                assert_eq!(answer.header.body_length(), Some(answer.body.len()));
                assert_eq!(answer.body.last(), io.incoming[..io.at].last().filter(|_| !answer.body.is_empty()));
            }
        }
        _ => while let Ok(Some(_)) = block_on(read_next_request(&mut io)) {},
    }
}

/// A connection after its encryption, as the listening side reads it; the first byte says how many bytes come at a time.
pub fn muxer(input: &[u8]) {
    let Some((step, bytes)) = input.split_first() else { return };
    let io = Line { incoming: bytes.to_vec(), at: 0, step: usize::from(*step).pow(2) + 1 };
    let Ok(muxer) = block_on(MuxerConfig.upgrade_inbound(io, "/yamux/1.0.0"));
    let (mut muxer, waker) = (Box::pin(muxer), noop_waker());
    let mut cx = Context::from_waker(&waker);
    let mut streams = Vec::new();
    for _ in 0..STEPS {
        if let Poll::Ready(Err(_)) = muxer.as_mut().poll(&mut cx) {
            break;
        }
        while let Poll::Ready(Ok(stream)) = muxer.as_mut().poll_inbound(&mut cx) {
            streams.push(stream);
            assert!(streams.len() < STREAMS, "a remote opened more streams than it may");
        }
        let mut part = [0; 512];
        for stream in &mut streams {
            let _ = Pin::new(stream).poll_read(&mut cx, &mut part);
        }
    }
}

/// A certificate or a deny list.
pub fn signed(bytes: &[u8]) {
    if let Some(certificate) = CertificateBytes::new(bytes.to_vec()) {
        assert!(open(&certificate).is_err(), "a forged certificate");
    }
    if let Some(list) = DenyListBytes::new(bytes.to_vec()) {
        assert!(open_list(&list).is_err(), "a forged deny list");
    }
}

/// A size, and hashes that somebody says are those of a file.
pub fn hashes(input: &[u8]) {
    let Some((size, rest)) = input.split_first_chunk::<8>() else { return };
    let (told, _) = rest.as_chunks::<32>();
    let told: Vec<PieceHash> = told.iter().copied().map(PieceHash::from_bytes).collect();
    let Ok(geometry) = Geometry::new(u64::from_le_bytes(*size)) else { return };
    let combined = ContentId::combine(geometry, &told);
    assert_eq!(combined.is_some(), told.len() as u64 == geometry.piece_count());
    if let [first, second, ..] = told.as_slice()
        && first != second
    {
        let swapped: Vec<PieceHash> = [*second, *first].into_iter().chain(told.iter().skip(2).copied()).collect();
        assert!(combined.is_none() || combined != ContentId::combine(geometry, &swapped), "the order of pieces does not count");
    }
}

/// Sizes of files whose bitmaps are tried: up to 1024 pieces, which are 16 words of a set. More are more of the same, and cost so
/// much time that little else is tried.
const MOST_OF_A_BITMAP: u64 = 1 << 30;

/// The record and the bitmap of a download, as a disk may have damaged them.
pub fn resume(input: &[u8]) {
    let Some((size, bytes)) = input.split_first_chunk::<8>() else { return };
    if let Ok(record) = serde_cbor::from_slice::<DownloadRecord>(bytes) {
        let again = serde_cbor::to_vec(&record).map(|again| serde_cbor::from_slice::<DownloadRecord>(&again));
        assert!(matches!(&again, Ok(Ok(same)) if *same == record), "{record:?} became {again:?}");
    }
    let Ok(geometry) = Geometry::new(u64::from_le_bytes(*size) % MOST_OF_A_BITMAP) else { return };
    let set = PieceSet::from_bytes(geometry, bytes);
    assert!(set.bytes() <= geometry.size());
    assert_eq!(PieceSet::from_bytes(geometry, &set.to_bytes()), set);
    assert_eq!(set.iter().count() as u32, set.count());
    assert_eq!(u64::from(set.complement().count()) + u64::from(set.count()), geometry.piece_count());
}

/// Bytes that come a few at a time and then end. What is written is lost.
struct Line {
    incoming: Vec<u8>,
    at: usize,
    step: usize,
}

impl AsyncRead for Line {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let rest = self.incoming.get(self.at..).unwrap_or_default();
        let count = rest.len().min(buffer.len()).min(self.step);
        buffer[..count].copy_from_slice(&rest[..count]);
        self.at += count;
        Poll::Ready(Ok(count))
    }
}

impl AsyncWrite for Line {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
