//! Values on their way into a statement, of four types that every back end has.

use tallymill_ledger::{Amount, LedgerAccountId};
use tallymill_protocol::{
    AccountId, AttemptId, CoordinatorId, Digest, HostId, JobId, Key, LeaseDigest, Message, Micros,
    SignedBytes, TaskIndex,
};

/// One parameter. The absence of a value has a type too: PostgreSQL asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A number.
    Int(Option<i64>),
    /// Yes or no.
    Truth(Option<bool>),
    /// Text.
    Text(Option<String>),
    /// Bytes.
    Bytes(Option<Vec<u8>>),
}

impl Value {
    /// Bytes of it that grow with what people send.
    fn length(&self) -> usize {
        match self {
            Self::Text(Some(text)) => text.len(),
            Self::Bytes(Some(bytes)) => bytes.len(),
            _ => 0,
        }
    }
}

/// Parameters of a statement, in its order.
#[derive(Debug, Default)]
pub struct Cells {
    /// The parameters.
    pub(crate) values: Vec<Value>,
    /// Bytes in texts and bytes.
    pub(crate) length: usize,
    /// Whether a number was larger than any column holds; its place holds nothing.
    pub(crate) overflow: bool,
}

impl Cells {
    /// Appends a value.
    pub(crate) fn put<T: Put>(&mut self, value: &T) {
        let value = value.value();
        self.overflow |= value.is_none();
        let value = value.unwrap_or(T::ABSENT);
        self.length += value.length();
        self.values.push(value);
    }
}

/// What a column takes.
pub(crate) trait Put {
    /// No value of this type.
    const ABSENT: Value;

    /// The value; `None` for a number that columns do not hold.
    fn value(&self) -> Option<Value>;
}

macro_rules! puts {
    ($($type:ty => $kind:ident: |$value:ident| $put:expr;)*) => {$(
        impl Put for $type {
            const ABSENT: Value = Value::$kind(None);

            fn value(&self) -> Option<Value> {
                let $value = self;
                Some(Value::$kind(Some($put)))
            }
        }
    )*};
}

macro_rules! put_ids {
    ($($id:ident),*) => { puts! { $($id => Bytes: |id| id.0.to_vec();)* } };
}
put_ids!(AccountId, AttemptId, CoordinatorId, Digest, HostId, JobId, Key, LeaseDigest);

puts! {
    u64 => Int: |number| i64::try_from(*number).ok()?;
    u32 => Int: |number| i64::from(*number);
    u8 => Int: |number| i64::from(*number);
    i64 => Int: |number| *number;
    bool => Truth: |truth| *truth;
    Amount => Int: |amount| amount.micros();
    Micros => Int: |time| i64::try_from(time.0).ok()?;
    TaskIndex => Int: |task| i64::from(task.0);
    LedgerAccountId => Bytes: |id| id.0.to_vec();
    String => Text: |text| text.clone();
    &str => Text: |text| (*text).to_owned();
    Vec<u8> => Bytes: |bytes| bytes.clone();
    [u8; 32] => Bytes: |bytes| bytes.to_vec();
    [u8; 8] => Bytes: |bytes| bytes.to_vec();
    &[u8] => Bytes: |bytes| bytes.to_vec();
    SignedBytes => Bytes: |signed| signed.to_bytes();
}

impl<T: Put> Put for Option<T> {
    const ABSENT: Value = T::ABSENT;

    fn value(&self) -> Option<Value> {
        self.as_ref().map_or(Some(T::ABSENT), T::value)
    }
}

/// Appends values in the order of the statement's columns.
macro_rules! put {
    ($cells:expr; $($value:expr),* $(,)?) => {{ $($cells.put(&$value);)* }};
}
pub(crate) use put;

/// Parameters of one statement.
macro_rules! cells {
    () => {
        crate::sql::value::Cells::default()
    };
    ($($value:expr),* $(,)?) => {{
        let mut cells = crate::sql::value::Cells::default();
        $(cells.put(&$value);)*
        cells
    }};
}
pub(crate) use cells;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_beyond_columns_is_noticed_and_keeps_its_place() {
        let cells = cells![7_u64, u64::MAX, "x"];
        assert!(cells.overflow);
        let expected = [Value::Int(Some(7)), Value::Int(None), Value::Text(Some("x".to_owned()))];
        assert_eq!(cells.values, expected);
        assert!(!cells![u64::MAX >> 1].overflow);
    }

    #[test]
    fn what_is_absent_has_the_type_of_what_could_be_there() {
        let cells = cells![None::<JobId>, None::<&str>, None::<u8>, Some(vec![1_u8; 5])];
        assert_eq!(cells.values[..3], [Value::Bytes(None), Value::Text(None), Value::Int(None)]);
        assert_eq!(cells.length, 5);
    }
}
