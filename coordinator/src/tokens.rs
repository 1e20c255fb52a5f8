//! Who is calling: login challenges, bearer tokens and one-time links for browsers.
//!
//! A bearer token is stateless: role, key and end under a keyed BLAKE3 of a secret that lives as long as the process, so
//! a restart ends every session and no database read stands before a request. Challenges and links are used once and
//! therefore remembered, in tables with a limit.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

use tallymill_protocol::{Key, Login, MAX_LOGIN, Micros, Nonce, Signed, VerifyError};

/// Life of a bearer token unless the operator sets another, µs: one hour.
pub const TOKEN_LIFE: u64 = 3_600 * Micros::SECOND;
/// Life of a login challenge, µs: one minute.
pub const CHALLENGE_LIFE: u64 = 60 * Micros::SECOND;
/// Life of a one-time link, µs: one minute.
pub const LINK_LIFE: u64 = 60 * Micros::SECOND;
/// Most challenges or links that wait to be used.
pub const MAX_WAITING: usize = 10_000;
const _: () = assert!(CHALLENGE_LIFE <= MAX_LOGIN);

const TAG_BYTES: usize = 32;
const TOKEN_BYTES: usize = 1 + 32 + 8 + TAG_BYTES;

/// What a token lets its bearer be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// A person's client.
    Api,
    /// A worker.
    Worker,
    /// A browser.
    Web,
}

impl Purpose {
    /// The name in a login.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Worker => "worker",
            Self::Web => "web",
        }
    }

    /// The purpose of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Api, Self::Worker, Self::Web].into_iter().find(|purpose| purpose.name() == name)
    }

    const fn code(self) -> u8 {
        match self {
            Self::Api => 0,
            Self::Worker => 1,
            Self::Web => 2,
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Api),
            1 => Some(Self::Worker),
            2 => Some(Self::Web),
            _ => None,
        }
    }
}

/// The key behind a valid token, and what the token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Session {
    /// The key that signed the login.
    pub key: Key,
    /// What for.
    pub purpose: Purpose,
    /// When the token ends.
    pub expires: Micros,
}

/// Why a login, token or link is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not a token that this process made.
    #[error("the token is not one of this coordinator's; log in again")]
    Forged,
    /// Its time is over.
    #[error("the {0} has expired; log in again")]
    Expired(&'static str),
    /// No challenge with this nonce waits: never issued, used, or swept.
    #[error("the challenge is unknown or was used already; ask for a new one")]
    UnknownChallenge,
    /// Signed for another coordinator, address or purpose, or with changed contents.
    #[error(
        "the login names the {field} {found}, but this challenge is for {expected}: a relayed or altered challenge"
    )]
    Relayed {
        /// Which part.
        field: &'static str,
        /// What the login says.
        found: String,
        /// What the challenge said.
        expected: String,
    },
    /// The signature does not hold.
    #[error(transparent)]
    Signature(#[from] VerifyError),
    /// Too many challenges or links wait.
    #[error("{MAX_WAITING} logins are waiting already; try again in a minute")]
    Busy,
}

/// What a challenge asks the client to sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// Single use.
    pub nonce: Nonce,
    /// When it ends.
    pub expiry: Micros,
    /// Who asked.
    pub key: Key,
    /// What for.
    pub purpose: Purpose,
    /// The address that the client dialled, as the server knows it.
    pub origin: String,
}

/// Things used once, each with an end; the expired are swept when the table is full.
struct Once<K, V>(Mutex<HashMap<K, (Micros, V)>>);

impl<K: Eq + Hash, V> Once<K, V> {
    fn new() -> Self {
        Self(Mutex::new(HashMap::new()))
    }

    fn put(&self, key: K, value: V, expiry: Micros, now: Micros) -> Result<(), TokenError> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= MAX_WAITING {
            waiting.retain(|_, (expiry, _)| *expiry > now);
        }
        if waiting.len() >= MAX_WAITING {
            return Err(TokenError::Busy);
        }
        waiting.insert(key, (expiry, value));
        Ok(())
    }

    fn take(&self, key: &K) -> Option<(Micros, V)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key)
    }
}

/// Makes and checks tokens, challenges and links.
pub struct Tokens {
    secret: [u8; 32],
    audience: Key,
    life: u64,
    link_life: u64,
    challenges: Once<Nonce, Challenge>,
    links: Once<[u8; 32], Session>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("audience", &self.audience).finish_non_exhaustive()
    }
}

impl Tokens {
    /// Tokens of the coordinator `audience` under a fresh random `secret`, which live for `life` µs.
    #[must_use]
    pub fn new(secret: [u8; 32], audience: Key, life: u64) -> Self {
        let (challenges, links) = (Once::new(), Once::new());
        Self { secret, audience, life, link_life: LINK_LIFE, challenges, links }
    }

    /// The same with links that live for `link_life` µs.
    #[must_use]
    pub fn with_links(self, link_life: u64) -> Self {
        Self { link_life, ..self }
    }

    /// Remembers a challenge with a random `nonce` for a client that dialled `origin`.
    ///
    /// # Errors
    /// [`TokenError::Busy`] when [`MAX_WAITING`] challenges wait.
    pub fn challenge(
        &self,
        asked: (Key, Purpose),
        origin: String,
        nonce: Nonce,
        now: Micros,
    ) -> Result<Challenge, TokenError> {
        let (key, purpose) = asked;
        let challenge = Challenge { nonce, expiry: now.plus(CHALLENGE_LIFE), key, purpose, origin };
        self.challenges.put(nonce, challenge.clone(), challenge.expiry, now)?;
        Ok(challenge)
    }

    /// Ends the challenge that `login` answers and gives a session; a challenge is used up even by a wrong answer.
    ///
    /// # Errors
    /// When the challenge is unknown, used or expired, when the login names another audience, origin, purpose, expiry or
    /// signer than the challenge, or when its signature does not hold.
    pub fn login(&self, login: &Signed<Login>, now: Micros) -> Result<Session, TokenError> {
        let claimed = login.peek().map_err(VerifyError::from)?;
        let (_, asked) =
            self.challenges.take(&claimed.nonce).ok_or(TokenError::UnknownChallenge)?;
        if asked.expiry <= now {
            return Err(TokenError::Expired("challenge"));
        }
        self.same(&asked, &claimed)?;
        login.open(&asked.key)?;
        Ok(Session { key: asked.key, purpose: asked.purpose, expires: now.plus(self.life) })
    }

    fn same(&self, asked: &Challenge, claimed: &Login) -> Result<(), TokenError> {
        let pairs = [
            ("audience", claimed.audience.to_string(), self.audience.to_string()),
            ("origin", claimed.origin.0.clone(), asked.origin.clone()),
            ("purpose", claimed.purpose.0.clone(), asked.purpose.name().to_owned()),
            ("expiry", claimed.expiry.0.to_string(), asked.expiry.0.to_string()),
            ("signer", claimed.signer.to_string(), asked.key.to_string()),
        ];
        let wrong = pairs.into_iter().find(|(_, found, expected)| found != expected);
        wrong.map_or(Ok(()), |(field, found, expected)| {
            Err(TokenError::Relayed { field, found, expected })
        })
    }

    fn tag(&self, body: &[u8]) -> blake3::Hash {
        blake3::keyed_hash(&self.secret, body)
    }

    /// The bearer token of a session, in hexadecimal.
    #[must_use]
    pub fn seal(&self, session: &Session) -> String {
        let mut bytes = vec![session.purpose.code()];
        bytes.extend_from_slice(session.key.as_bytes());
        bytes.extend_from_slice(&session.expires.0.to_be_bytes());
        let tag = self.tag(&bytes);
        bytes.extend_from_slice(tag.as_bytes());
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The session of a bearer token.
    ///
    /// # Errors
    /// When the token was not made here, or has expired.
    pub fn unseal(&self, token: &str, now: Micros) -> Result<Session, TokenError> {
        let bytes = from_hex::<TOKEN_BYTES>(token).ok_or(TokenError::Forged)?;
        let (body, tag) = bytes.split_at(TOKEN_BYTES - TAG_BYTES);
        let tag: [u8; TAG_BYTES] = tag.try_into().map_err(|_| TokenError::Forged)?;
        // Comparing two `blake3::Hash` takes the same time wherever they differ.
        if self.tag(body) != blake3::Hash::from_bytes(tag) {
            return Err(TokenError::Forged);
        }
        let purpose = Purpose::from_code(body[0]).ok_or(TokenError::Forged)?;
        let key = Key::from_slice(&body[1..33]).ok_or(TokenError::Forged)?;
        let expires =
            Micros(body[33..].iter().fold(0, |value, byte| value << 8 | u64::from(*byte)));
        if expires <= now {
            return Err(TokenError::Expired("token"));
        }
        Ok(Session { key, purpose, expires })
    }

    /// A link secret that opens a browser session for `session`'s key, once.
    ///
    /// # Errors
    /// [`TokenError::Busy`] when [`MAX_WAITING`] links wait.
    pub fn link(&self, session: &Session, secret: [u8; 32], now: Micros) -> Result<(), TokenError> {
        let web = Session { purpose: Purpose::Web, expires: now.plus(self.life), ..*session };
        // Only its digest is kept, so that reading the process's memory of waiting links opens none of them.
        self.links.put(*blake3::hash(&secret).as_bytes(), web, now.plus(self.link_life), now)
    }

    /// The browser session behind a link, which is used up.
    ///
    /// # Errors
    /// When the link is unknown, used or expired.
    pub fn follow(&self, secret: &str, now: Micros) -> Result<Session, TokenError> {
        let secret = from_hex::<32>(secret).ok_or(TokenError::Forged)?;
        let found = self.links.take(blake3::hash(&secret).as_bytes());
        match found {
            Some((expiry, session)) if expiry > now => Ok(session),
            Some(_) => Err(TokenError::Expired("link")),
            None => Err(TokenError::Forged),
        }
    }
}

fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |at: usize| {
            char::from(pair[at]).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
        };
        *byte = digit(0)? << 4 | digit(1)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests;
