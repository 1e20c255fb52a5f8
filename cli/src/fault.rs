//! Which exit code an error has, and the next command it suggests.

use tallymill_sdk::Error;

/// Exit code of an error.
pub fn code(error: &anyhow::Error) -> u8 {
    match error.downcast_ref::<Error>() {
        Some(Error::Unreachable { .. } | Error::Tls { .. } | Error::Busy(_)) => 4,
        Some(Error::Transport(_)) => 2,
        Some(Error::Credit(_)) => 5,
        _ if error.is::<NotVerified>() => 3,
        _ if error.is::<Usage>() => 2,
        _ => 1,
    }
}

/// What to do next.
pub fn next(error: &anyhow::Error) -> Option<&'static str> {
    match error.downcast_ref::<Error>()? {
        Error::Unreachable { .. } => Some("start one with: tallymill dev"),
        Error::Credit(_) => Some("see what you have with: tallymill credit balance"),
        _ => None,
    }
}

/// A receipt that is not true.
#[derive(Debug, thiserror::Error)]
#[error("not verified: {0}")]
pub struct NotVerified(pub String);

/// Words that do not fit together.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_error_has_its_exit_code() {
        let credit = Error::Credit(Box::default());
        assert_eq!(code(&anyhow::Error::new(credit)), 5);
        assert_eq!(code(&anyhow::Error::new(Error::Busy(Box::default()))), 4);
        assert_eq!(code(&anyhow::Error::new(NotVerified("output".into()))), 3);
        assert_eq!(code(&anyhow::Error::new(Usage("range".into()))), 2);
        assert_eq!(code(&anyhow::anyhow!("anything else")), 1);
    }
}
