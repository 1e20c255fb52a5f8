//! Control from this machine: a Unix socket of mode 0600, one line of JSON in, one line out.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};

use crate::agent::Ask;
use crate::files::{FileError, remove};
use crate::mode::Command;
use crate::status::Status;
use crate::worker::command;

/// Longest line of a request or an answer, bytes.
const MOST: u64 = 64 << 10;

/// Why the worker on this machine could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// Nobody listens.
    #[error("no worker runs in {}: start it with `worker join`", .0.display())]
    NotRunning(PathBuf),
    /// It said no, or something that is not understood.
    #[error("the worker answered: {0}")]
    Answer(String),
}

fn socket(state: &Path) -> PathBuf {
    state.join("control.sock")
}

pub(crate) fn listen(state: &Path) -> Result<UnixListener, FileError> {
    let path = socket(state);
    // The lock on the state directory says that a socket that is there is a dead one's.
    remove(&path)?;
    let listener = UnixListener::bind(&path).map_err(FileError::on("listen on", &path))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))
        .map_err(FileError::on("protect", &path))?;
    Ok(listener)
}

/// Answers callers until the worker is gone; the one whose command ended it is still answered.
pub(crate) async fn serve(
    listener: UnixListener,
    asks: mpsc::Sender<Ask>,
    status: watch::Receiver<Status>,
) {
    let mut end = status.clone();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted.map(|(stream, _)| stream),
            // Its end of the channel goes with the agent.
            _ = end.wait_for(|_| false) => return,
        };
        let Ok(stream) = stream else { return };
        // One at a time, and nobody may hold the line: a second is plenty for one line.
        let answer = answer(stream, &asks, &status);
        let limit = std::time::Duration::from_secs(1);
        if tokio::time::timeout(limit, answer).await.is_err() {
            tracing::warn!("local.control: a caller said nothing");
        }
    }
}

async fn answer(
    stream: UnixStream,
    asks: &mpsc::Sender<Ask>,
    status: &watch::Receiver<Status>,
) -> std::io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    BufReader::new(reader.take(MOST)).read_line(&mut line).await?;
    let done = match serde_json::from_str::<Option<Command>>(&line) {
        Ok(None) => Ok(()),
        Ok(Some(wish)) => command(asks, wish).await.map_err(|error| error.to_string()),
        Err(error) => Err(format!("not a command: {error}")),
    };
    let now = status.borrow().clone();
    let mut text = serde_json::to_vec(&done.map(|()| now))?;
    text.push(b'\n');
    writer.write_all(&text).await
}

/// Asks the worker of a state directory for its status, after a command if there is one.
///
/// # Errors
/// When no worker runs there, or it refuses.
pub async fn ask_local(state: &Path, wish: Option<Command>) -> Result<Status, LocalError> {
    let absent = |_| LocalError::NotRunning(state.to_owned());
    let odd = |error: &dyn std::fmt::Display| LocalError::Answer(error.to_string());
    let stream = UnixStream::connect(socket(state)).await.map_err(absent)?;
    let (reader, mut writer) = stream.into_split();
    let line = serde_json::to_string(&wish).map_err(|error| odd(&error))?;
    writer.write_all(format!("{line}\n").as_bytes()).await.map_err(absent)?;
    let mut text = String::new();
    let read = BufReader::new(reader.take(MOST)).read_line(&mut text).await;
    read.map_err(|error| odd(&error))?;
    let answer: Result<Status, String> =
        serde_json::from_str(&text).map_err(|error| odd(&error))?;
    answer.map_err(LocalError::Answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_ends_the_worker_is_answered_before_all_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let listener = listen(folder.path()).unwrap();
        let (asks, mut inbox) = mpsc::channel(1);
        let (status, shown) = watch::channel(Status::new(1, None));
        let served = tokio::spawn(serve(listener, asks, shown));
        let state = folder.path().to_owned();
        let asked = tokio::spawn(async move { ask_local(&state, Some(Command::Finish)).await });
        let Some(Ask::Command(Command::Finish, answer)) = inbox.recv().await else {
            panic!("something else was asked")
        };
        // The worker has nothing to finish, so all of it ends at once.
        answer.send(Ok(())).unwrap();
        drop((status, inbox));
        let limit = std::time::Duration::from_secs(30);
        tokio::time::timeout(limit, served).await.unwrap().unwrap();
        assert!(asked.await.unwrap().is_ok());
    }
}
