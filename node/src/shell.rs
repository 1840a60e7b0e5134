//! The prompt of a node in the foreground: reads lines on a thread of its own, and says what each asks for.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use clap::{ColorChoice, CommandFactory};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use rustyline::completion::Completer;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{Context, Editor, Helper};
use tokio::sync::mpsc;

use crate::cli::{Cli, ConfigVerb, Verb};
use crate::console::Console;
use crate::error::{CommandError, Failure};
use crate::executor::{Broken, Executor, answer};
use crate::output::{self, Face, Output};
use crate::{clock, human};

const PROMPT: &str = "potluck> ";
/// Lines that the history keeps.
const MAX_HISTORY: usize = 1000;
/// Verbs that make no sense at the prompt of a node.
const NOT_AT_THE_PROMPT: [&str; 3] = ["node", "completions", "man"];
/// What the prompt knows beside the verbs.
const OWN_WORDS: [&str; 3] = ["help", "quit", "exit"];

/// What somebody did at the prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Typed {
    /// A line.
    Line(String),
    /// Ctrl-C or Ctrl-D, or the terminal is gone: no more lines come.
    End,
}

/// What a line asks for.
#[derive(Clone, Debug)]
pub enum Asked {
    /// Nothing: a blank line.
    Nothing,
    /// To stop the node.
    Quit,
    /// A text to read: help.
    Text(String),
    /// A verb.
    Verb(Box<Cli>),
}

/// A prompt on the terminal of the process. Dropping it gives the terminal back as it was.
#[derive(Debug)]
pub struct Prompt {
    typed: mpsc::Receiver<Typed>,
    next: SyncSender<()>,
    console: Console,
    before: Option<Termios>,
    /// Whether a line is being typed.
    shown: bool,
}

impl Prompt {
    /// Takes the terminal and asks for the first line.
    ///
    /// # Errors
    /// When the terminal cannot be used.
    pub fn open(console: &Console, history: PathBuf) -> io::Result<Self> {
        let before = tcgetattr(io::stdin()).ok();
        let mut editor = editor(&history).map_err(io::Error::other)?;
        let printer = editor.create_external_printer().map_err(io::Error::other)?;
        let (lines, typed) = mpsc::channel(1); // one line at a time
        let (next, go_on) = sync_channel(1);
        std::thread::Builder::new().name("prompt".into()).spawn(move || read_lines(editor, &history, &lines, &go_on))?;
        console.set_prompt(Some(Box::new(printer)));
        Ok(Self { typed, next, console: console.clone(), before, shown: true })
    }

    /// What is typed next. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Typed {
        let typed = self.typed.recv().await.unwrap_or(Typed::End);
        self.shown = false;
        typed
    }

    /// Shows the prompt again, after a line was dealt with.
    pub fn go_on(&mut self) {
        self.shown = true;
        let _ = self.next.try_send(()); // it is shown already
    }
}

impl Drop for Prompt {
    fn drop(&mut self) {
        self.console.set_prompt(None);
        if self.shown {
            self.console.note(""); // what is printed next begins on a line of its own
        }
        if let Some(before) = &self.before {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, before); // the terminal may be gone
        }
    }
}

/// Reads lines until there are no more, one whenever it is asked to.
fn read_lines(mut editor: Editor<Words, FileHistory>, history: &Path, lines: &mpsc::Sender<Typed>, go_on: &Receiver<()>) {
    loop {
        let typed = match editor.readline(PROMPT) {
            Ok(line) => {
                if !line.trim().is_empty() && editor.add_history_entry(&line).unwrap_or(false) {
                    let _ = editor.append_history(history); // a history that cannot be kept is no reason to stop
                }
                Typed::Line(line)
            }
            Err(_) => Typed::End,
        };
        let ended = typed == Typed::End;
        if lines.blocking_send(typed).is_err() || ended || go_on.recv().is_err() {
            return;
        }
    }
}

fn editor(history: &Path) -> rustyline::Result<Editor<Words, FileHistory>> {
    let config = rustyline::Config::builder().max_history_size(MAX_HISTORY)?.completion_type(rustyline::CompletionType::List).build();
    let mut editor = Editor::with_config(config)?;
    editor.set_helper(Some(Words::default()));
    let _ = editor.load_history(history); // there is none at first
    Ok(editor)
}

/// Says what a line asks for: words are cut as a shell cuts them, with quotes and backslashes.
///
/// # Errors
/// When the line is no verb that makes sense here.
pub fn read(line: &str) -> Result<Asked, CommandError> {
    let usage = |message: &str| CommandError::new(Failure::Usage, message);
    let words = shlex::split(line).ok_or_else(|| usage("a quote is not closed; close it, or put a \\ before it"))?;
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => return Ok(Asked::Nothing),
        ["quit" | "exit"] => return Ok(Asked::Quit),
        ["help"] => return Ok(Asked::Text(help())),
        _ => {}
    }
    let words = std::iter::once("potluck".to_owned()).chain(words);
    match Cli::read(words) {
        Ok(cli) if matches!(cli.verb, Verb::Node(_)) => {
            Err(usage("this is the prompt of a node that runs; share more with `share add DIR`"))
        }
        Ok(Cli { verb: Verb::Config(verb), .. }) if !matches!(verb, ConfigVerb::Show) => Err(usage(
            "the configuration file is changed in another terminal: `potluck config set NAME VALUE`; here `config show` tells what holds",
        )),
        Ok(cli) if !cli.network_given.is_empty() => {
            Err(usage(&format!("{} is for the start of a node; this one runs with its own", cli.network_given.join(", "))))
        }
        Ok(cli) => Ok(Asked::Verb(Box::new(cli))),
        Err(error) if !error.use_stderr() => Ok(Asked::Text(error.render().to_string())),
        Err(error) => {
            // without the part that tells how to call the program from a shell
            let text = error.render().to_string();
            let text = text.trim_start_matches("error: ").split("\n\nUsage:").next().unwrap_or_default().trim_end();
            Err(usage(&format!("{text}\n  `help` lists the verbs, `help VERB` shows what one takes")))
        }
    }
}

/// Deals with a verb that was typed: executes it, prints its answer or why it failed.
///
/// Dropping the future stops following; what was begun goes on.
pub async fn execute<E: Executor>(executor: &E, cli: &Cli, here: &Path, console: &Console, face: Face) -> Result<(), Broken> {
    let face = Face { json: cli.global.json, quiet: cli.global.quiet, ..face };
    let Some(command) = cli.verb.command(here)? else { return Ok(()) };
    let mut output = Output::of(&command, console, face, clock::today())?;
    match answer(executor, command, &mut output).await {
        Err(Broken::Failed(error)) => {
            output::error(console, &error);
            Ok(())
        }
        done_or_gone => done_or_gone,
    }
}

/// The verbs, one a line.
fn help() -> String {
    let mut text = String::new();
    for verb in verbs() {
        let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
        text.push_str(&human::term(verb.get_name(), &about));
    }
    text.push_str(&human::term("help VERB", "Show what a verb takes, with examples"));
    text.push_str(&human::term("quit", "Stop the node; Ctrl-C and Ctrl-D do the same"));
    text
}

/// The verbs that the prompt takes.
fn verbs() -> Vec<clap::Command> {
    Cli::command()
        .color(ColorChoice::Never)
        .get_subcommands()
        .filter(|verb| !NOT_AT_THE_PROMPT.contains(&verb.get_name()))
        .cloned()
        .collect()
}

/// Completes verbs, and the verbs of `share`.
#[derive(Debug)]
struct Words {
    /// Each with the words that can follow it.
    verbs: Vec<(String, Vec<String>)>,
}

impl Default for Words {
    fn default() -> Self {
        let below = |verb: &clap::Command| verb.get_subcommands().map(|verb| verb.get_name().to_owned()).collect();
        let mut all: Vec<(String, Vec<String>)> = verbs().iter().map(|verb| (verb.get_name().to_owned(), below(verb))).collect();
        let names = all.iter().map(|(name, _)| name.clone()).collect();
        all.extend(OWN_WORDS.map(|word| (word.to_owned(), if word == "help" { Vec::clone(&names) } else { Vec::new() })));
        Self { verbs: all }
    }
}

impl Words {
    /// Where the word at the end of `typed` begins, and what it can become.
    fn candidates(&self, typed: &str) -> (usize, Vec<String>) {
        let start = typed.rfind(char::is_whitespace).map_or(0, |blank| blank + 1);
        let (before, word) = typed.split_at(start);
        let fitting = |words: &mut dyn Iterator<Item = &String>| -> Vec<String> {
            words.filter(|candidate| candidate.starts_with(word)).map(|candidate| format!("{candidate} ")).collect()
        };
        let found = match before.split_whitespace().collect::<Vec<_>>().as_slice() {
            [] => fitting(&mut self.verbs.iter().map(|(verb, _)| verb)),
            [first] => fitting(&mut self.verbs.iter().filter(|(verb, _)| verb == first).flat_map(|(_, below)| below)),
            _ => Vec::new(),
        };
        (start, found)
    }
}

impl Completer for Words {
    type Candidate = String;

    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(self.candidates(line.get(..pos).unwrap_or(line)))
    }
}

impl Hinter for Words {
    type Hint = String;
}

impl Highlighter for Words {}
impl Validator for Words {}
impl Helper for Words {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::recorded;
    use crate::types::{Command, IdLine, Item};

    #[derive(Clone)]
    struct Fake;

    impl Executor for Fake {
        async fn execute(&self, command: Command, out: mpsc::Sender<Item>) -> Result<(), CommandError> {
            match command {
                Command::Id => {
                    let _ = out.send(Item::Id(IdLine { peer_id: "me".into(), addresses: Vec::new() })).await;
                    Ok(())
                }
                other => Err(CommandError::new(Failure::NotFound, format!("no answer to {other:?}"))),
            }
        }
    }

    fn command(line: &str) -> Option<Command> {
        match read(line).unwrap() {
            Asked::Verb(cli) => cli.verb.command(Path::new("/here")).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_line_is_cut_as_a_shell_cuts_it() {
        let searched = |line: &str| match command(line) {
            Some(Command::Search { text, .. }) => text,
            other => panic!("{other:?}"),
        };
        assert_eq!(searched("search kind  of\tblue"), "kind of blue");
        assert_eq!(searched(r#"search '"kind of blue"' --ext flac"#), r#""kind of blue" ext:flac"#);
        assert_eq!(searched(r"search don\'t"), "don't");
        assert_eq!(searched(r#"search "it's""#), "it's");
        assert_eq!(command("query 'a b'"), Some(Command::Query { peer: Some("a b".into()) }));
    }

    #[test]
    fn what_makes_no_sense_is_answered_with_a_sentence() {
        for (line, part) in [
            ("search 'open", "a quote is not closed"),
            ("node --share .", "this is the prompt of a node"),
            ("search x --namespace y", "--namespace is for the start of a node"),
            ("dance", "unrecognized subcommand 'dance'"),
            ("download", "required arguments"),
            ("download nonsense", "give a content id"),
        ] {
            let error = read(line).unwrap_err();
            assert_eq!(error.failure, Failure::Usage, "{line}");
            assert!(error.message.contains(part), "{line}: {}", error.message);
            assert!(!error.message.contains('\u{1b}'), "{line}: {:?}", error.message);
        }
    }

    #[test]
    fn help_quit_and_blank_lines_are_understood() {
        assert!(matches!(read(" \t "), Ok(Asked::Nothing)));
        assert!(matches!(read("quit"), Ok(Asked::Quit)));
        assert!(matches!(read("exit"), Ok(Asked::Quit)));
        let Ok(Asked::Text(all)) = read("help") else { panic!() };
        assert!(all.contains("search") && all.contains("quit") && !all.contains("\nnode"), "{all}");
        let Ok(Asked::Text(one)) = read("help search") else { panic!() };
        assert!(one.contains("--min-size") && one.contains("Examples"), "{one}");
    }

    #[test]
    fn verbs_are_completed_where_a_verb_can_stand() {
        let words = Words::default();
        assert_eq!(words.candidates("se"), (0, vec!["search ".into()]));
        assert_eq!(words.candidates("share r"), (6, vec!["rm ".into(), "rescan ".into()]));
        assert_eq!(words.candidates("help dow"), (5, vec!["download ".into(), "downloads ".into()]));
        assert_eq!(words.candidates("search se"), (7, Vec::new()));
        assert_eq!(words.candidates("nod"), (0, Vec::new()));
    }

    #[tokio::test]
    async fn a_verb_prints_its_answer_and_a_failure_does_not_end_the_prompt() {
        let (console, out, err) = recorded::console();
        for line in ["id", "id --json", "status"] {
            let Ok(Asked::Verb(cli)) = read(line) else { panic!("{line}") };
            execute(&Fake, &cli, Path::new("/"), &console, Face::default()).await.unwrap();
        }
        assert_eq!(out.text(), "me\n{\"peer_id\":\"me\",\"addresses\":[]}\n");
        assert_eq!(err.text(), "error: no answer to Status\n");
    }
}
