//! Ed25519 signatures over canonical bytes, one context per message type.

use std::marker::PhantomData;

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};

use crate::cbor::{Blob, DecodeError, Decoder, Encoder, Field, Message, record};
use crate::id::{Digest, Key};

/// Largest payload that can be signed, bytes.
pub const MAX_PAYLOAD: usize = 65_536;

const PREFIX: &str = "tallymill/v1/";

/// `uint8(len(context)) ‖ context`, where the context is the prefix and `name`.
fn context(name: &str) -> Vec<u8> {
    let length = u8::try_from(PREFIX.len() + name.len()).unwrap_or(u8::MAX);
    [&[length], PREFIX.as_bytes(), name.as_bytes()].concat()
}

/// BLAKE3 of `parts` under the context `tallymill/v1/name`, so that no digest can be taken for one of another kind.
#[must_use]
pub fn digest_in_context(name: &str, parts: &[&[u8]]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&context(name));
    parts.iter().for_each(|part| {
        hasher.update(part);
    });
    Digest(*hasher.finalize().as_bytes())
}

/// Why a signed message is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The signer's key is not a usable Ed25519 key.
    #[error("the signer's key {0} is not a valid Ed25519 public key")]
    Key(Key),
    /// The signature is not the signer's over this message.
    #[error("the signature is not that of {signer} over this {message}")]
    Signature {
        /// Name of the message type.
        message: &'static str,
        /// Who should have signed.
        signer: Key,
    },
    /// Signed, but not by whom it must be.
    #[error("the {message} is signed by {found}, not by {expected}")]
    Signer {
        /// Name of the message type.
        message: &'static str,
        /// Who must sign.
        expected: Key,
        /// Who did.
        found: Key,
    },
    /// The payload is not a message of this type.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

/// A secret key. Its bytes are wiped when it is dropped and never printed.
pub struct Keypair(SigningKey);

impl Keypair {
    /// The key pair of a 32-byte secret, drawn by the caller.
    #[must_use]
    pub fn from_secret(secret: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(secret))
    }

    /// The secret, for writing it to a key file.
    #[must_use]
    pub fn secret(&self) -> zeroize::Zeroizing<[u8; 32]> {
        zeroize::Zeroizing::new(self.0.to_bytes())
    }

    /// The public key.
    #[must_use]
    pub fn public(&self) -> Key {
        Key(self.0.verifying_key().to_bytes())
    }

    /// Signs `message` under its type's context.
    ///
    /// ```
    /// use tallymill_protocol::{Keypair, Login, Key, Micros, Nonce};
    /// let pair = Keypair::from_secret(&[7; 32]);
    /// let login = Login {
    ///     format: 1, audience: Key([1; 32]), origin: tallymill_protocol::cbor::Text("http://127.0.0.1:1".into()),
    ///     purpose: tallymill_protocol::cbor::Text("api".into()), nonce: Nonce([2; 16]), expiry: Micros(9),
    ///     signer: pair.public(),
    /// };
    /// let signed = pair.sign(&login);
    /// assert_eq!(signed.open(&pair.public())?, login);
    /// assert!(signed.open(&Key([3; 32])).is_err());
    /// # Ok::<(), tallymill_protocol::VerifyError>(())
    /// ```
    #[must_use]
    pub fn sign<M: Message>(&self, message: &M) -> Signed<M> {
        let payload = message.to_bytes();
        let signature = self.0.sign(&[&context(M::NAME), payload.as_slice()].concat());
        Signed::new(SignedBytes {
            payload: Blob(payload),
            signer: self.public(),
            signature: signature.to_bytes(),
        })
    }
}

impl std::fmt::Debug for Keypair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keypair({})", self.public())
    }
}

record! {
    /// The envelope of a signed message: payload as signed, signer, signature.
    pub struct SignedBytes("signed", 65_700) {
        /// The encoded message.
        0 => payload: Blob<MAX_PAYLOAD>,
        /// Who signed.
        1 => signer: Key,
        /// The signature.
        2 => signature: [u8; 64],
    }
}

/// A signed message of type `M`: believed only after [`Signed::open`].
pub struct Signed<M> {
    bytes: SignedBytes,
    kind: PhantomData<fn() -> M>,
}

impl<M> Clone for Signed<M> {
    fn clone(&self) -> Self {
        Self::new(self.bytes.clone())
    }
}

impl<M> PartialEq for Signed<M> {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl<M> Eq for Signed<M> {}

impl<M> std::fmt::Debug for Signed<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.bytes.fmt(f)
    }
}

impl<M> Signed<M> {
    /// A message of type `M` from its envelope, not yet verified.
    #[must_use]
    pub const fn new(bytes: SignedBytes) -> Self {
        Self { bytes, kind: PhantomData }
    }

    /// The envelope.
    #[must_use]
    pub const fn envelope(&self) -> &SignedBytes {
        &self.bytes
    }

    /// The bytes under the signature, as received.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.bytes.payload.0
    }

    /// Who claims to have signed.
    #[must_use]
    pub const fn signer(&self) -> &Key {
        &self.bytes.signer
    }
}

impl<M: Message> Signed<M> {
    /// Checks signer, signature and encoding, and gives the message.
    ///
    /// # Errors
    /// When the signer is not `expected`, the signature does not verify strictly, or the payload is not a canonical `M`.
    pub fn open(&self, expected: &Key) -> Result<M, VerifyError> {
        if self.bytes.signer != *expected {
            return Err(VerifyError::Signer {
                message: M::NAME,
                expected: *expected,
                found: self.bytes.signer,
            });
        }
        self.verify()?;
        Ok(M::from_bytes(self.payload())?)
    }

    /// Reads the message without believing it, to learn who should have signed.
    ///
    /// # Errors
    /// When the payload is not a canonical `M`.
    pub fn peek(&self) -> Result<M, DecodeError> {
        M::from_bytes(self.payload())
    }

    fn verify(&self) -> Result<(), VerifyError> {
        let signer = self.bytes.signer;
        let key =
            VerifyingKey::from_bytes(signer.as_bytes()).map_err(|_| VerifyError::Key(signer))?;
        let message = [&context(M::NAME), self.payload()].concat();
        key.verify_strict(&message, &Signature::from_bytes(&self.bytes.signature))
            .map_err(|_| VerifyError::Signature { message: M::NAME, signer })
    }
}

impl<M> Field for Signed<M> {
    fn encode(&self, e: &mut Encoder) {
        self.bytes.encode(e);
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        SignedBytes::decode(d).map(Self::new)
    }
}

impl<M> Message for Signed<M> {
    const NAME: &'static str = SignedBytes::NAME;
    const MAX: usize = SignedBytes::MAX;
}
