//! Integration tests by user journey; see `tests/journeys`.
