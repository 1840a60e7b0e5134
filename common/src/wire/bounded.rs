//! Collections with a most that is enforced while they are decoded, before memory is spent on them.

use std::fmt;
use std::ops::Deref;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// A list of at most `MOST` items. Decoding stops with an error at the first one too many.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Bounded<T, const MOST: usize>(Vec<T>);

impl<T, const MOST: usize> Bounded<T, MOST> {
    /// Takes the first `MOST` items of a list.
    #[must_use]
    pub fn truncated(items: impl IntoIterator<Item = T>) -> Self {
        Self(items.into_iter().take(MOST).collect())
    }

    /// The items.
    #[must_use]
    pub fn into_vec(self) -> Vec<T> {
        self.0
    }
}

impl<T, const MOST: usize> Default for Bounded<T, MOST> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T, const MOST: usize> Deref for Bounded<T, MOST> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T, const MOST: usize> IntoIterator for Bounded<T, MOST> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'de, T: Deserialize<'de>, const MOST: usize> Deserialize<'de> for Bounded<T, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items<T, const MOST: usize>(std::marker::PhantomData<T>);

        impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for Items<T, MOST> {
            type Value = Vec<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of at most {MOST} items")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
                let mut items = Vec::new(); // never from the length that the sender names
                while let Some(item) = seq.next_element()? {
                    if items.len() == MOST {
                        return Err(Error::custom(format_args!("a list of more than {MOST} items")));
                    }
                    items.push(item);
                }
                Ok(items)
            }
        }

        deserializer.deserialize_seq(Items::<T, MOST>(std::marker::PhantomData)).map(Self)
    }
}

/// A text of at most `MOST` bytes of UTF-8.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Text<const MOST: usize>(String);

impl<const MOST: usize> Text<MOST> {
    /// Takes a text, cut at the last whole character that fits.
    #[must_use]
    pub fn truncated(text: &str) -> Self {
        Self(text.get(..text.floor_char_boundary_at(MOST)).unwrap_or_default().to_owned())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `str::floor_char_boundary`, which Rust 1.90 does not have yet.
trait FloorCharBoundary {
    fn floor_char_boundary_at(&self, most: usize) -> usize;
}

impl FloorCharBoundary for str {
    fn floor_char_boundary_at(&self, most: usize) -> usize {
        if self.len() <= most {
            return self.len();
        }
        (0..=most).rev().find(|at| self.is_char_boundary(*at)).unwrap_or(0)
    }
}

impl<const MOST: usize> Deref for Text<MOST> {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de, const MOST: usize> Deserialize<'de> for Text<MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Characters<const MOST: usize>;

        impl<const MOST: usize> Visitor<'_> for Characters<MOST> {
            type Value = String;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a text of at most {MOST} bytes")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
                if text.len() > MOST { Err(E::custom(format_args!("a text of more than {MOST} bytes"))) } else { Ok(text.to_owned()) }
            }
        }

        deserializer.deserialize_str(Characters::<MOST>).map(Self)
    }
}

/// At most `MOST` raw bytes: what another layer made, such as a signed envelope.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bytes<const MOST: usize>(Vec<u8>);

impl<const MOST: usize> Bytes<MOST> {
    /// Takes bytes if they are few enough.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Option<Self> {
        (bytes.len() <= MOST).then_some(Self(bytes))
    }

    /// Takes the first `MOST` bytes.
    #[must_use]
    pub fn truncated(bytes: &[u8]) -> Self {
        Self(bytes.iter().take(MOST).copied().collect())
    }

    /// The bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }
}

impl<const MOST: usize> Serialize for Bytes<MOST> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de, const MOST: usize> Deserialize<'de> for Bytes<MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Raw<const MOST: usize>;

        impl<const MOST: usize> Visitor<'_> for Raw<MOST> {
            type Value = Vec<u8>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "at most {MOST} bytes")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                if bytes.len() > MOST { Err(E::custom(format_args!("more than {MOST} bytes"))) } else { Ok(bytes.to_vec()) }
            }
        }

        deserializer.deserialize_bytes(Raw::<MOST>).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_allowed_are_decoded_and_one_more_is_an_error() {
        let three = serde_cbor::to_vec(&vec![1u8, 2, 3]).unwrap();
        assert_eq!(serde_cbor::from_slice::<Bounded<u8, 3>>(&three).unwrap().into_vec(), [1, 2, 3]);
        assert!(serde_cbor::from_slice::<Bounded<u8, 2>>(&three).is_err());
        let text = serde_cbor::to_vec(&"abc").unwrap();
        assert_eq!(serde_cbor::from_slice::<Text<3>>(&text).unwrap().as_str(), "abc");
        assert!(serde_cbor::from_slice::<Text<2>>(&text).is_err());
        let bytes = serde_cbor::to_vec(&Bytes::<3>::truncated(&[1, 2, 3, 4])).unwrap();
        assert_eq!(serde_cbor::from_slice::<Bytes<3>>(&bytes).unwrap().as_slice(), [1, 2, 3]);
        assert!(serde_cbor::from_slice::<Bytes<2>>(&bytes).is_err());
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(Text::<4>::truncated("a日本").as_str(), "a日");
        assert_eq!(Text::<0>::truncated("日").as_str(), "");
    }
}
