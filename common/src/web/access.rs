//! [`Access`]: who may use a page.
//!
//! Three ways in, each for another caller: the token, which lies in a file that only the user can read, for programs; a key,
//! which works once and for some minutes, to be typed or clicked; and a session, which a browser gets for either and keeps
//! as a cookie. A session is a time and a proof that whoever made it knew the token: it holds over restarts, lapses by
//! itself, and ends for all when the token file is deleted.

use std::time::{Duration, Instant};

/// How long a key works: long enough to change windows, too short to be found later in a scrollback.
const KEY_LIFE: Duration = Duration::from_secs(600);
/// Most keys at a time; the oldest makes room.
const MAX_KEYS: usize = 8;
/// How long a browser stays signed in, in seconds: 30 days.
const SESSION_SECONDS: i64 = 30 * 24 * 60 * 60;
/// Parts the hash of sessions from all other uses of the token.
const SESSION_CONTEXT: &str = "potluck 2026 page session";

/// Who may use the page.
///
/// The time comes in as an argument, and so does what must be random.
#[derive(Debug)]
pub struct Access {
    token: String,
    session_key: [u8; 32],
    keys: Vec<(String, Instant)>,
}

impl Access {
    /// Access for who knows a token.
    #[must_use]
    pub fn new(token: String) -> Self {
        let session_key = blake3::derive_key(SESSION_CONTEXT, token.as_bytes());
        Self { token, session_key, keys: Vec::new() }
    }

    /// Whether this is the token.
    #[must_use]
    pub fn is_token(&self, text: &str) -> bool {
        same(text, &self.token)
    }

    /// Makes a key of random bytes.
    pub fn new_key(&mut self, random: [u8; 16], now: Instant) -> String {
        if self.keys.len() == MAX_KEYS {
            self.keys.remove(0);
        }
        let key = hex(&random);
        self.keys.push((key.clone(), now + KEY_LIFE));
        key
    }

    /// Whether this is a key that still works; it does not work again.
    pub fn redeem(&mut self, text: &str, now: Instant) -> bool {
        self.keys.retain(|(_, until)| *until > now);
        let place = self.keys.iter().position(|(key, _)| same(text, key));
        place.inspect(|place| drop(self.keys.remove(*place))).is_some()
    }

    /// A session that begins now, and how many seconds it lasts.
    #[must_use]
    pub fn new_session(&self, unix_seconds: i64) -> (String, i64) {
        let until = unix_seconds.saturating_add(SESSION_SECONDS);
        (format!("{until}.{}", self.proof(until)), SESSION_SECONDS)
    }

    /// Whether this is a session that has not lapsed.
    #[must_use]
    pub fn is_session(&self, text: &str, unix_seconds: i64) -> bool {
        let Some((until, proof)) = text.split_once('.') else { return false };
        let Ok(until) = until.parse::<i64>() else { return false };
        // One that lasts longer than any that was made is forged, or the clock was turned back a month.
        let is_current = unix_seconds < until && until <= unix_seconds.saturating_add(SESSION_SECONDS);
        same(proof, &self.proof(until)) && is_current
    }

    fn proof(&self, until: i64) -> String {
        blake3::keyed_hash(&self.session_key, &until.to_be_bytes()).to_hex().to_string()
    }
}

/// Compares without telling by the time that it takes how much is right: hashes are compared, and in constant time.
fn same(one: &str, other: &str) -> bool {
    blake3::hash(one.as_bytes()) == blake3::hash(other.as_bytes())
}

/// Bytes as lower-case hex digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).filter_map(|digit| char::from_digit(u32::from(digit), 16)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    #[allow(clippy::disallowed_methods)] // an Instant has no other beginning; only differences to it matter
    fn beginning() -> Instant {
        Instant::now()
    }

    #[test]
    fn a_key_works_once_and_for_some_minutes() {
        let (mut access, now) = (Access::new("secret".into()), beginning());
        let key = access.new_key([7; 16], now);
        assert_eq!(key.len(), 32);
        assert!(!access.redeem("", now) && !access.redeem("secret", now) && !access.redeem(&key[1..], now));
        assert!(access.redeem(&key, now));
        assert!(!access.redeem(&key, now), "used");
        let late = access.new_key([8; 16], now);
        assert!(!access.redeem(&late, now + KEY_LIFE), "lapsed");
    }

    #[test]
    fn old_keys_make_room_for_new_ones() {
        let (mut access, now) = (Access::new("secret".into()), beginning());
        let keys: Vec<String> = (0..=MAX_KEYS as u8).map(|n| access.new_key([n; 16], now)).collect();
        assert!(!access.redeem(&keys[0], now) && access.redeem(&keys[1], now));
    }

    #[test]
    fn a_session_lapses_and_cannot_be_made_or_stretched_without_the_token() {
        let access = Access::new("secret".into());
        let (session, seconds) = access.new_session(1000);
        assert!(access.is_session(&session, 1000) && access.is_session(&session, 1000 + seconds - 1));
        assert!(!access.is_session(&session, 1000 + seconds), "lapsed");
        assert!(!access.is_session(&session, 0), "from the future");
        assert!(!Access::new("other".into()).is_session(&session, 1000));
        let (until, proof) = session.split_once('.').unwrap();
        let later = until.parse::<i64>().unwrap() - 1;
        for forged in ["", ".", "x.y", &format!("{later}.{proof}"), &format!("{until}."), until, &format!("-1.{proof}")] {
            assert!(!access.is_session(forged, 1000), "{forged}");
        }
    }

    #[test]
    fn only_the_token_is_the_token() {
        let access = Access::new("secret".into());
        assert!(access.is_token("secret"));
        for wrong in ["", "secre", "secrets", "Secret"] {
            assert!(!access.is_token(wrong));
        }
    }
}
