//! [`accept`]: takes clients from a listener, a bounded number at a time.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

/// Rest after the system refused to accept, for instance because too many files are open.
const REST: Duration = Duration::from_millis(200);

/// What clients connect to.
pub trait Listener: Sync {
    /// A connection.
    type Client: Send;

    /// The next client. Dropping the future loses none.
    fn next(&self) -> impl Future<Output = io::Result<Self::Client>> + Send;
}

impl Listener for TcpListener {
    type Client = TcpStream;

    async fn next(&self) -> io::Result<TcpStream> {
        Ok(self.accept().await?.0)
    }
}

impl Listener for UnixListener {
    type Client = UnixStream;

    async fn next(&self) -> io::Result<UnixStream> {
        Ok(self.accept().await?.0)
    }
}

/// Serves clients until it is dropped; then what still runs for them is cut. When `places` are taken, a client waits in the
/// system's queue until another has gone.
pub async fn accept<L, F>(listener: &L, places: usize, serve: impl Fn(L::Client) -> F)
where
    L: Listener,
    F: Future<Output = ()> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(places));
    let mut clients = JoinSet::new();
    loop {
        match one(&places, listener).await {
            Ok((client, place)) => {
                let served = serve(client);
                clients.spawn(async move {
                    served.await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "cannot accept a client");
                tokio::time::sleep(REST).await;
            }
        }
        while clients.try_join_next().is_some() {}
    }
}

async fn one<L: Listener>(places: &Arc<Semaphore>, listener: &L) -> io::Result<(L::Client, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    Ok((listener.next().await?, place))
}
