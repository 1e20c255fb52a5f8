//! What every back end must do, run on each of them; then what only those with SQL show, and what only one of them does.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that fails panics; helpers of tests too"
)]

mod collect;
mod commits;
mod postgres;
mod reads;
mod rows;
mod sqlite;
mod world;

/// Runs each behaviour on one back end.
#[macro_export]
macro_rules! on {
    ($backend:ident as $module:ident: $($behaviour:ident),* $(,)?) => {
        mod $module {
            $(#[tokio::test]
            async fn $behaviour() {
                use $crate::world::Backend;
                super::$behaviour($crate::world::$backend::new().await).await;
            })*
        }
    };
}

/// Runs each behaviour on each back end.
#[macro_export]
macro_rules! on_all {
    ($($behaviour:ident),* $(,)?) => {
        $crate::on! { Memory as on_memory: $($behaviour),* }
        $crate::on_sql! { $($behaviour),* }
    };
}

/// Runs each behaviour on each back end with SQL.
#[macro_export]
macro_rules! on_sql {
    ($($behaviour:ident),* $(,)?) => {
        $crate::on! { Sqlite as on_sqlite: $($behaviour),* }
        $crate::on! { Postgres as on_postgres: $($behaviour),* }
    };
}
