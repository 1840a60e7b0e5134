//! The control socket of a tracker: how `potluck-tracker invite` and `members` speak to the one that runs on the same data
//! folder.
//!
//! A client connects to the unix socket `control.sock` in the data folder, sends one [`AdminRequest`] as a line of JSON, and
//! gets one [`AdminAnswer`] as a line of JSON. The socket is the user's alone: mode 0600, and the user of each client is
//! checked.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use potluck_common::accept::accept;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};

use crate::admin::{AdminAnswer, AdminError, AdminRequest};

const SOCKET: &str = "control.sock";
/// Longest request in bytes.
const MAX_REQUEST_BYTES: u64 = 64 << 10;
/// Longest answer in bytes: all members of a full ledger.
const MAX_ANSWER_BYTES: u64 = 16 << 20;
/// Requests that may wait for the event loop: clients of the socket are served one after the other, the page asks a few at once.
pub(crate) const QUEUE: usize = 4;
/// How long one client may take.
const CLIENT_PATIENCE: Duration = Duration::from_secs(10);

/// A request and where its answer goes.
pub(crate) type Ask = (AdminRequest, oneshot::Sender<AdminAnswer>);

/// Takes the socket away when the tracker ends.
#[derive(Debug)]
pub(crate) struct ControlSocket {
    path: PathBuf,
    serving: tokio::task::JoinHandle<()>,
}

impl ControlSocket {
    /// Opens the socket of a data folder, whose lock the caller holds, and serves it in a task of its own: what is asked goes to
    /// `asks`.
    ///
    /// # Errors
    /// When the system refuses; a path of over a hundred bytes is too long for a socket.
    pub(crate) fn open(data_dir: &Path, asks: mpsc::Sender<Ask>) -> io::Result<Self> {
        let (path, new) = (data_dir.join(SOCKET), data_dir.join("control.new"));
        match std::fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&new)?;
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o600))?;
        std::fs::rename(&new, &path)?; // nobody connects before the mode is right
        Ok(Self { path, serving: tokio::spawn(serve(listener, asks)) })
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        self.serving.abort();
        let _ = std::fs::remove_file(&self.path); // one that stays is replaced by the next tracker
    }
}

async fn serve(listener: UnixListener, asks: mpsc::Sender<Ask>) {
    let serve = |stream| {
        let asks = asks.clone();
        async move {
            let served = tokio::time::timeout(CLIENT_PATIENCE, serve_client(stream, &asks)).await;
            if let Ok(Err(error)) = served {
                tracing::debug!(%error, "a client of the control socket left");
            }
        }
    };
    accept(&listener, 1, serve).await; // one after the other
}

async fn serve_client(stream: UnixStream, asks: &mpsc::Sender<Ask>) -> io::Result<()> {
    let user = stream.peer_cred()?.uid();
    if user != rustix::process::geteuid().as_raw() && user != 0 {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let (read, mut write) = stream.into_split();
    let answer = match read_line(read, MAX_REQUEST_BYTES).await {
        Ok(request) => {
            let (reply, answer) = oneshot::channel();
            let stopping = || AdminAnswer::Failed(AdminError { exit_code: 8, message: "the tracker is stopping; ask again".to_owned() });
            match asks.send((request, reply)).await {
                Ok(()) => answer.await.unwrap_or_else(|_| stopping()),
                Err(_) => stopping(),
            }
        }
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            let message = format!("the running tracker does not know this request ({error}); is it of another version?");
            AdminAnswer::Failed(AdminError { exit_code: 2, message })
        }
        Err(error) => return Err(error),
    };
    write_line(&mut write, &answer).await
}

/// Asks the tracker that runs on a data folder; `None`: none does.
///
/// # Errors
/// When there is one and it does not answer.
pub(crate) async fn ask_running(data_dir: &Path, request: &AdminRequest) -> io::Result<Option<AdminAnswer>> {
    use io::ErrorKind::{ConnectionRefused, NotADirectory, NotFound};
    let stream = match UnixStream::connect(data_dir.join(SOCKET)).await {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), NotFound | ConnectionRefused | NotADirectory) => return Ok(None),
        Err(error) => return Err(error),
    };
    let (read, mut write) = stream.into_split();
    let exchange = async {
        write_line(&mut write, request).await?;
        read_line(read, MAX_ANSWER_BYTES).await
    };
    tokio::time::timeout(CLIENT_PATIENCE, exchange).await?.map(Some)
}

async fn write_line(write: &mut (impl tokio::io::AsyncWrite + Unpin), message: &impl serde::Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    write.write_all(&line).await
}

async fn read_line<T: DeserializeOwned>(read: impl tokio::io::AsyncRead + Unpin, most: u64) -> io::Result<T> {
    let mut line = Vec::new();
    BufReader::new(read.take(most)).read_until(b'\n', &mut line).await?;
    if line.last() != Some(&b'\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    serde_json::from_slice(&line).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_reaches_the_tracker_and_its_answer_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        assert!(ask_running(dir.path(), &AdminRequest::Members).await.unwrap().is_none());
        let (sender, mut asks) = mpsc::channel(QUEUE);
        let socket = ControlSocket::open(dir.path(), sender).unwrap();
        let mode = dir.path().join(SOCKET).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let answering = tokio::spawn(async move {
            let (request, reply) = asks.recv().await.unwrap();
            assert_eq!(request, AdminRequest::Members);
            reply.send(AdminAnswer::Members(Vec::new())).unwrap();
        });
        let answer = ask_running(dir.path(), &AdminRequest::Members).await.unwrap();
        assert_eq!(answer, Some(AdminAnswer::Members(Vec::new())));
        answering.await.unwrap();
        let gone = ask_running(dir.path(), &AdminRequest::Members).await.unwrap();
        assert!(matches!(gone, Some(AdminAnswer::Failed(AdminError { exit_code: 8, .. }))), "{gone:?}");
        drop(socket);
        assert!(ask_running(dir.path(), &AdminRequest::Members).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn nonsense_is_answered_with_a_sentence() {
        let dir = tempfile::tempdir().unwrap();
        let (sender, _asks) = mpsc::channel(QUEUE);
        let _socket = ControlSocket::open(dir.path(), sender).unwrap();
        let mut stream = UnixStream::connect(dir.path().join(SOCKET)).await.unwrap();
        stream.write_all(b"{\"do\":\"dance\"}\n").await.unwrap();
        let answer: AdminAnswer = read_line(&mut stream, MAX_ANSWER_BYTES).await.unwrap();
        assert!(matches!(answer, AdminAnswer::Failed(AdminError { exit_code: 2, .. })), "{answer:?}");
    }
}
