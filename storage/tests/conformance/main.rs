//! What every back end must do, run on each of them; then what only SQLite can show.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that fails panics; helpers of tests too"
)]

mod commits;
mod reads;
mod sqlite;
mod world;

/// Runs each behaviour on each back end.
#[macro_export]
macro_rules! on_both {
    ($($behaviour:ident),* $(,)?) => {
        mod on_memory {
            $(#[tokio::test]
            async fn $behaviour() {
                use $crate::world::Backend;
                super::$behaviour($crate::world::Memory::new().await).await;
            })*
        }

        mod on_sqlite {
            $(#[tokio::test]
            async fn $behaviour() {
                use $crate::world::Backend;
                super::$behaviour($crate::world::Sqlite::new().await).await;
            })*
        }
    };
}
