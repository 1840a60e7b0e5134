//! The control socket: how a verb in another terminal speaks to the node that runs on a data folder.
//!
//! A client connects to the unix socket `control.sock` in the data folder and sends one [`Command`] as a line of JSON. The
//! node answers with lines `{"item":…}`, or `{"chunk":BYTES}` and then so many bytes of a file, and ends with `{"end":null}`, or `{"end":{"failure":…,"message":…}}`. A client that
//! goes away stops following; what its command began goes on.
//!
//! The socket is the user's alone: mode 0600, in a folder that nobody else can write to, and the user of each client is
//! checked.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use potluck_common::accept::accept;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, BufWriter};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::error::{CommandError, Failure};
use crate::executor::{Executor, ITEM_QUEUE};
use crate::types::{Command, Item};

/// The socket's name in the data folder.
const SOCKET: &str = "control.sock";
/// Where it is made, before it is moved to its name with its final mode.
const NEW_SOCKET: &str = "control.new";
/// Longest path of a unix socket in bytes: `sun_path` without its final NUL, the least of the systems that we know (macOS 104).
const MAX_SOCKET_PATH_BYTES: usize = 103;
/// Commands that run at a time for clients: more than a person opens terminals, few enough to bound memory.
const MAX_CLIENTS: usize = 32;
/// Longest command in bytes: a download of a few hundred references.
const MAX_COMMAND_BYTES: usize = 64 << 10;
/// Longest line of an answer in bytes: a hit with all its holders, with room.
const MAX_ANSWER_BYTES: usize = 1 << 20;
/// Most bytes of a file at a time: a piece.
const MAX_CHUNK_BYTES: usize = potluck_common::geometry::PIECE_BYTES as usize;
/// A client that has said nothing for so long is sent away, so that it does not keep the place of another.
const COMMAND_DEADLINE: Duration = Duration::from_secs(5);

/// A line of an answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    /// One more.
    Item(Item),
    /// So many bytes of a file follow as they are, after the end of the line.
    Chunk(usize),
    /// No more; `None`: it is done.
    End(Option<CommandError>),
}

/// The node's end of the control socket. Dropping it takes the socket away.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    place: SocketPlace,
}

/// The node that runs on a data folder, behind its control socket.
#[derive(Clone, Debug)]
pub struct RunningNode {
    data_dir: PathBuf,
}

impl ControlSocket {
    /// Opens the control socket of a data folder. The caller holds that folder's lock: a socket that is there belongs to a
    /// node that died, and is replaced.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn open(data_dir: &Path) -> Result<Self, CommandError> {
        Self::try_open(data_dir).map_err(|error| {
            let path = data_dir.join(SOCKET);
            CommandError::new(Failure::LocalFile, format!("cannot make the control socket {}: {error}", path.display()))
        })
    }

    fn try_open(data_dir: &Path) -> io::Result<Self> {
        let place = SocketPlace::in_folder(data_dir)?;
        let new = place.path(NEW_SOCKET);
        match std::fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&new)?;
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o600))?;
        std::fs::rename(&new, place.path(SOCKET))?; // nobody connects before the mode is right
        Ok(Self { listener, place })
    }

    /// Serves clients until `stop` is cancelled; then what still runs for them is no longer followed.
    pub async fn serve<E: Executor>(self, executor: E, stop: CancellationToken) {
        let serve = |stream| {
            let executor = executor.clone();
            async move {
                if let Err(error) = serve_client(stream, executor).await {
                    tracing::debug!(%error, "a client of the control socket left");
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = accept(&self.listener, MAX_CLIENTS, serve) => {}
        }
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.place.path(SOCKET)); // a socket that stays is replaced by the next node
    }
}

impl RunningNode {
    /// Looks for a node that runs on the data folder.
    ///
    /// # Errors
    /// When there is a socket and it cannot be asked.
    pub async fn find(data_dir: &Path) -> Result<Option<Self>, CommandError> {
        match connect(data_dir).await {
            Ok(_) => Ok(Some(Self { data_dir: data_dir.to_owned() })),
            Err(error) if nobody_there(&error) => Ok(None),
            Err(error) => Err(CommandError::new(
                Failure::Unreachable,
                format!("cannot speak to the node at {}: {error}", data_dir.join(SOCKET).display()),
            )),
        }
    }
}

impl Executor for RunningNode {
    async fn execute(&self, command: Command, out: mpsc::Sender<Item>) -> Result<(), CommandError> {
        let gone = |error: io::Error| {
            CommandError::new(Failure::Unreachable, format!("the node stopped before it had answered ({error}); start it and ask again"))
        };
        let (read, mut write) = connect(&self.data_dir).await.map_err(gone)?.into_split();
        let mut line = serde_json::to_vec(&command).map_err(|error| CommandError::new(Failure::Other, error.to_string()))?;
        if line.len() >= MAX_COMMAND_BYTES {
            return Err(CommandError::new(Failure::Usage, "that is too much for one command; ask for it in parts"));
        }
        line.push(b'\n');
        write.write_all(&line).await.map_err(gone)?;
        let mut read = BufReader::new(read);
        loop {
            match read_line(&mut read, MAX_ANSWER_BYTES).await.map_err(gone)? {
                Answer::Item(item) => {
                    if out.send(item).await.is_err() {
                        return Ok(()); // nobody wants the rest
                    }
                }
                Answer::Chunk(length) => {
                    let mut bytes = vec![0; length.min(MAX_CHUNK_BYTES)];
                    read.read_exact(&mut bytes).await.map_err(gone)?;
                    if length > MAX_CHUNK_BYTES {
                        return Err(gone(io::ErrorKind::InvalidData.into()));
                    }
                    if out.send(Item::Chunk(bytes)).await.is_err() {
                        return Ok(()); // nobody wants the rest
                    }
                }
                Answer::End(None) => return Ok(()),
                Answer::End(Some(error)) => return Err(error),
            }
        }
    }
}

/// One client: a command, its answer, the end.
async fn serve_client<E: Executor>(stream: UnixStream, executor: E) -> io::Result<()> {
    check_user(&stream)?;
    let (read, write) = stream.into_split();
    let (mut read, mut write) = (BufReader::new(read), BufWriter::new(write));
    let command = match tokio::time::timeout(COMMAND_DEADLINE, read_line(&mut read, MAX_COMMAND_BYTES)).await {
        Ok(Ok(command)) => command,
        Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
            let error =
                CommandError::new(Failure::Usage, format!("the node does not know this command ({error}); is it of another version?"));
            return write_line(&mut write, &Answer::End(Some(error)), true).await;
        }
        Ok(Err(error)) => return Err(error),
        Err(_) => return Err(io::ErrorKind::TimedOut.into()),
    };
    tokio::select! {
        told = tell(&executor, command, &mut write) => told,
        () = left(&mut read) => Ok(()),
    }
}

/// Executes a command and writes its answer. A client that reads slowly slows down its own answer only: the queue between the
/// two is short, and the node waits for room in it here and nowhere else.
async fn tell<E: Executor>(executor: &E, command: Command, write: &mut BufWriter<OwnedWriteHalf>) -> io::Result<()> {
    let (sender, mut items) = mpsc::channel(ITEM_QUEUE);
    let relay = async {
        while let Some(item) = items.recv().await {
            match item {
                Item::Chunk(bytes) => {
                    write_line(write, &Answer::Chunk(bytes.len()), false).await?;
                    write.write_all(&bytes).await?;
                    write.flush().await?;
                }
                item => write_line(write, &Answer::Item(item), items.is_empty()).await?,
            }
        }
        io::Result::Ok(())
    };
    let (ended, relayed) = tokio::join!(executor.execute(command, sender), relay);
    relayed?;
    write_line(write, &Answer::End(ended.err()), true).await?;
    executor.handle_answered();
    Ok(())
}

/// Returns when the client has closed its end, or sends what it should not.
async fn left(read: &mut (impl AsyncBufRead + Unpin)) {
    let _ = read.read_u8().await;
}

async fn write_line(write: &mut BufWriter<OwnedWriteHalf>, answer: &Answer, flush: bool) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    write.write_all(&line).await?;
    if flush { write.flush().await } else { Ok(()) }
}

/// Reads a line of JSON of at most `most` bytes.
async fn read_line<T: DeserializeOwned>(read: &mut (impl AsyncBufRead + Unpin), most: usize) -> io::Result<T> {
    let mut line = Vec::new();
    read.take(most as u64).read_until(b'\n', &mut line).await?;
    if line.last() != Some(&b'\n') {
        let kind = if line.len() >= most { io::ErrorKind::InvalidData } else { io::ErrorKind::UnexpectedEof };
        return Err(io::Error::new(kind, if line.len() >= most { "a line that is too long" } else { "no answer" }));
    }
    serde_json::from_slice(&line).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Only the user that the node runs as, and root, who could take the node over anyway.
fn check_user(stream: &UnixStream) -> io::Result<()> {
    let user = stream.peer_cred()?.uid();
    if user == rustix::process::geteuid().as_raw() || user == 0 { Ok(()) } else { Err(io::ErrorKind::PermissionDenied.into()) }
}

async fn connect(data_dir: &Path) -> io::Result<UnixStream> {
    let place = SocketPlace::in_folder(data_dir)?;
    UnixStream::connect(place.path(SOCKET)).await
}

/// No socket, or that of a node that died.
fn nobody_there(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::NotADirectory)
}

/// How the system is told where the socket is. A path that is too long for it goes by way of an open folder.
#[derive(Debug)]
struct SocketPlace {
    folder: PathBuf,
    /// Keeps `folder` valid when it is `/proc/self/fd/N`.
    _open: Option<OwnedFd>,
}

impl SocketPlace {
    fn in_folder(data_dir: &Path) -> io::Result<Self> {
        use std::os::unix::ffi::OsStrExt;
        if data_dir.join(SOCKET).as_os_str().as_bytes().len() <= MAX_SOCKET_PATH_BYTES {
            return Ok(Self { folder: data_dir.to_owned(), _open: None });
        }
        let open = OwnedFd::from(std::fs::File::open(data_dir)?);
        let folder = PathBuf::from(format!("/proc/self/fd/{}", open.as_raw_fd()));
        if !folder.exists() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path is too long for a socket here; give a shorter --data-dir"));
        }
        Ok(Self { folder, _open: Some(open) })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

#[cfg(test)]
mod tests;
