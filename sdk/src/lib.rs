//! Client library of Tallymill: build a job, submit it, follow it, collect its results.
//!
//! ```no_run
//! use tallymill_sdk::{Client, Job, KeyFile};
//!
//! # async fn example() -> Result<(), tallymill_sdk::Error> {
//! let key = KeyFile::load_or_create("me.key".as_ref())?;
//! let client = Client::connect("http://127.0.0.1:7411", key).await?;
//! let job = Job::new(std::fs::read("mersenne.wasm").unwrap()).title("mersenne").range(2, 100).quorum(2);
//! let quote = client.quote(&job).await?;
//! println!("costs at most {} micro-credits", quote.cap);
//! let handle = client.submit(&job).await?;
//! let mut results = handle.results();
//! while let Some(result) = results.next().await? {
//!     println!("{}: {:?}", result.task, result.output);
//! }
//! # Ok(())
//! # }
//! ```

mod client;
mod error;
mod handle;
mod http;
mod job;
mod keys;
pub mod model;
mod operator;
mod results;

pub use client::Client;
pub use error::Error;
pub use handle::JobHandle;
pub use job::{Job, Quote};
pub use keys::KeyFile;
pub use results::{Order, Results, TaskResult};
pub use tallymill_transport::TransportError;
