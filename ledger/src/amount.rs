//! Amounts of credit: signed micro-credits with checked arithmetic.

use std::fmt;

/// Micro-credits; 1 credit is 10⁶ of them. Signed, because the account that grants credit goes negative in public.
///
/// ```
/// use tallymill_ledger::Amount;
/// let amount = Amount::new(1_250_000);
/// assert_eq!(amount.plus(Amount::new(1))?, Amount::new(1_250_001));
/// assert_eq!(amount.to_string(), "1.25 credits");
/// assert!(Amount::MAX.plus(Amount::new(1)).is_err());
/// # Ok::<(), tallymill_ledger::AmountError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Amount(i64);

/// Arithmetic on amounts that has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// The result does not fit 63 bits.
    #[error("{left} {operation} {right} exceeds the range of an amount")]
    Overflow {
        /// What stood left.
        left: Amount,
        /// `+` or `-`.
        operation: char,
        /// What stood right.
        right: Amount,
    },
    /// A number from outside that is no amount.
    #[error("{0} micro-credits exceed the largest amount")]
    TooLarge(u64),
}

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The largest amount.
    pub const MAX: Self = Self(i64::MAX);
    /// Micro-credits in one credit.
    pub const CREDIT: i64 = 1_000_000;

    /// An amount of `micros` micro-credits.
    #[must_use]
    pub const fn new(micros: i64) -> Self {
        Self(micros)
    }

    /// The number of micro-credits.
    #[must_use]
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Whether it is more than nothing.
    #[must_use]
    pub const fn is_positive(self) -> bool {
        self.0 > 0
    }

    /// The sum of both.
    ///
    /// # Errors
    /// When it does not fit.
    ///
    /// ```
    /// # use tallymill_ledger::Amount;
    /// assert_eq!(Amount::new(2).plus(Amount::new(3)), Ok(Amount::new(5)));
    /// ```
    pub fn plus(self, other: Self) -> Result<Self, AmountError> {
        let sum = self.0.checked_add(other.0).map(Self);
        sum.ok_or(AmountError::Overflow { left: self, operation: '+', right: other })
    }

    /// This less `other`.
    ///
    /// # Errors
    /// When it does not fit.
    ///
    /// ```
    /// # use tallymill_ledger::Amount;
    /// assert_eq!(Amount::new(2).minus(Amount::new(3)), Ok(Amount::new(-1)));
    /// ```
    pub fn minus(self, other: Self) -> Result<Self, AmountError> {
        let difference = self.0.checked_sub(other.0).map(Self);
        difference.ok_or(AmountError::Overflow { left: self, operation: '-', right: other })
    }

    /// The sum of all.
    ///
    /// # Errors
    /// When it does not fit.
    ///
    /// ```
    /// # use tallymill_ledger::Amount;
    /// assert_eq!(Amount::sum([Amount::new(2), Amount::new(3)]), Ok(Amount::new(5)));
    /// ```
    pub fn sum(amounts: impl IntoIterator<Item = Self>) -> Result<Self, AmountError> {
        amounts.into_iter().try_fold(Self::ZERO, Self::plus)
    }
}

impl TryFrom<u64> for Amount {
    type Error = AmountError;

    fn try_from(micros: u64) -> Result<Self, AmountError> {
        i64::try_from(micros).map(Self).map_err(|_| AmountError::TooLarge(micros))
    }
}

impl fmt::Display for Amount {
    /// Credits with as many decimals as they need, exactly.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = Self::CREDIT.unsigned_abs();
        let (whole, rest) = (self.0.unsigned_abs() / unit, self.0.unsigned_abs() % unit);
        let sign = if self.0 < 0 { "-" } else { "" };
        let decimals = format!(".{rest:06}");
        let decimals = decimals.trim_end_matches('0').trim_end_matches('.');
        write!(f, "{sign}{whole}{decimals} credits")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_beyond_the_range_is_a_named_error() {
        let least = Amount::new(i64::MIN);
        let over = |left, operation, right| Err(AmountError::Overflow { left, operation, right });
        assert_eq!(Amount::MAX.plus(Amount::new(1)), over(Amount::MAX, '+', Amount::new(1)));
        assert_eq!(least.minus(Amount::new(1)), over(least, '-', Amount::new(1)));
        assert!(Amount::sum([Amount::MAX, Amount::new(1)]).is_err());
        assert_eq!(Amount::try_from(1 << 63), Err(AmountError::TooLarge(1 << 63)));
        assert_eq!(Amount::try_from((1 << 63) - 1), Ok(Amount::MAX));
    }

    #[test]
    fn credits_are_shown_exactly() {
        let shown = |micros| Amount::new(micros).to_string();
        assert_eq!(shown(0), "0 credits");
        assert_eq!(shown(1), "0.000001 credits");
        assert_eq!(shown(-1_500_000), "-1.5 credits");
        assert_eq!(shown(10_000_000), "10 credits");
        assert_eq!(shown(i64::MIN), "-9223372036854.775808 credits");
    }
}
