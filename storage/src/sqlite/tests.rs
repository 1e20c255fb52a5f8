//! What only the inside of the SQLite back end can show.
