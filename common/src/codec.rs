//! How messages become bytes on a stream, with a hard limit on each.
//!
//! [`CborCodec`] carries one CBOR message each way. [`PieceCodec`] carries a CBOR request, and an answer with a body of
//! raw bytes read into a reused buffer; nodes, which keep the streams of that protocol, use its functions by themselves. All of
//! it runs inside a connection's one task: nothing touches a disk nor hashes.
//!
//! A request that cannot be decoded becomes `Err(Malformed)` instead of a broken stream, so that the other side is told
//! [`Refusal::Unsupported`](crate::wire::Refusal::Unsupported) and the peer can be counted. One that is too long resets the
//! stream: its sender would wait for ever to get rid of the rest.

use std::io;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::StreamProtocol;
use libp2p::request_response::Codec;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::buffer::{Buffer, BufferPool};
use crate::wire::piece::{Header, Request};
use crate::wire::{MAX_INDEX_MESSAGE_BYTES, MAX_PIECE_HEADER_BYTES, MAX_PIECE_REQUEST_BYTES};

/// Bytes of a body that are read before the meter is moved: about one frame of the muxer.
const READ_BYTES: usize = 256 << 10;
/// Bytes of the first write of an answer: header and the start of the body in one frame.
const FIRST_WRITE_BYTES: usize = 60 << 10;
/// Bytes of a CBOR message in one frame of the muxer. libp2p's Noise keeps buffers of twice the largest frame that it has seen on either side of
/// a connection, for as long as that is open: with frames as they suit pieces, a thousand peers that have published once and then are idle cost a
/// tracker 110 MB.
const MESSAGE_FRAME_BYTES: usize = 8 << 10;
/// Bodies up to this, such as parts of pieces, are written in frames of so many bytes: parts come by up to forty connections at once, which
/// would cost either side a third of a megabyte each, and no more than a tenth like this.
const SHORT_BODY_BYTES: usize = 128 << 10;
const SHORT_BODY_FRAME_BYTES: usize = 16 << 10;
/// Bytes before each request of a stream that carries several.
const REQUEST_PREFIX: usize = 2;

/// A message that was no CBOR, or of an unknown variant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed message: {0}")]
pub struct Malformed(String);

/// One CBOR message each way, of at most `MOST` bytes.
#[derive(Debug)]
pub struct CborCodec<Q, A, const MOST: usize = MAX_INDEX_MESSAGE_BYTES>(PhantomData<fn() -> (Q, A)>);

impl<Q, A, const MOST: usize> Clone for CborCodec<Q, A, MOST> {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl<Q, A, const MOST: usize> Default for CborCodec<Q, A, MOST> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<Q, A, const MOST: usize> Codec for CborCodec<Q, A, MOST>
where
    Q: Serialize + DeserializeOwned + Send,
    A: Serialize + DeserializeOwned + Send,
{
    type Protocol = StreamProtocol;
    type Request = Result<Q, Malformed>;
    type Response = A;

    async fn read_request<T: AsyncRead + Unpin + Send>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Self::Request> {
        read_request(io, MOST).await
    }

    async fn read_response<T: AsyncRead + Unpin + Send>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<A> {
        let bytes = read_message(io, MOST).await?;
        decode(&bytes).map_err(invalid)
    }

    async fn write_request<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        request: Self::Request,
    ) -> io::Result<()> {
        write_in_frames(io, &encode_within(&request.map_err(invalid)?, MOST)?, MESSAGE_FRAME_BYTES).await
    }

    async fn write_response<T: AsyncWrite + Unpin + Send>(&mut self, _: &StreamProtocol, io: &mut T, answer: A) -> io::Result<()> {
        write_in_frames(io, &encode_within(&answer, MOST)?, MESSAGE_FRAME_BYTES).await
    }
}

/// Writes in frames of so many bytes, or as many as the muxer has in one.
async fn write_in_frames<T: AsyncWrite + Unpin>(io: &mut T, message: &[u8], frame: usize) -> io::Result<()> {
    for part in message.chunks(frame) {
        io.write_all(part).await?;
    }
    Ok(())
}

/// A request of the piece protocol, with what watches over its answer.
#[derive(Clone, Debug)]
pub struct PieceCall {
    /// The request, as far as it could be decoded.
    pub request: Result<Request, Malformed>,
    /// Follows the body of the answer; only of use on the asking side.
    pub meter: Meter,
}

/// How many bytes of an answer's body have come, and a way to give the rest up. Cloning shares the meter.
#[derive(Clone, Debug, Default)]
pub struct Meter(Arc<MeterState>);

#[derive(Debug, Default)]
struct MeterState {
    bytes: AtomicU64,
    given_up: AtomicBool,
}

impl Meter {
    /// Bytes of the body that have come so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// Ends the answer at its next bytes: the stream is reset, nothing more of it is sent.
    pub fn give_up(&self) {
        self.0.given_up.store(true, Ordering::Relaxed);
    }

    fn add(&self, bytes: usize) -> io::Result<()> {
        self.0.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        if self.0.given_up.load(Ordering::Relaxed) { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
    }
}

/// An answer of the piece protocol.
#[derive(Debug)]
pub struct PieceAnswer {
    /// What it is.
    pub header: Header,
    /// Its bytes; exactly [`Header::body_length`].
    pub body: Buffer,
}

impl From<Header> for PieceAnswer {
    /// An answer without a body.
    fn from(header: Header) -> Self {
        Self { header, body: Buffer::default() }
    }
}

/// A CBOR request, and an answer of a header and raw bytes.
#[derive(Clone, Debug)]
pub struct PieceCodec {
    buffers: BufferPool,
    /// Of the request that this clone carries: libp2p clones the codec for every stream.
    meter: Meter,
}

impl PieceCodec {
    /// A codec that reads bodies into buffers of this pool.
    #[must_use]
    pub fn new(buffers: BufferPool) -> Self {
        Self { buffers, meter: Meter::default() }
    }
}

impl Codec for PieceCodec {
    type Protocol = StreamProtocol;
    type Request = PieceCall;
    type Response = PieceAnswer;

    async fn read_request<T: AsyncRead + Unpin + Send>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<PieceCall> {
        Ok(PieceCall { request: read_only_request(io).await?, meter: Meter::default() })
    }

    async fn write_request<T: AsyncWrite + Unpin + Send>(&mut self, _: &StreamProtocol, io: &mut T, call: PieceCall) -> io::Result<()> {
        self.meter = call.meter;
        write_only_request(io, &call.request.map_err(invalid)?).await
    }

    async fn read_response<T: AsyncRead + Unpin + Send>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<PieceAnswer> {
        read_answer(io, &self.buffers, &self.meter).await
    }

    async fn write_response<T: AsyncWrite + Unpin + Send>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        answer: PieceAnswer,
    ) -> io::Result<()> {
        write_answer(io, &answer).await
    }
}

/// Reads the only request of a stream of `/potluck/piece/1`: all that comes before its end.
///
/// # Errors
/// When the stream fails, or the request is too long.
pub async fn read_only_request<T: AsyncRead + Unpin>(io: &mut T) -> io::Result<Result<Request, Malformed>> {
    read_request(io, MAX_PIECE_REQUEST_BYTES).await
}

/// Writes the only request of a stream of `/potluck/piece/1`; the caller closes its half of the stream.
///
/// # Errors
/// When the stream fails.
pub async fn write_only_request<T: AsyncWrite + Unpin>(io: &mut T, request: &Request) -> io::Result<()> {
    io.write_all(&encode_within(request, MAX_PIECE_REQUEST_BYTES)?).await
}

/// Reads the next request of a stream of `/potluck/pieces/1`; `None` when the stream ended before it.
///
/// # Errors
/// When the stream fails, ends within the request, or the request is too long.
pub async fn read_next_request<T: AsyncRead + Unpin>(io: &mut T) -> io::Result<Option<Result<Request, Malformed>>> {
    let mut prefix = [0; REQUEST_PREFIX];
    let (first, rest) = prefix.split_at_mut(1);
    if io.read(first).await? == 0 {
        return Ok(None);
    }
    io.read_exact(rest).await?;
    let length = usize::from(u16::from_be_bytes(prefix));
    if length > MAX_PIECE_REQUEST_BYTES {
        return Err(invalid(Malformed(format!("a request of {length} bytes"))));
    }
    let mut bytes = vec![0; length];
    io.read_exact(&mut bytes).await?;
    Ok(Some(decode(&bytes)))
}

/// Writes the next request of a stream of `/potluck/pieces/1`: its length in two bytes, big endian, and itself.
///
/// # Errors
/// When the stream fails.
pub async fn write_next_request<T: AsyncWrite + Unpin>(io: &mut T, request: &Request) -> io::Result<()> {
    let bytes = encode_within(request, MAX_PIECE_REQUEST_BYTES)?;
    let mut framed = Vec::with_capacity(REQUEST_PREFIX + bytes.len());
    framed.extend_from_slice(&(bytes.len() as u16).to_be_bytes());
    framed.extend_from_slice(&bytes);
    io.write_all(&framed).await
}

/// Reads an answer of the piece protocol, and nothing that comes behind it, into a buffer of the pool.
///
/// # Errors
/// When the stream fails or ends early, the header is none or promises too much, or the meter was told to give up.
pub async fn read_answer<T: AsyncRead + Unpin>(io: &mut T, buffers: &BufferPool, meter: &Meter) -> io::Result<PieceAnswer> {
    let mut prefix = [0; 4];
    io.read_exact(&mut prefix).await?;
    let length = u32::from_be_bytes(prefix) as usize;
    if length > MAX_PIECE_HEADER_BYTES {
        return Err(invalid(Malformed(format!("a header of {length} bytes"))));
    }
    let mut header = vec![0; length];
    io.read_exact(&mut header).await?;
    let header: Header = decode(&header).map_err(invalid)?;
    let too_long = || invalid(Malformed("a body longer than any answer".into()));
    let mut body = header.body_length().and_then(|length| buffers.take(length)).ok_or_else(too_long)?;
    meter.add(0)?;
    for part in body.chunks_mut(READ_BYTES) {
        read_part(io, part, meter).await?;
    }
    Ok(PieceAnswer { header, body })
}

/// Writes an answer of the piece protocol.
///
/// # Errors
/// When the stream fails.
pub async fn write_answer<T: AsyncWrite + Unpin>(io: &mut T, answer: &PieceAnswer) -> io::Result<()> {
    let header = serde_cbor::to_vec(&answer.header).map_err(io::Error::other)?;
    let start = answer.body.len().min(FIRST_WRITE_BYTES);
    let (start, rest) = answer.body.split_at(start);
    let mut first = Vec::with_capacity(4 + header.len() + start.len());
    first.extend_from_slice(&(header.len() as u32).to_be_bytes());
    first.extend_from_slice(&header);
    first.extend_from_slice(start);
    let frame = if answer.body.len() <= SHORT_BODY_BYTES { SHORT_BODY_FRAME_BYTES } else { usize::MAX };
    write_in_frames(io, &first, frame).await?;
    write_in_frames(io, rest, frame).await
}

/// Fills `part`, moving the meter with every read.
async fn read_part<T: AsyncRead + Unpin>(io: &mut T, mut part: &mut [u8], meter: &Meter) -> io::Result<()> {
    while !part.is_empty() {
        let read = io.read(part).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        meter.add(read)?;
        part = part.get_mut(read..).unwrap_or_default();
    }
    Ok(())
}

async fn read_request<T: AsyncRead + Unpin, Q: DeserializeOwned>(io: &mut T, most: usize) -> io::Result<Result<Q, Malformed>> {
    Ok(decode(&read_message(io, most).await?))
}

/// Reads to the end of the stream, but no further than `most` bytes. Memory grows with what has come, never with a
/// length that the sender names.
async fn read_message<T: AsyncRead + Unpin>(io: &mut T, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io.take(most as u64 + 1).read_to_end(&mut bytes).await?;
    if bytes.len() > most { Err(invalid(Malformed(format!("more than {most} bytes")))) } else { Ok(bytes) }
}

fn encode_within<M: Serialize>(message: &M, most: usize) -> io::Result<Vec<u8>> {
    let bytes = encode(message)?;
    if bytes.len() > most {
        return Err(invalid(Malformed(format!("our own message has {} bytes of at most {most}", bytes.len()))));
    }
    Ok(bytes)
}

/// A message as CBOR.
///
/// # Errors
/// When a map's length is unknown or a key is no text; no message of this crate is such.
pub fn encode<M: Serialize>(message: &M) -> io::Result<Vec<u8>> {
    serde_cbor::to_vec(message).map_err(io::Error::other)
}

/// A message from CBOR, the whole of `bytes`.
///
/// # Errors
/// When the bytes are no message of that type. Depth is limited by the decoder, lengths by the types.
pub fn decode<M: DeserializeOwned>(bytes: &[u8]) -> Result<M, Malformed> {
    serde_cbor::from_slice(bytes).map_err(|error| Malformed(error.to_string()))
}

fn invalid(error: Malformed) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
