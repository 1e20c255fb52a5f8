//! Messages and their fields: what a type needs to stand in canonical CBOR, and [`record!`] which describes it once.

use super::{DecodeError, Decoder, Encoder};

/// A value that can stand in a message.
pub trait Field: Sized {
    /// Writes the value.
    fn encode(&self, e: &mut Encoder);

    /// Reads a value.
    ///
    /// # Errors
    /// When the next item is not a canonical value of this type.
    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError>;

    /// Whether the value is left out of a map.
    fn is_absent(&self) -> bool {
        false
    }

    /// The value that stands for a key left out; `None` when the key must be there.
    #[must_use]
    fn absent() -> Option<Self> {
        None
    }
}

impl Field for u64 {
    fn encode(&self, e: &mut Encoder) {
        e.uint(*self);
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        d.uint()
    }
}

macro_rules! small_uint {
    ($($type:ty),*) => {$(
        impl Field for $type {
            fn encode(&self, e: &mut Encoder) {
                e.uint(u64::from(*self));
            }

            fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
                let value = d.uint()?;
                Self::try_from(value).map_err(|_| d.invalid("integer out of range"))
            }
        }
    )*};
}
small_uint!(u32, u16, u8);

impl<const N: usize> Field for [u8; N] {
    fn encode(&self, e: &mut Encoder) {
        e.bytes(self);
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        d.bytes_exact::<N>()
    }
}

impl<T: Field> Field for Option<T> {
    fn encode(&self, e: &mut Encoder) {
        if let Some(value) = self {
            value.encode(e);
        }
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        T::decode(d).map(Some)
    }

    fn is_absent(&self) -> bool {
        self.is_none()
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

/// Text of at most `MAX` bytes. Building one does not check; [`Field::decode`] and the message's own validation do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Text<const MAX: usize>(pub String);

impl<const MAX: usize> Field for Text<MAX> {
    fn encode(&self, e: &mut Encoder) {
        e.text(&self.0);
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        d.text(MAX).map(|text| Self(text.to_owned()))
    }
}

/// Bytes of at most `MAX`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Blob<const MAX: usize>(pub Vec<u8>);

impl<const MAX: usize> Field for Blob<MAX> {
    fn encode(&self, e: &mut Encoder) {
        e.bytes(&self.0);
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        d.bytes(MAX).map(|bytes| Self(bytes.to_owned()))
    }
}

/// A list of at most `MAX` items.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct List<T, const MAX: usize>(pub Vec<T>);

impl<T, const MAX: usize> Default for List<T, MAX> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Field, const MAX: usize> Field for List<T, MAX> {
    fn encode(&self, e: &mut Encoder) {
        e.array(self.0.len());
        self.0.iter().for_each(|item| item.encode(e));
    }

    fn decode(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        d.array(MAX, T::decode).map(Self)
    }
}

/// A whole message with a name and a longest size.
pub trait Message: Field {
    /// Name in `docs/protocol/formats.md`; also the signature context where it is signed.
    const NAME: &'static str;
    /// Longest encoding, bytes.
    const MAX: usize;

    /// The canonical encoding.
    fn to_bytes(&self) -> Vec<u8> {
        let mut e = Encoder::default();
        self.encode(&mut e);
        e.finish()
    }

    /// Reads the message that fills `bytes`.
    ///
    /// # Errors
    /// When `bytes` is too long, not canonical, or not this message.
    fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > Self::MAX {
            return Err(DecodeError::TooLong {
                message: Self::NAME,
                found: bytes.len(),
                limit: Self::MAX,
            });
        }
        let mut d = Decoder::new(bytes);
        let value = Self::decode(&mut d)?;
        d.end()?;
        Ok(value)
    }
}

/// Describes a message as a map with integer keys: `record! { /// doc  pub struct Name("name", MAX) { 0 => field: Type, … } }`.
/// A field written `0 => format: u32 = 1` is refused with any other value.
macro_rules! record {
    (
        $(#[$meta:meta])*
        pub struct $name:ident($label:literal, $max:expr) {
            $( $(#[$fmeta:meta])* $key:literal => $field:ident : $type:ty $(= $only:literal)? ),* $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name {
            $( $(#[$fmeta])* pub $field: $type, )*
        }

        impl $crate::cbor::Field for $name {
            fn encode(&self, e: &mut $crate::cbor::Encoder) {
                let absent = [$( $crate::cbor::Field::is_absent(&self.$field) ),*];
                e.map(absent.iter().filter(|absent| !**absent).count());
                $( if !$crate::cbor::Field::is_absent(&self.$field) {
                    e.uint($key);
                    $crate::cbor::Field::encode(&self.$field, e);
                } )*
            }

            fn decode(d: &mut $crate::cbor::Decoder<'_>) -> Result<Self, $crate::cbor::DecodeError> {
                $( let mut $field: Option<$type> = None; )*
                d.map($label, |key, d| {
                    match key {
                        $( $key => {
                            let value: $type = $crate::cbor::Field::decode(d)?;
                            $( if value != $only {
                                return Err(d.invalid(concat!(stringify!($field), " must be ", stringify!($only))));
                            } )?
                            $field = Some(value);
                        } )*
                        _ => return Ok(false),
                    }
                    Ok(true)
                })?;
                Ok(Self { $(
                    $field: $field.or_else(<$type as $crate::cbor::Field>::absent).ok_or(
                        $crate::cbor::DecodeError::Missing { message: $label, field: stringify!($field), key: $key },
                    )?,
                )* })
            }
        }

        impl $crate::cbor::Message for $name {
            const NAME: &'static str = $label;
            const MAX: usize = $max;
        }
    };
}
pub(crate) use record;
