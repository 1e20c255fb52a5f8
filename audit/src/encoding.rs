//! How values stand in JSON: ids and 64-bit numbers as text, bytes as base64.

/// Anything with a text form: ids in hexadecimal, 64-bit numbers in decimal (a JSON number would lose digits in JavaScript).
pub(crate) mod text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;

    pub(crate) fn serialize<T: Display, S: Serializer>(
        value: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(crate) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// Digests of a proof.
pub(crate) mod digests {
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::{SerializeSeq as _, Serializer};
    use tallymill_protocol::Digest;

    pub(crate) fn serialize<S: Serializer>(
        digests: &[Digest],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(digests.len()))?;
        digests.iter().try_for_each(|digest| list.serialize_element(&digest.to_string()))?;
        list.end()
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<Digest>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        texts.iter().map(|text| text.parse().map_err(D::Error::custom)).collect()
    }
}

/// Bytes in base64 with padding.
pub(crate) mod bytes {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&STANDARD.encode(bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<u8>, D::Error> {
        STANDARD.decode(String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// A signed message: its envelope in base64.
pub(crate) mod signed {
    use serde::de::{Deserializer, Error};
    use serde::ser::Serializer;
    use tallymill_protocol::{Message as _, Signed};

    pub(crate) fn serialize<M, S: Serializer>(
        signed: &Signed<M>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        super::bytes::serialize(&signed.to_bytes(), serializer)
    }

    pub(crate) fn deserialize<'de, M, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Signed<M>, D::Error> {
        Signed::from_bytes(&super::bytes::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// A chain of keys: the account's statement, if it is needed, and the rotations, each in base64.
pub(crate) mod chain {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use tallymill_protocol::cbor::List;
    use tallymill_protocol::{AccountStatement, KeyChain, Rotation, Signed};

    #[derive(Deserialize, Serialize)]
    #[serde(transparent)]
    struct Account(#[serde(with = "super::signed")] Signed<AccountStatement>);

    #[derive(Deserialize, Serialize)]
    #[serde(transparent)]
    struct Moved(#[serde(with = "super::signed")] Signed<Rotation>);

    #[derive(Deserialize, Serialize)]
    #[serde(deny_unknown_fields)]
    struct Chain {
        account: Option<Account>,
        rotations: Vec<Moved>,
    }

    pub(crate) fn serialize<S: Serializer>(
        chain: &KeyChain,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let chain = Chain {
            account: chain.account.clone().map(Account),
            rotations: chain.rotations.0.iter().cloned().map(Moved).collect(),
        };
        chain.serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<KeyChain, D::Error> {
        let chain = Chain::deserialize(deserializer)?;
        Ok(KeyChain {
            account: chain.account.map(|account| account.0),
            rotations: List(chain.rotations.into_iter().map(|moved| moved.0).collect()),
        })
    }
}

/// A digest that may be left out.
pub(crate) mod maybe {
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;
    use tallymill_protocol::Digest;

    pub(crate) fn serialize<S: Serializer>(
        digest: &Option<Digest>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match digest {
            Some(digest) => serializer.collect_str(digest),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Digest>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| text.parse().map_err(D::Error::custom)).transpose()
    }
}
