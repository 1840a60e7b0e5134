//! [`film`]: a video that browsers play, made without any codec: each frame is an H.264 picture whose blocks are not compressed
//! (`I_PCM`), in an MP4 file whose index comes first. So it is large for what it shows, as a film that is still arriving has to be.

use std::fs;
use std::io::{BufWriter, Write};
use std::path::Path;

use crate::failure::Result;

/// Blocks of 16 × 16 pixels in a row, and rows: 320 × 176 pixels.
const ACROSS: u32 = 20;
const DOWN: u32 = 11;
/// Pixels in a row of a film.
pub const WIDTH: u32 = ACROSS * 16;
/// Frames a second. With the size of a frame, 846 kB a second.
const RATE: u32 = 10;
/// The length code of an `I_PCM` block, with the zero bits that align its samples: Exp-Golomb for 25.
const PLAIN_BLOCK: [u8; 2] = [0x0d, 0x00];
/// The darkest sample. None is 0, so that no sample looks like the start of something.
const BLACK: u8 = 16;

/// Bits, the first in the highest place.
#[derive(Debug, Default)]
struct Bits {
    bytes: Vec<u8>,
    used: u32,
}

impl Bits {
    fn put(&mut self, value: u32, count: u32) {
        for at in (0..count).rev() {
            if self.used.is_multiple_of(8) {
                self.bytes.push(0);
            }
            if let Some(last) = self.bytes.last_mut() {
                *last |= ((value >> at & 1) as u8) << (7 - self.used % 8);
            }
            self.used += 1;
        }
    }

    /// Exp-Golomb, as H.264 writes most numbers.
    fn golomb(&mut self, value: u32) {
        let length = (value + 1).ilog2();
        self.put(0, length);
        self.put(value + 1, length + 1);
    }

    /// The one that ends a unit, and zeros up to the byte.
    fn ended(mut self) -> Vec<u8> {
        self.put(1, 1);
        self.bytes
    }
}

/// What holds for all frames: baseline, level 3.
fn sequence() -> Vec<u8> {
    let mut bits = Bits { bytes: vec![0x67, 66, 0xc0, 30], used: 32 };
    for value in [0, 0, 2, 0] {
        bits.golomb(value); // its number, 4 bits for frame numbers, frames come in their order, none refers to another
    }
    bits.put(0, 1);
    bits.golomb(ACROSS - 1);
    bits.golomb(DOWN - 1);
    bits.put(0b1100, 4); // whole frames, 8 × 8 inference; neither cropped nor described further
    bits.ended()
}

/// What holds for all pictures: plain entropy coding, and a filter that can be turned off.
fn picture() -> Vec<u8> {
    let mut bits = Bits { bytes: vec![0x68], used: 8 };
    bits.golomb(0);
    bits.golomb(0);
    bits.put(0, 2);
    [0; 3].into_iter().for_each(|value| bits.golomb(value));
    bits.put(0, 3);
    [0; 3].into_iter().for_each(|value| bits.golomb(value));
    bits.put(0b100, 3);
    bits.ended()
}

/// One frame: a bright bar that moves over a slope of grey, on a ground whose colour is the film's own, with some grain.
fn frame(number: u32, seed: u64) -> Vec<u8> {
    let mut bits = Bits { bytes: vec![0x65], used: 8 };
    bits.golomb(0);
    bits.golomb(7); // blocks that need no other picture
    bits.golomb(0);
    bits.put(0, 4);
    bits.golomb(number % 2); // two that follow each other differ
    bits.put(0, 2);
    bits.golomb(0);
    bits.golomb(1); // no filter
    let mut grain = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(number) | 1;
    let mut bytes = Vec::new();
    for block in 0..ACROSS * DOWN {
        if block == 0 {
            bits.golomb(25);
            bytes.append(&mut bits.bytes); // its last byte ends in zeros
        } else {
            bytes.extend(PLAIN_BLOCK);
        }
        let (left, top) = (block % ACROSS * 16, block / ACROSS * 16);
        for pixel in 0..256 {
            let (x, y) = (left + pixel % 16, top + pixel / 16);
            grain ^= grain << 13;
            grain ^= grain >> 7;
            grain ^= grain << 17;
            let is_bar = (x + y / 2).wrapping_sub(number * 4) % 96 < 24;
            let light = if is_bar { 200 } else { 40 + x / 4 };
            bytes.push(BLACK + light as u8 + (grain & 15) as u8);
        }
        bytes.extend([BLACK + (seed * 53 % 200) as u8 + 8; 64]);
        bytes.extend([BLACK + (seed * 97 % 200) as u8 + 8; 64]);
    }
    bytes.push(0x80);
    bytes
}

/// A box of MP4: its length, its name, what is in it.
fn boxed(name: &[u8; 4], parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = content.len() as u32 + 8;
    [&length.to_be_bytes()[..], name, &content].concat()
}

/// Numbers of 32 bits.
fn words(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_be_bytes()).collect()
}

/// How the frames are to be read.
fn description() -> Vec<u8> {
    let (sequence, picture) = (sequence(), picture());
    let size = [WIDTH as u16, (DOWN * 16) as u16].map(u16::to_be_bytes).concat();
    let sets = [
        &[1, 66, 0xc0, 30, 0xff, 0xe1][..], // lengths have four bytes; one sequence
        &(sequence.len() as u16).to_be_bytes(),
        &sequence,
        &[1],
        &(picture.len() as u16).to_be_bytes(),
        &picture,
    ];
    let start = [&[0; 6][..], &[0, 1], &[0; 16], &size, &words(&[72 << 16, 72 << 16, 0]), &[0, 1], &[0; 32], &[0, 24, 0xff, 0xff]];
    boxed(b"avc1", &[&start.concat(), &boxed(b"avcC", &sets)])
}

/// What comes before the frames; `first` is where the first of them begins.
fn index(sizes: &[u32], first: u32) -> Vec<u8> {
    let count = sizes.len() as u32;
    let matrix = words(&[1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30]);
    let movie = boxed(b"mvhd", &[&words(&[0, 0, 0, RATE, count, 1 << 16, 1 << 24, 0, 0]), &matrix, &words(&[0, 0, 0, 0, 0, 0, 2])]);
    let shape = words(&[WIDTH << 16, (DOWN * 16) << 16]);
    let track = boxed(b"tkhd", &[&words(&[7, 0, 0, 1, 0, count, 0, 0, 0, 0]), &matrix, &shape]);
    let media = boxed(b"mdhd", &[&words(&[0, 0, 0, RATE, count, 0x55c4 << 16])]);
    let handler = boxed(b"hdlr", &[&words(&[0, 0]), b"vide", &words(&[0, 0, 0]), b"film\0"]);
    let here = boxed(b"dinf", &[&boxed(b"dref", &[&words(&[0, 1]), &boxed(b"url ", &[&words(&[1])])])]);
    let table = boxed(
        b"stbl",
        &[
            &boxed(b"stsd", &[&words(&[0, 1]), &description()]),
            &boxed(b"stts", &[&words(&[0, 1, count, 1])]),
            &boxed(b"stsc", &[&words(&[0, 1, 1, count, 1])]),
            &boxed(b"stsz", &[&words(&[0, 0, count]), &words(sizes)]),
            &boxed(b"stco", &[&words(&[0, 1, first])]),
        ],
    );
    let information = boxed(b"minf", &[&boxed(b"vmhd", &[&words(&[1, 0, 0])]), &here, &table]);
    boxed(b"moov", &[&movie, &boxed(b"trak", &[&track, &boxed(b"mdia", &[&media, &handler, &information])])])
}

/// Writes a film of so many seconds; another seed is another colour.
///
/// # Errors
/// When it cannot be written.
pub fn film(path: &Path, seconds: u32, seed: u64) -> Result {
    fs::create_dir_all(path.parent().unwrap_or(path))?;
    let frames: Vec<Vec<u8>> = (0..seconds * RATE).map(|number| frame(number, seed)).collect();
    let sizes: Vec<u32> = frames.iter().map(|frame| frame.len() as u32 + 4).collect();
    let kind = boxed(b"ftyp", &[b"isom", &words(&[512]), b"isomavc1"]);
    let before = kind.len() + index(&sizes, 0).len() + 8;
    let all: u32 = sizes.iter().sum();
    let mut file = BufWriter::new(fs::File::create(path)?);
    file.write_all(&kind)?;
    file.write_all(&index(&sizes, before as u32))?;
    file.write_all(&words(&[all + 8]))?;
    file.write_all(b"mdat")?;
    for frame in &frames {
        file.write_all(&words(&[frame.len() as u32]))?;
        file.write_all(frame)?;
    }
    Ok(file.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_h264_writes_them() {
        let mut bits = Bits::default();
        [0, 1, 2, 25].into_iter().for_each(|value| bits.golomb(value));
        assert_eq!((bits.used, &bits.bytes[..]), (1 + 3 + 3 + 9, &[0b1010_0110, 0b0001_1010][..]));
        assert_eq!(Bits::default().ended(), [0x80]);
    }

    #[test]
    fn nothing_in_a_frame_looks_like_the_start_of_another() {
        let frame = frame(3, 9);
        assert_eq!(frame.len() as u32, ACROSS * DOWN * (384 + 2) + 4);
        assert!(frame.windows(3).all(|three| three[..2] != [0, 0] || three[2] > 3));
    }
}
