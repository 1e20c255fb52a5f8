//! Signatures: strict, over the bytes as received, each valid in one context only.

use ed25519_dalek::{Signature, Signer as _, SigningKey, Verifier as _, VerifyingKey};
use tallymill_protocol::cbor::Blob;
use tallymill_protocol::{Key, Keypair, Login, Message, Report, Signed, SignedBytes, VerifyError};

use crate::any::{Any, AnyMessage, Check, Source, every_signed};

const SECRET: [u8; 32] = [7; 32];

fn pair() -> Keypair {
    Keypair::from_secret(&SECRET)
}

/// What is signed, written a second time.
fn under_signature(context: &str, payload: &[u8]) -> Vec<u8> {
    let context = format!("tallymill/v1/{context}");
    [&[u8::try_from(context.len()).unwrap()], context.as_bytes(), payload].concat()
}

fn signed_as<M>(context: &str, payload: &[u8]) -> Signed<M> {
    let signature =
        SigningKey::from_bytes(&SECRET).sign(&under_signature(context, payload)).to_bytes();
    Signed::new(SignedBytes { payload: Blob(payload.to_vec()), signer: pair().public(), signature })
}

struct Opens;

impl Check for Opens {
    fn check<M: AnyMessage>(&self) {
        let message = M::any(&mut Source(5));
        let signed = pair().sign(&message);
        assert_eq!(signed, signed_as(M::NAME, &message.to_bytes()), "{}", M::NAME);
        assert_eq!(signed.open(&pair().public()), Ok(message.clone()));
        assert_eq!(signed.peek(), Ok(message));
        let other = Keypair::from_secret(&[8; 32]).public();
        let expected =
            VerifyError::Signer { message: M::NAME, expected: other, found: pair().public() };
        assert_eq!(signed.open(&other), Err(expected));
    }
}

#[test]
fn a_signature_is_over_the_documented_bytes_and_opens_for_its_signer_alone() {
    every_signed(&Opens);
}

struct FlippedBits;

impl Check for FlippedBits {
    fn check<M: AnyMessage>(&self) {
        let bytes = pair().sign(&M::any(&mut Source(9))).to_bytes();
        let step = if bytes.len() > 400 { 13 } else { 1 };
        for bit in (0..bytes.len() * 8).step_by(step) {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let believed = Signed::<M>::from_bytes(&flipped)
                .is_ok_and(|signed| signed.open(&pair().public()).is_ok());
            assert!(!believed, "{} with bit {bit} flipped", M::NAME);
        }
    }
}

#[test]
fn a_signed_message_with_any_bit_flipped_is_refused() {
    every_signed(&FlippedBits);
}

struct Contexts;

struct Against(&'static str);

impl Check for Contexts {
    fn check<M: AnyMessage>(&self) {
        every_signed(&Against(M::NAME));
    }
}

impl Check for Against {
    fn check<M: AnyMessage>(&self) {
        let message = M::any(&mut Source(13));
        let opened = signed_as::<M>(self.0, &message.to_bytes()).open(&pair().public());
        if self.0 == M::NAME {
            assert_eq!(opened, Ok(message));
        } else {
            let expected = VerifyError::Signature { message: M::NAME, signer: pair().public() };
            assert_eq!(opened, Err(expected), "{} signed as {}", M::NAME, self.0);
        }
    }
}

#[test]
fn a_signature_for_one_context_is_valid_in_no_other() {
    every_signed(&Contexts);
}

#[test]
fn ignorable_fields_are_under_the_signature() {
    let login = Login::any(&mut Source(17));
    let plain = login.to_bytes();
    let mut extended = [&plain[..], &[0x18, 200, 5]].concat();
    extended[0] += 1;
    let signed = signed_as::<Login>("login", &extended);
    assert_eq!(signed.open(&pair().public()), Ok(login));
    for payload in [plain, [&extended[..extended.len() - 1], &[6]].concat()] {
        let changed = SignedBytes { payload: Blob(payload), ..signed.envelope().clone() };
        assert!(Signed::<Login>::new(changed).open(&pair().public()).is_err());
    }
}

#[test]
fn a_well_signed_payload_must_still_be_canonical() {
    let payload = [0xbf, 0xff];
    let opened = signed_as::<Login>("login", &payload).open(&pair().public());
    assert!(matches!(opened, Err(VerifyError::Decode(_))));
}

/// The order of the group, 2²⁵² + 27742317777372353535851937790883648493, little-endian (RFC 8032 §5.1).
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

#[test]
fn a_malleated_signature_is_refused() {
    let signed = pair().sign(&Login::any(&mut Source(19)));
    let mut envelope = signed.envelope().clone();
    let mut carry = 0u16;
    for (byte, add) in envelope.signature[32..].iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        *byte = sum.to_be_bytes()[1];
        carry = sum >> 8;
    }
    assert_eq!(carry, 0);
    let expected = VerifyError::Signature { message: "login", signer: pair().public() };
    assert_eq!(Signed::<Login>::new(envelope).open(&pair().public()), Err(expected));
}

#[test]
fn keys_of_small_order_are_refused() {
    let mut identity = [0; 32];
    identity[0] = 1;
    let mut minus_one = [0xff; 32];
    (minus_one[0], minus_one[31]) = (0xec, 0x7f);
    let payload = Report::any(&mut Source(23)).to_bytes();
    let mut signature = [0; 64];
    signature[0] = 1;
    let lax = VerifyingKey::from_bytes(&identity).unwrap();
    let message = under_signature("report", &payload);
    assert!(
        lax.verify(&message, &Signature::from_bytes(&signature)).is_ok(),
        "signs anything for a lax verifier"
    );
    for key in [identity, minus_one, [0; 32]] {
        let signer = Key(key);
        let envelope = SignedBytes { payload: Blob(payload.clone()), signer, signature };
        let opened = Signed::<Report>::new(envelope).open(&signer);
        assert_eq!(opened, Err(VerifyError::Signature { message: "report", signer }));
    }
}

#[test]
fn a_key_that_is_no_point_is_named() {
    let mut bytes = [0; 32];
    bytes[0] = 2;
    let signer = Key(bytes);
    assert!(VerifyingKey::from_bytes(&bytes).is_err());
    let envelope =
        SignedBytes { signer, ..pair().sign(&Login::any(&mut Source(29))).envelope().clone() };
    assert_eq!(Signed::<Login>::new(envelope).open(&signer), Err(VerifyError::Key(signer)));
}

#[test]
fn a_secret_key_is_never_printed() {
    let shown = format!("{:?}", pair());
    assert_eq!(shown, format!("Keypair({})", pair().public()));
    assert_eq!(*pair().secret(), SECRET);
}
