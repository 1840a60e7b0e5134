//! Reusable buffers for the bodies of answers: a transfer allocates a few of them once, and no more.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use crate::wire::MAX_BODY_BYTES;

/// Bodies up to this many bytes, as parts of pieces are, are allocated for themselves: taking a whole piece's buffer for them wastes
/// memory.
const SMALL_BYTES: usize = 256 << 10;

/// A store of buffers of [`MAX_BODY_BYTES`]. Cloning shares the store.
#[derive(Clone, Debug)]
pub struct BufferPool {
    idle: Arc<Mutex<Vec<Box<[u8]>>>>,
    keep: usize,
}

/// Bytes of a body: as long as was asked for, at most [`MAX_BODY_BYTES`]. Goes back to its pool when dropped.
#[derive(Debug, Default)]
pub struct Buffer {
    bytes: Box<[u8]>,
    length: usize,
    home: Option<BufferPool>,
}

impl BufferPool {
    /// A pool that keeps at most `keep` idle buffers, each of 1 MiB.
    #[must_use]
    pub fn new(keep: usize) -> Self {
        Self { idle: Arc::default(), keep }
    }

    /// A buffer of `length` bytes with unspecified content; `None` when that is more than [`MAX_BODY_BYTES`].
    #[must_use]
    pub fn take(&self, length: usize) -> Option<Buffer> {
        if length > MAX_BODY_BYTES {
            return None;
        }
        if length <= SMALL_BYTES {
            return Some(Buffer { bytes: vec![0; length].into(), length, home: None });
        }
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let bytes = idle.unwrap_or_else(|| vec![0; MAX_BODY_BYTES].into());
        Some(Buffer { bytes, length, home: Some(self.clone()) })
    }
}

impl Buffer {
    /// Shortens the buffer; longer than it is has no effect.
    pub fn truncate(&mut self, length: usize) {
        self.length = self.length.min(length);
    }
}

impl Deref for Buffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(..self.length).unwrap_or_default()
    }
}

impl From<Vec<u8>> for Buffer {
    fn from(bytes: Vec<u8>) -> Self {
        Self { length: bytes.len(), bytes: bytes.into(), home: None }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(pool) = &self.home {
            let mut idle = pool.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < pool.keep {
                idle.push(std::mem::take(&mut self.bytes));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_buffer_is_taken_again_and_the_pool_stays_small() {
        let pool = BufferPool::new(1);
        let address = |buffer: &Buffer| buffer.as_ptr();
        let first = pool.take(MAX_BODY_BYTES).unwrap();
        let second = pool.take(300_000).unwrap();
        let kept = address(&second);
        drop(second);
        drop(first);
        let again = pool.take(MAX_BODY_BYTES).unwrap();
        assert_eq!(address(&again), kept);
        assert_eq!(pool.idle.lock().unwrap().len(), 0);
        assert!(pool.take(MAX_BODY_BYTES + 1).is_none());
    }
}
