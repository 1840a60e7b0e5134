//! One run of the program: a node in the foreground, or a verb. Everything but the exit code.

mod upkeep;

use std::path::Path;

use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc::Sender;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::api::Page;
use crate::cli::{Cli, Launch, NodeArgs, Verb};
use crate::clock;
use crate::config::{Config, Reread};
use crate::console::{Console, Terminals};
use crate::control::{ControlSocket, RunningNode};
use crate::error::{CommandError, Failure};
use crate::executor::{Broken, Executor, answer};
use crate::node::Node;
use crate::output::{self, Face, Output};
use crate::shell::{self, Asked, Prompt, Typed};
use crate::signals::{Signal, Signals};
use crate::types::{Command, Event, Item};

/// Lines that were typed at the prompt, kept in the data folder.
const HISTORY: &str = "history";

impl Executor for Node {
    async fn execute(&self, command: Command, out: Sender<Item>) -> Result<(), CommandError> {
        Node::execute(self, command, out).await
    }

    fn handle_answered(&self) {
        Node::handle_answered(self);
    }
}

/// What comes after a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing.
    End,
    /// The program is to be started once more: what its node is to do has changed.
    Again,
}

/// What all parts of a run share.
struct Run {
    launch: Launch,
    console: Console,
    face: Face,
    signals: Signals,
}

/// Does what the command line asks for, until it is done or a signal ends it.
///
/// # Errors
/// When it fails, or nobody reads the output any more.
pub async fn run(launch: Launch, cli: Cli, console: Console) -> Result<Next, Broken> {
    let face = Face { json: cli.global.json, quiet: cli.global.quiet, terminals: Terminals::of_process() };
    let signals = Signals::listen(!face.terminals.interactive && matches!(cli.verb, Verb::Node(_)))?;
    let mut run = Run { launch, console, face, signals };
    if let Some(text) = cli.verb.printed()? {
        run.console.result(text.trim_end())?;
        run.console.flush()?;
        return Ok(Next::End);
    }
    match &cli.verb {
        Verb::Node(args) => return run.node(&cli, args).await,
        Verb::Config(verb) => run.config(&cli, verb).await,
        Verb::Doctor => run.doctor(&cli).await,
        verb => match verb.command(&run.launch.around.here)? {
            Some(command) => run.verb(&cli, command).await,
            None => Ok(()),
        },
    }
    .map(|()| Next::End)
}

impl Run {
    /// A verb: asks the node that runs on the data folder, or a short-lived one.
    async fn verb(&mut self, cli: &Cli, command: Command) -> Result<(), Broken> {
        let data_dir = cli.global.data_dir(&self.launch.around)?;
        if let Some(node) = RunningNode::find(&data_dir).await? {
            if !cli.network_given.is_empty() {
                let options = cli.network_given.join(", ");
                self.console.note(&format!("note: a node runs on this data folder, so its own settings hold and not {options}"));
            }
            return self.answer(&node, command, "the node goes on with it: see `potluck downloads`").await;
        }
        let (node, events) = Node::start(Config::resolve(cli, &self.launch.around)?).await?;
        let troubles = tokio::spawn(tell_events(events, self.console.clone(), Face { json: false, quiet: true, ..self.face }));
        let result = self.answer(&node, command, "what is there is kept, and the same command goes on with it").await;
        let stopped = self.stop(&node).await;
        troubles.abort();
        result.and(stopped)
    }

    /// Executes a command and prints its answer, until a signal comes.
    async fn answer<E: Executor>(&mut self, executor: &E, command: Command, then: &str) -> Result<(), Broken> {
        let download = matches!(command, Command::Download(_));
        let mut output = Output::of(&command, &self.console, self.face, clock::today())?;
        tokio::select! {
            result = answer(executor, command, &mut output) => result,
            _ = self.signals.next() => {
                let message = if download { format!("interrupted; {then}") } else { "interrupted".to_owned() };
                Err(CommandError::new(Failure::Interrupted, message).into())
            }
        }
    }

    /// A node in the foreground.
    async fn node(&mut self, cli: &Cli, args: &NodeArgs) -> Result<Next, Broken> {
        let launch = self.launch.clone();
        let reread = Some(Reread::new(move || launch.config()));
        let config = Config { reread, ..Config::resolve(cli, &self.launch.around)? };
        let (data_dir, page_plan) = (config.data_dir.clone(), config.page);
        if RunningNode::find(&data_dir).await?.is_some() {
            let message = format!(
                "a node runs on {} already; ask it with `potluck status`, or start another with --data-dir DIR",
                data_dir.display()
            );
            return Err(CommandError::new(Failure::LocalFile, message).into());
        }
        self.greet(&config, args);
        let (node, events) = Node::start(config).await?;
        let stop = CancellationToken::new();
        let control = match ControlSocket::open(&data_dir) {
            Ok(socket) => tokio::spawn(socket.serve(node.clone(), stop.clone())),
            Err(error) => {
                node.shutdown().await;
                return Err(error.into());
            }
        };
        let events = tokio::spawn(tell_events(events, self.console.clone(), self.face));
        let page = match Page::open(&node, page_plan).await {
            Ok(page) => tokio::spawn(futures::future::OptionFuture::from(page.map(|page| page.serve(stop.clone())))),
            Err(error) => {
                node.shutdown().await;
                return Err(error.into());
            }
        };
        self.invite_to_page(&node);
        let ended = self.until_stopped(&node, &data_dir, events).await;
        stop.cancel();
        let stopped = self.stop(&node).await;
        let _ = (control.await, page.await); // they take socket and port away
        let next = ended?;
        stopped.map(|()| next)
    }

    /// Says what a new user needs, before anything can go wrong.
    fn greet(&self, config: &Config, args: &NodeArgs) {
        if self.face.quiet || self.face.json {
            return;
        }
        self.console.note(&format!("{} keeps its data in {}", config.nickname, config.data_dir.display()));
        self.console.note(&format!("downloads go to {}", config.download_dir.display()));
        if args.share.is_empty() {
            self.console.note("no --share: only folders that were shared before are; add one with `potluck share add DIR`");
        }
    }

    /// Shows somebody at a terminal how to open the page; a log never sees a key.
    fn invite_to_page(&self, node: &Node) {
        if let Some((address, key)) = node.page_address().zip(node.new_page_key())
            && self.face.terminals.interactive
            && !self.face.quiet
            && !self.face.json
        {
            self.console.note(&format!("open it with {address}#key={key} (works once; `potluck page` prints another)"));
        }
    }

    /// Returns when a signal, the prompt, or the end of the output says so.
    async fn until_stopped(&mut self, node: &Node, data_dir: &Path, mut events: JoinHandle<Result<(), Broken>>) -> Result<Next, Broken> {
        let mut prompt = self.prompt(data_dir);
        loop {
            tokio::select! {
                signal = self.signals.next() => match signal {
                    Signal::Reload => self.reload(node).await,
                    Signal::Interrupt | Signal::Terminate => return Ok(Next::End),
                },
                told = &mut events => return told.unwrap_or(Ok(())).map(|()| Next::End),
                () = node.until_started_again() => return Ok(Next::Again),
                typed = next_line(&mut prompt) => match typed {
                    Typed::Line(line) if self.line(node, &line).await? => {}
                    Typed::Line(_) | Typed::End => return Ok(Next::End),
                },
            }
            if let Some(prompt) = &mut prompt {
                prompt.go_on();
            }
        }
    }

    fn prompt(&self, data_dir: &Path) -> Option<Prompt> {
        if !self.face.terminals.interactive || self.face.json {
            return None;
        }
        Prompt::open(&self.console, data_dir.join(HISTORY))
            .inspect_err(|error| self.console.note(&format!("no prompt here ({error}); type verbs in another terminal")))
            .ok()
    }

    /// Deals with a line of the prompt; whether the node goes on.
    async fn line(&mut self, node: &Node, line: &str) -> Result<bool, Broken> {
        match shell::read(line) {
            Ok(Asked::Nothing) => {}
            Ok(Asked::Quit) => return Ok(false),
            Ok(Asked::Text(text)) => self.console.note(text.trim_end()),
            Err(error) => output::error(&self.console, &error),
            Ok(Asked::Verb(cli)) => tokio::select! {
                done = shell::execute(node, &cli, &self.launch.around.here, &self.console, self.face) => match done {
                    Err(Broken::Failed(error)) => output::error(&self.console, &error),
                    done => done?,
                },
                signal = self.signals.next() => match signal {
                    Signal::Interrupt => self.console.note("no longer followed; what was begun goes on"),
                    Signal::Reload => self.reload(node).await,
                    Signal::Terminate => return Ok(false),
                },
            },
        }
        Ok(true)
    }

    /// Takes over what was changed in the configuration file; a file that makes no sense changes nothing.
    async fn reload(&self, node: &Node) {
        match upkeep::gather(node, Command::Settings { reload: true }).await {
            Ok(_) => tracing::info!("the configuration was read again"),
            Err(error) => output::error(&self.console, &error),
        }
    }

    /// Stops the node; a signal while it does so ends the wait.
    async fn stop(&mut self, node: &Node) -> Result<(), Broken> {
        tokio::select! {
            () = node.shutdown() => Ok(()),
            _ = self.signals.next() => {
                Err(CommandError::new(Failure::Interrupted, "stopped at once; what was not saved is checked at the next start").into())
            }
        }
    }
}

/// The next line of the prompt; never, where there is none.
async fn next_line(prompt: &mut Option<Prompt>) -> Typed {
    match prompt {
        Some(prompt) => prompt.next().await,
        None => std::future::pending().await,
    }
}

/// Prints events until the node has ended or nobody reads them.
async fn tell_events(mut events: Receiver<Event>, console: Console, face: Face) -> Result<(), Broken> {
    loop {
        match events.recv().await {
            Ok(event) => output::event(&console, face, &event)?,
            Err(RecvError::Lagged(missed)) => tracing::warn!(missed, "events came faster than they could be printed"),
            Err(RecvError::Closed) => return Ok(()),
        }
    }
}
