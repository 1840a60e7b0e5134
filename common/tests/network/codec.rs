//! G005, G009: whatever bytes come, the codecs give a message or an error, small, and never a panic.

#![allow(clippy::unwrap_used)] // clippy knows `#[test]` functions, not their helpers

use futures::executor::block_on;
use futures::io::Cursor;
use libp2p::StreamProtocol;
use libp2p::request_response::Codec;
use potluck_common::buffer::BufferPool;
use potluck_common::codec::{
    CborCodec, Malformed, Meter, PieceAnswer, PieceCall, PieceCodec, decode, encode, read_next_request, write_next_request,
};
use potluck_common::content_id::ContentId;
use potluck_common::wire::index::{Answer, Request};
use potluck_common::wire::piece::{self, FileAnswer, Header};
use potluck_common::wire::{Bounded, MAX_BODY_BYTES, MAX_PIECE_REQUEST_BYTES, Refusal};
use proptest::prelude::*;

const PROTOCOL: StreamProtocol = StreamProtocol::new("/test/1");

fn codec() -> PieceCodec {
    PieceCodec::new(BufferPool::new(1))
}

fn read_answer(bytes: Vec<u8>) -> std::io::Result<PieceAnswer> {
    block_on(codec().read_response(&PROTOCOL, &mut Cursor::new(bytes)))
}

fn write_answer(answer: PieceAnswer) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    block_on(codec().write_response(&PROTOCOL, &mut bytes, answer)).unwrap();
    bytes.into_inner()
}

#[test]
fn a_header_that_names_a_huge_length_costs_nothing() {
    assert!(read_answer(vec![0xff; 8]).is_err());
    let header = encode(&Header::Piece { length: u32::MAX }).unwrap();
    let framed = [(header.len() as u32).to_be_bytes().to_vec(), header].concat();
    assert!(read_answer(framed).is_err());
    let many = Bounded::truncated(std::iter::repeat_with(|| FileAnswer::Length(u32::MAX)).take(256));
    let header = encode(&Header::Files { files: many }).unwrap();
    assert!(read_answer([(header.len() as u32).to_be_bytes().to_vec(), header].concat()).is_err());
}

#[test]
fn a_body_that_ends_early_is_an_error() {
    let body = vec![7; 100_000];
    let whole = write_answer(PieceAnswer { header: Header::Piece { length: 100_000 }, body: body.into() });
    assert_eq!(read_answer(whole.clone()).unwrap().body.len(), 100_000);
    assert!(read_answer(whole[..whole.len() - 1].to_vec()).is_err());
}

#[test]
fn an_answer_that_was_given_up_is_not_read_on() {
    let meter = Meter::default();
    let call = PieceCall { request: Ok(piece::Request::Have { content_id: ContentId::of(b"x"), from: 0 }), meter: meter.clone() };
    let mut asking = codec();
    block_on(asking.write_request(&PROTOCOL, &mut Cursor::new(Vec::new()), call)).unwrap();
    meter.give_up();
    let answer = write_answer(PieceAnswer { header: Header::Piece { length: 10 }, body: vec![1; 10].into() });
    assert!(block_on(asking.read_response(&PROTOCOL, &mut Cursor::new(answer))).is_err());
}

fn next_request(io: &mut Cursor<Vec<u8>>) -> std::io::Result<Option<Result<piece::Request, Malformed>>> {
    block_on(read_next_request(io))
}

#[test]
fn requests_follow_each_other_on_a_stream() {
    let requests = [0, 7].map(|from| piece::Request::Have { content_id: ContentId::of(b"x"), from });
    let mut io = Cursor::new(Vec::new());
    requests.iter().for_each(|request| block_on(write_next_request(&mut io, request)).unwrap());
    io.set_position(0);
    for request in requests {
        assert_eq!(next_request(&mut io).unwrap(), Some(Ok(request)));
    }
    assert_eq!(next_request(&mut io).unwrap(), None);
}

#[test]
fn a_malformed_request_does_not_hide_the_next() {
    let mut io = Cursor::new(vec![0, 3, 1, 2, 3, 0, 0]);
    assert!(next_request(&mut io).unwrap().unwrap().is_err());
    assert!(next_request(&mut io).unwrap().unwrap().is_err());
    assert_eq!(next_request(&mut io).unwrap(), None);
}

#[test]
fn a_request_that_ends_early_or_is_too_long_ends_its_stream() {
    let most = (MAX_PIECE_REQUEST_BYTES as u16).to_be_bytes().to_vec();
    assert!(next_request(&mut Cursor::new([most.clone(), vec![0; MAX_PIECE_REQUEST_BYTES]].concat())).unwrap().unwrap().is_err());
    let more = (MAX_PIECE_REQUEST_BYTES as u16 + 1).to_be_bytes().to_vec();
    assert!(next_request(&mut Cursor::new([more, vec![0; MAX_PIECE_REQUEST_BYTES + 1]].concat())).is_err());
    assert!(next_request(&mut Cursor::new(most)).is_err());
    assert!(next_request(&mut Cursor::new(vec![0])).is_err());
}

proptest! {
    #[test]
    fn any_bytes_are_a_message_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = decode::<Request>(&bytes);
        let _ = decode::<Answer>(&bytes);
        let _ = decode::<piece::Request>(&bytes);
        if let Ok(answer) = read_answer(bytes.clone()) {
            prop_assert!(answer.body.len() <= MAX_BODY_BYTES && answer.header.body_length() == Some(answer.body.len()));
        }
        let _ = next_request(&mut Cursor::new(bytes.clone()));
        let mut index = CborCodec::<Request, Answer>::default();
        let _ = block_on(index.read_request(&PROTOCOL, &mut Cursor::new(bytes)));
    }

    #[test]
    fn a_message_with_one_byte_changed_is_a_message_or_an_error(at in any::<prop::sample::Index>(), to in any::<u8>()) {
        let mut bytes = encode(&Answer::Refused { why: Refusal::OverQuota }).unwrap();
        let at = at.index(bytes.len());
        bytes[at] = to;
        let _ = decode::<Answer>(&bytes);
    }

    #[test]
    fn every_body_arrives_as_it_was_sent(body in proptest::collection::vec(any::<u8>(), 0..200_000)) {
        let header = Header::Piece { length: body.len() as u32 };
        let read = read_answer(write_answer(PieceAnswer { header: header.clone(), body: body.clone().into() })).unwrap();
        prop_assert_eq!(read.header, header);
        prop_assert_eq!(&*read.body, body.as_slice());
    }
}
