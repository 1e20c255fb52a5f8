//! Integration tests by user journey; see tests/main.rs.
