//! How the keys of an account follow each other: from its first key, which is its id, by rotations.

use crate::cbor::{DecodeError, List, record};
use crate::id::{AccountId, Digest, Key, Network};
use crate::identity::{AccountStatement, Rotation};
use crate::sign::{Signed, VerifyError};

/// Most rotations of one account, so that a chain of them can be carried along and checked.
pub const MAX_ROTATIONS: usize = 256;

/// Why a chain of keys does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// A statement does not decode.
    #[error("a statement in the chain of keys does not decode: {0}")]
    Decode(#[from] DecodeError),
    /// A statement is not signed as it says.
    #[error("a statement in the chain of keys is not signed as it says: {0}")]
    Signature(#[from] VerifyError),
    /// A statement is about something else.
    #[error("statement {position} in the chain of keys is {what}")]
    Foreign {
        /// Its position: 0 is the account's statement, 1 the first rotation.
        position: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A rotation is signed neither by the key before it nor by the recovery key that was committed to.
    #[error(
        "rotation {position} is signed by {signer}, which is neither the key before it nor the recovery key"
    )]
    Signer {
        /// Its position, from 1.
        position: u64,
        /// Who signed it.
        signer: Key,
    },
    /// More rotations than an account may have.
    #[error("the chain of keys has {0} rotations, at most {MAX_ROTATIONS}")]
    TooLong(usize),
}

record! {
    /// The statements that lead from an account's first key to a later one.
    ///
    /// ```
    /// use tallymill_protocol::{KeyChain, Keypair, Network};
    /// let first = Keypair::from_secret(&[1; 32]).public();
    /// let network = Network::new("example").unwrap();
    /// assert_eq!(KeyChain::default().keys(&network, first.into()), Ok(vec![first]));
    /// ```
    #[derive(Default)]
    pub struct KeyChain("key-chain", 1 << 18) {
        /// Its rotations, the first one first.
        0 => rotations: List<Signed<Rotation>, MAX_ROTATIONS>,
        /// The account's own statement. It is needed where the first rotation is signed by the recovery key.
        1 => account: Option<Signed<AccountStatement>>,
    }
}

impl KeyChain {
    /// The account's keys in the order in which they stood for it, the first one first.
    ///
    /// # Errors
    /// The first statement that does not follow from those before it.
    pub fn keys(&self, network: &Network, account: AccountId) -> Result<Vec<Key>, ChainError> {
        if self.rotations.0.len() > MAX_ROTATIONS {
            return Err(ChainError::TooLong(self.rotations.0.len()));
        }
        let first = Key::from(account);
        let mut recovery = self.committed(network, account)?;
        let (mut keys, mut current) = (vec![first], first);
        for (position, signed) in (1..).zip(&self.rotations.0) {
            let signer = *signed.signer();
            if signer != current && recovery != Some(Digest::of(signer.as_bytes())) {
                return Err(ChainError::Signer { position, signer });
            }
            let rotation = signed.open(&signer)?;
            about((&rotation.network, rotation.account), (network, account), position)?;
            if rotation.sequence != position {
                return Err(ChainError::Foreign { position, what: "out of its turn" });
            }
            (current, recovery) = (rotation.key, Some(rotation.recovery));
            keys.push(current);
        }
        Ok(keys)
    }

    /// The recovery key that the account's statement commits to.
    fn committed(
        &self,
        network: &Network,
        account: AccountId,
    ) -> Result<Option<Digest>, ChainError> {
        let Some(signed) = &self.account else { return Ok(None) };
        let statement = signed.open(&account.into())?;
        about((&statement.network, statement.account), (network, account), 0)?;
        Ok(Some(statement.recovery))
    }

    /// The same chain, ending where `key` first stands for the account; `None` when it never does.
    ///
    /// # Errors
    /// When a rotation does not decode.
    pub fn up_to(mut self, account: AccountId, key: &Key) -> Result<Option<Self>, DecodeError> {
        let mut current = Key::from(account);
        for at in 0..=self.rotations.0.len() {
            if current == *key {
                self.rotations.0.truncate(at);
                return Ok(Some(self));
            }
            let Some(next) = self.rotations.0.get(at) else { break };
            current = next.peek()?.key;
        }
        Ok(None)
    }
}

fn about(
    found: (&Network, AccountId),
    expected: (&Network, AccountId),
    position: u64,
) -> Result<(), ChainError> {
    let what = match (found.0 == expected.0, found.1 == expected.1) {
        (true, true) => return Ok(()),
        (false, _) => "of another network",
        (true, false) => "about another account",
    };
    Err(ChainError::Foreign { position, what })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Micros;
    use crate::sign::Keypair;

    fn pair(number: u8) -> Keypair {
        Keypair::from_secret(&[number; 32])
    }

    fn network() -> Network {
        Network::new("test").unwrap()
    }

    fn account() -> AccountId {
        pair(1).public().into()
    }

    fn rotation(key: u8, sequence: u64) -> Rotation {
        Rotation {
            format: 1,
            network: network(),
            account: account(),
            key: pair(key).public(),
            recovery: Digest::of(pair(key + 100).public().as_bytes()),
            sequence,
            issued: Micros(5),
        }
    }

    fn statement() -> AccountStatement {
        AccountStatement {
            format: 1,
            network: network(),
            account: account(),
            recovery: Digest::of(pair(101).public().as_bytes()),
            issued: Micros(5),
        }
    }

    /// From key 1 to 2, and by the recovery key on to 3.
    fn chain() -> KeyChain {
        let rotations = List(vec![pair(1).sign(&rotation(2, 1)), pair(102).sign(&rotation(3, 2))]);
        KeyChain { account: None, rotations }
    }

    fn fault(chain: &KeyChain) -> ChainError {
        chain.keys(&network(), account()).unwrap_err()
    }

    #[test]
    fn keys_follow_each_other_from_the_first() {
        let expected: Vec<Key> = [1, 2, 3].map(|number| pair(number).public()).into();
        assert_eq!(chain().keys(&network(), account()).unwrap(), expected);
    }

    #[test]
    fn the_first_key_is_recovered_by_what_the_account_committed_to() {
        let rotations = List(vec![pair(101).sign(&rotation(2, 1))]);
        let blind = KeyChain { account: None, rotations: rotations.clone() };
        assert!(matches!(fault(&blind), ChainError::Signer { position: 1, .. }));
        let chain = KeyChain { account: Some(pair(1).sign(&statement())), rotations };
        assert_eq!(chain.keys(&network(), account()).unwrap()[1], pair(2).public());
        let forged = KeyChain { account: Some(pair(9).sign(&statement())), ..chain };
        assert!(matches!(fault(&forged), ChainError::Signature(_)));
    }

    #[test]
    fn statements_of_others_elsewhere_or_out_of_turn_are_refused() {
        let with = |signed| KeyChain { account: None, rotations: List(vec![signed]) };
        let stranger = with(pair(9).sign(&rotation(9, 1)));
        assert!(matches!(fault(&stranger), ChainError::Signer { position: 1, .. }));
        let late = with(pair(1).sign(&rotation(2, 2)));
        assert_eq!(fault(&late), ChainError::Foreign { position: 1, what: "out of its turn" });
        let elsewhere = Rotation { network: Network::new("other").unwrap(), ..rotation(2, 1) };
        let elsewhere = with(pair(1).sign(&elsewhere));
        assert_eq!(
            fault(&elsewhere),
            ChainError::Foreign { position: 1, what: "of another network" }
        );
        let other = Rotation { account: pair(9).public().into(), ..rotation(2, 1) };
        let other = with(pair(1).sign(&other));
        assert_eq!(
            fault(&other),
            ChainError::Foreign { position: 1, what: "about another account" }
        );
        let old = KeyChain {
            account: None,
            rotations: List(vec![pair(1).sign(&rotation(2, 1)), pair(1).sign(&rotation(3, 2))]),
        };
        assert!(matches!(fault(&old), ChainError::Signer { position: 2, .. }));
    }

    #[test]
    fn a_chain_of_too_many_rotations_is_not_read() {
        let rotations = List(vec![pair(1).sign(&rotation(2, 1)); 257]);
        assert_eq!(fault(&KeyChain { account: None, rotations }), ChainError::TooLong(257));
    }

    #[test]
    fn a_chain_ends_where_a_key_first_stands() {
        let up_to = |key| chain().up_to(account(), &pair(key).public()).unwrap();
        assert_eq!(up_to(1).unwrap().rotations.0.len(), 0);
        assert_eq!(up_to(2).unwrap().rotations.0.len(), 1);
        assert_eq!(up_to(3), Some(chain()));
        assert_eq!(up_to(4), None);
    }
}
