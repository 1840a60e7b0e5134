use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::types::IdLine;

const PATIENCE: Duration = Duration::from_secs(20);

/// Answers `id` with one item, `downloads` for ever, and fails `register`; counts the answers that are being given.
#[derive(Clone, Default)]
struct Fake {
    following: Arc<AtomicUsize>,
}

struct Following(Arc<AtomicUsize>);

impl Drop for Following {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn item(text: &str) -> Item {
    Item::Id(IdLine { peer_id: text.into(), addresses: Vec::new() })
}

impl Executor for Fake {
    async fn execute(&self, command: Command, out: mpsc::Sender<Item>) -> Result<(), CommandError> {
        self.following.fetch_add(1, Ordering::SeqCst);
        let _following = Following(Arc::clone(&self.following));
        let send = async |item| out.send(item).await.map_err(|_| CommandError::new(Failure::Other, "nobody reads"));
        match command {
            Command::Id => send(item("me")).await,
            Command::Query { peer } => send(item(&peer.unwrap_or_default())).await,
            Command::Register => {
                send(item("first")).await?;
                Err(CommandError::new(Failure::Unreachable, "no tracker answers; start one"))
            }
            _ => loop {
                send(item(&"again".repeat(1000))).await?;
            },
        }
    }
}

struct Server {
    dir: tempfile::TempDir,
    fake: Fake,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

fn serve() -> Server {
    let dir = tempfile::tempdir().unwrap();
    serve_at(dir, |dir| dir.to_owned())
}

fn serve_at(dir: tempfile::TempDir, place: impl Fn(&Path) -> PathBuf) -> Server {
    let (fake, stop) = (Fake::default(), CancellationToken::new());
    let socket = ControlSocket::open(&place(dir.path())).unwrap();
    let task = tokio::spawn(socket.serve(fake.clone(), stop.clone()));
    Server { dir, fake, stop, task }
}

async fn ask(data_dir: &Path, command: Command) -> (Vec<Item>, Result<(), CommandError>) {
    let node = RunningNode::find(data_dir).await.unwrap().expect("a node runs");
    let (sender, mut items) = mpsc::channel(ITEM_QUEUE);
    let collect = async {
        let mut all = Vec::new();
        while let Some(item) = items.recv().await {
            all.push(item);
        }
        all
    };
    let (result, items) = tokio::join!(node.execute(command, sender), collect);
    (items, result)
}

async fn until(what: impl Fn() -> bool) {
    let wait = async {
        while !what() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("it happens in time");
}

/// Sends bytes as they are and returns the answer's lines.
async fn send_raw(data_dir: &Path, bytes: &[u8]) -> Vec<String> {
    let (read, mut write) = connect(data_dir).await.unwrap().into_split();
    let _ = write.write_all(bytes).await; // the node may close before it has read all
    let mut lines = BufReader::new(read).lines();
    let mut all = Vec::new();
    while let Ok(Some(line)) = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("the node answers in time") {
        all.push(line);
    }
    all
}

#[tokio::test]
async fn a_command_is_answered_with_items_and_an_end() {
    let server = serve();
    let dir = server.dir.path();
    assert_eq!(ask(dir, Command::Id).await, (vec![item("me")], Ok(())));
    let failed = Err(CommandError::new(Failure::Unreachable, "no tracker answers; start one"));
    assert_eq!(ask(dir, Command::Register).await, (vec![item("first")], failed));
    assert_eq!(send_raw(dir, b"{\"verb\":\"id\"}\n").await, [r#"{"item":{"id":{"peer_id":"me","addresses":[]}}}"#, r#"{"end":null}"#]);
}

#[tokio::test]
async fn the_socket_is_the_users_alone_and_goes_with_the_node() {
    let server = serve();
    let path = server.dir.path().join(SOCKET);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!server.dir.path().join(NEW_SOCKET).exists());
    server.stop.cancel();
    server.task.await.unwrap();
    assert!(!path.exists());
    assert!(RunningNode::find(server.dir.path()).await.unwrap().is_none());
}

#[tokio::test]
async fn two_clients_get_their_own_answers_at_the_same_time() {
    let server = serve();
    let endless = connect(server.dir.path()).await.unwrap();
    endless.try_write(b"{\"verb\":\"downloads\"}\n").unwrap();
    until(|| server.fake.following.load(Ordering::SeqCst) == 1).await;
    let named = |name: &str| Command::Query { peer: Some(name.into()) };
    let (ada, bob) = tokio::join!(ask(server.dir.path(), named("ada")), ask(server.dir.path(), named("bob")));
    assert_eq!((ada, bob), ((vec![item("ada")], Ok(())), (vec![item("bob")], Ok(()))));
}

#[tokio::test]
async fn a_client_that_goes_away_is_no_longer_followed() {
    let server = serve();
    let mut client = connect(server.dir.path()).await.unwrap();
    client.write_all(b"{\"verb\":\"downloads\"}\n").await.unwrap();
    client.read_u8().await.unwrap();
    assert_eq!(server.fake.following.load(Ordering::SeqCst), 1);
    drop(client);
    until(|| server.fake.following.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test]
async fn clients_that_do_not_read_do_not_keep_the_node_from_stopping() {
    let server = serve();
    let mut idle = Vec::new();
    for _ in 0..MAX_CLIENTS - 1 {
        let client = connect(server.dir.path()).await.unwrap();
        client.try_write(b"{\"verb\":\"downloads\"}\n").unwrap();
        idle.push(client);
    }
    until(|| server.fake.following.load(Ordering::SeqCst) == idle.len()).await;
    assert_eq!(ask(server.dir.path(), Command::Id).await.0, [item("me")]);
    server.stop.cancel();
    tokio::time::timeout(PATIENCE, server.task).await.expect("the node stops in time").unwrap();
    until(|| server.fake.following.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test]
async fn a_line_that_is_too_long_or_no_command_is_answered_with_a_sentence() {
    let server = serve();
    for bytes in [vec![b'x'; MAX_COMMAND_BYTES + 1], b"nonsense\n".to_vec(), b"{\"verb\":\"dance\"}\n".to_vec(), b"\xff\n".to_vec()] {
        let lines = send_raw(server.dir.path(), &bytes).await;
        let [line] = lines.as_slice() else { panic!("{lines:?}") };
        assert!(line.starts_with(r#"{"end":{"failure":"Usage","message":"the node does not know this command"#), "{line}");
    }
}

#[tokio::test]
async fn the_socket_of_a_dead_node_counts_as_none_and_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    drop(std::os::unix::net::UnixListener::bind(dir.path().join(SOCKET)).unwrap());
    assert!(dir.path().join(SOCKET).exists());
    assert!(RunningNode::find(dir.path()).await.unwrap().is_none());
    let server = serve_at(dir, Path::to_owned);
    assert_eq!(ask(server.dir.path(), Command::Id).await.0, [item("me")]);
}

#[tokio::test]
async fn no_node_runs_on_a_folder_that_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    assert!(RunningNode::find(&dir.path().join("none")).await.unwrap().is_none());
    assert!(RunningNode::find(&dir.path().join("x".repeat(200))).await.unwrap().is_none());
}

#[tokio::test]
async fn a_path_that_is_too_long_for_a_socket_works_all_the_same() {
    let long = |dir: &Path| dir.join("x".repeat(120));
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(long(dir.path())).unwrap();
    let server = serve_at(dir, long);
    let place = long(server.dir.path());
    assert_eq!(ask(&place, Command::Id).await.0, [item("me")]);
    server.stop.cancel();
    server.task.await.unwrap();
    assert!(!place.join(SOCKET).exists());
}

#[tokio::test]
async fn a_node_that_dies_in_mid_answer_is_told_as_such() {
    let server = serve();
    let node = RunningNode::find(server.dir.path()).await.unwrap().unwrap();
    let (sender, mut items) = mpsc::channel(ITEM_QUEUE);
    let answer = tokio::spawn(async move { node.execute(Command::Downloads, sender).await });
    items.recv().await.unwrap();
    server.stop.cancel();
    while items.recv().await.is_some() {}
    assert_eq!(answer.await.unwrap().unwrap_err().failure, Failure::Unreachable);
}
