use std::os::unix::fs::PermissionsExt;

use super::args::DEFAULT_HITS;
use super::*;
use crate::config::{Config, Listen};
use crate::types::OnConflict;

const PEER: &str = "12D3KooWGatU8DSBTk6JnDHj3gJ8R3nbKDYBQeFGvoLY5VRvDhHX";
const ID: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

fn cli(words: &[&str]) -> Cli {
    Cli::read(std::iter::once(&"potluck").chain(words)).unwrap_or_else(|error| panic!("{words:?}: {error}"))
}

fn command(words: &[&str]) -> Command {
    cli(words).verb.command(Path::new("/here")).unwrap().unwrap()
}

/// What a user reads when the words are refused.
fn refused(words: &[&str]) -> String {
    match Cli::read(std::iter::once(&"potluck").chain(words)) {
        Err(error) => {
            assert_eq!(error.exit_code(), 2, "{words:?}");
            error.to_string()
        }
        Ok(cli) => {
            let error = cli.verb.command(Path::new("/here")).expect_err("is refused");
            assert_eq!(error.failure, Failure::Usage, "{words:?}");
            error.message
        }
    }
}

#[test]
fn clap_finds_no_fault_with_the_grammar() {
    Cli::command().debug_assert();
}

#[test]
fn every_help_shows_examples() {
    fn check(command: &clap::Command) {
        let help = command.clone().render_long_help().to_string();
        let is_group = ["share", "config"].contains(&command.get_name());
        assert!(is_group || help.contains("Example"), "{}", command.get_name());
        assert!(command.get_about().is_some(), "{}", command.get_name());
        command.get_subcommands().filter(|below| below.get_name() != "help").for_each(check);
    }
    let mut all = Cli::command();
    all.build();
    check(&all);
}

#[test]
fn each_verb_becomes_its_command() {
    assert_eq!(command(&["register"]), Command::Register);
    assert_eq!(command(&["deregister"]), Command::Deregister);
    assert_eq!(command(&["query"]), Command::Query { peer: None });
    assert_eq!(command(&["query", "ada"]), Command::Query { peer: Some("ada".into()) });
    assert_eq!(command(&["downloads"]), Command::Downloads);
    assert_eq!(command(&["status"]), Command::Status);
    assert_eq!(command(&["id"]), Command::Id);
    assert_eq!(command(&["share", "ls"]), Command::ShareList);
    assert_eq!(command(&["verify"]), Command::Verify { what: None, repair: true });
    let path = Command::Verify { what: Some("/here/films/a b".into()), repair: false };
    assert_eq!(command(&["verify", "--check", "films/a b"]), path);
    let Command::Download(wish) = command(&["get", ID, "-o", "-"]) else { panic!("no download") };
    assert!(wish.to_stdout && wish.into.is_none());
    assert_eq!(command(&["dial", "/ip4/10.0.0.1/tcp/9471"]), Command::Dial { address: "/ip4/10.0.0.1/tcp/9471".into() });
    assert_eq!(command(&["share", "rm", "Music"]), Command::ShareRemove { name: "Music".into() });
    assert_eq!(command(&["share", "rm", "gone/Music"]), Command::ShareRemove { name: "/here/gone/Music".into() });
}

#[test]
fn a_search_takes_words_filters_and_exclusions_in_any_order() {
    let search = |words: &[&str]| match command(&[&["search"], words].concat()) {
        Command::Search { text, limit } => (text, limit),
        other => panic!("{other:?}"),
    };
    assert_eq!(search(&["kind", "of", "blue"]), ("kind of blue".into(), DEFAULT_HITS));
    let filters = "miles -live ext:flac,mp3 size:>10485760 size:<1500000000";
    let words = ["miles", "-live", "--ext", "flac,mp3", "--min-size", "10MiB", "--limit", "7", "--max-size", "1.5GB"];
    assert_eq!(search(&words), (filters.into(), 7));
    assert_eq!(search(&["--limit", "7", "--ext", "flac"]), ("ext:flac".into(), 7));
    assert_eq!(search(&["--", "--odd", "-x"]).0, "--odd -x");
    assert_eq!(search(&["-live", "-v", "a-b", "\u{2212}remix"]).0, "-live a-b -remix");
    let Command::Search { text, .. } = command(&["--namespace", "search", "-q", "search", "-live", "x"]) else { panic!() };
    assert_eq!(text, "-live x");
}

#[test]
fn a_download_takes_all_forms_of_references() {
    let link = format!("potluck:{ID}?name=live.flac&size=10");
    let folder = format!("{PEER}:music/Kind of Blue/");
    let words = ["get", ID, &link, &folder, "ada:music", "-o", "into", "--on-conflict", "error", "--timeout", "9"];
    let Command::Download(wish) = command(&words) else { panic!() };
    assert_eq!(wish.refs, [ID, &link, &folder, "ada:music"]);
    assert_eq!(wish.into, Some("/here/into".into()));
    assert_eq!((wish.on_conflict, wish.timeout_seconds), (OnConflict::Error, Some(9)));
}

#[test]
fn global_options_stand_before_or_after_the_verb() {
    for words in [["--json", "--data-dir", "/d", "search", "x"], ["search", "x", "--data-dir", "/d", "--json"]] {
        let cli = cli(&words);
        assert!(cli.global.json);
        assert_eq!(cli.global.data_dir, Some("/d".into()));
        assert!(cli.network_given.is_empty());
    }
    for words in [["--namespace", "n", "share", "ls"], ["share", "--namespace", "n", "ls"], ["share", "ls", "--namespace", "n"]] {
        let cli = cli(&words);
        assert_eq!(cli.global.network.namespace, Some(Namespace::new("n").unwrap()));
        assert_eq!(cli.network_given, ["--namespace"]);
    }
}

#[test]
fn what_makes_no_sense_is_refused_with_the_right_form() {
    let tracker_end = "/p2p/PEER_ID";
    for (words, part) in [
        (&["frobnicate"][..], "unrecognized subcommand"),
        (&["node", "--share"], "--share"),
        (&["node", "--share", "="], "give a folder"),
        (&["node", "--share", "=dir"], "cannot be the name of a share"),
        (&["node", "--share", "..=dir"], "cannot be the name of a share"),
        (&["node", "--listen", "0.0.0.0:9471"], "/ip4/0.0.0.0/tcp/9471"),
        (&["node", "--listen", "/dns/example.org/tcp/1"], "at an IP address"),
        (&["node", "--nickname", ""], "cannot be empty"),
        (&["node", "--nickname", "a\u{1b}b"], "control characters"),
        (&["node", "--limit-up", "fast"], "10MiB/s"),
        (&["node", "--limit-up", "0"], "leave the option out"),
        (&["--namespace", "", "id"], "cannot be empty"),
        (&["--tracker", "tracker.example.org:9470", "id"], "/dns/tracker.example.org/tcp/9470/p2p/PEER_ID"),
        (&["--tracker", "203.0.113.5", "id"], "/ip4/203.0.113.5/tcp/9470/p2p/PEER_ID"),
        (&["--tracker", "203.0.113.5:1", "id"], "/ip4/203.0.113.5/tcp/1/p2p/PEER_ID"),
        (&["--tracker", "[2001:db8::1]:7", "id"], "/ip6/2001:db8::1/tcp/7/p2p/PEER_ID"),
        (&["--tracker", "2001:db8::1", "id"], "/ip6/2001:db8::1/tcp/9470/p2p/PEER_ID"),
        (&["--tracker", "http://t.example.org:80/", "id"], "/dns/t.example.org/tcp/80/p2p/PEER_ID"),
        (&["--tracker", "localhost:9470", "id"], "/dns/localhost/tcp/9470"),
        (&["--tracker", "/ip4/203.0.113.5/tcp/9470", "id"], tracker_end),
        (&["--tracker", "/ip4/203.0.113.5/tcp/9470/p2p/nobody", "id"], "not a multiaddr"),
        (&["--tracker", "/ip4/203.0.113.5", "id"], "no host and port"),
        (&["--tracker", "", "id"], "not a multiaddr"),
        (&["--tracker", "a b:1", "id"], "not a multiaddr"),
        (&["dial"], "MULTIADDR"),
        (&["dial", "192.168.1.7:9471"], "/ip4/192.168.1.7/tcp/9471"),
        (&["dial", "/tcp/1"], "no host and port"),
        (&["download"], "REF"),
        (&["download", "9f86"], "64 hex digits"),
        (&["download", "potluck:12"], "not a link"),
        (&["download", "ada:../x"], "leave its folder"),
        (&["download", "ada:"], "empty component"),
        (&["download", ID, "--on-conflict", "overwrite"], "[possible values: number, error]"),
        (&["download", ID, "--timeout", "0"], "0 is not in"),
        (&["search"], "nothing to search for"),
        (&["search", " "], "nothing to search for"),
        (&["search", "x", "--limt", "3"], "unexpected argument '--limt'"),
        (&["search", "x", "--limit", "0"], "0 is not in"),
        (&["search", "x", "--ext", "a b"], "without blanks"),
        (&["search", "x", "--min-size", "5 parsecs"], "10MiB"),
        (&["search", &"x".repeat(600)], "at most 512 bytes"),
        (&["share", "add"], "DIR"),
        (&["status", "now"], "unexpected argument"),
    ] {
        let message = refused(words);
        assert!(message.contains(part), "{words:?} was answered with: {message}");
    }
    assert!(!refused(&["--tracker", "127.0.0.1:9470", "id"]).contains(tracker_end));
}

#[test]
fn a_tracker_on_loopback_needs_no_peer_id() {
    for address in ["/ip4/127.0.0.1/tcp/9470", "/ip6/::1/tcp/9470", "/dns/localhost/tcp/9470", "/ip4/127.0.0.1/udp/9470/quic-v1"] {
        assert_eq!(cli(&["--tracker", address, "id"]).global.network.tracker, [address.parse().unwrap()]);
    }
    let named = format!("/dns4/example.org/tcp/9470/p2p/{PEER}");
    let both = format!("{named},/ip4/127.0.0.1/tcp/1");
    assert_eq!(cli(&["id", "--tracker", &both]).global.network.tracker.len(), 2);
    assert_eq!(cli(&["id", "--tracker", &named, "--tracker", "/ip4/127.0.0.1/tcp/1"]).global.network.tracker.len(), 2);
}

#[test]
fn a_share_has_a_name_only_where_no_slash_comes_before_the_equals_sign() {
    let share = |text: &str| match cli(&["share", "add", text]).verb {
        Verb::Share(ShareVerb::Add { share, .. }) => (share.name, share.dir),
        other => panic!("{other:?}"),
    };
    assert_eq!(share("dir"), (None, "dir".into()));
    assert_eq!(share("films=/mnt/Films"), (Some("films".into()), "/mnt/Films".into()));
    assert_eq!(share("films=a=b"), (Some("films".into()), "a=b".into()));
    assert_eq!(share("./a=b"), (None, "./a=b".into()));
    assert_eq!(share("/a/b=c"), (None, "/a/b=c".into()));
}

#[test]
fn rates_and_sizes_are_read_with_exact_units() {
    let limit = |text: &str| match cli(&["node", "--limit-up", text]).verb {
        Verb::Node(args) => args.limit_up,
        other => panic!("{other:?}"),
    };
    for (text, rate) in [("10MiB/s", 10 << 20), ("10MB", 10_000_000), ("800k", 800_000), ("1.5 GiB/s", 3 << 29), ("9", 9)] {
        assert_eq!(limit(text), Some(rate), "{text}");
    }
}

/// A user with a home folder of its own.
fn surroundings(home: &Path) -> Surroundings {
    Surroundings {
        here: home.to_owned(),
        data_home: Some(home.join("data")),
        download_home: Some(home.join("Downloads")),
        user: Some("ada".into()),
        host: Some("lab".into()),
    }
}

#[test]
fn a_node_without_options_runs_with_what_the_machine_says() {
    let home = tempfile::tempdir().unwrap();
    let config = Config::resolve(&cli(&["node"]), &surroundings(home.path())).unwrap();
    assert_eq!(config.data_dir, home.path().join("data/potluck"));
    assert_eq!(std::fs::metadata(&config.data_dir).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(config.download_dir, home.path().join("Downloads/potluck"));
    assert!(!config.download_dir.exists());
    assert_eq!((config.nickname.as_str(), config.namespace), ("ada@lab", None));
    assert_eq!(config.listen, Listen::Default);
    assert!(config.mdns && !config.one_shot && config.limit_up.is_none() && config.trackers.is_empty());
    Config::resolve(&cli(&["node"]), &surroundings(home.path())).unwrap();
}

#[test]
fn options_win_and_folders_begin_at_the_working_directory() {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join("music")).unwrap();
    let words = ["--data-dir", "d", "node", "--share", "music", "--share", "m=music/../music", "--download-dir", "in", "--nickname", "bob"];
    let config = Config::resolve(&cli(&words), &surroundings(home.path())).unwrap();
    let music = home.path().canonicalize().unwrap().join("music");
    assert_eq!(config.shares, [(None, music.clone()), (Some("m".into()), music)]);
    assert_eq!((config.data_dir, config.download_dir), (home.path().join("d"), home.path().join("in")));
    assert_eq!(config.nickname, "bob");
}

#[test]
fn a_verb_without_a_node_listens_nowhere() {
    let home = tempfile::tempdir().unwrap();
    let config = Config::resolve(&cli(&["search", "x", "--no-mdns", "--dial", "/ip4/10.0.0.1/tcp/1"]), &surroundings(home.path())).unwrap();
    assert!(config.one_shot && !config.mdns);
    assert_eq!((config.listen, config.dial.len()), (Listen::Nowhere, 1));
}

#[test]
fn a_long_user_name_becomes_a_nickname_that_fits() {
    let home = tempfile::tempdir().unwrap();
    let around = Surroundings { user: Some("ö".repeat(40)), ..surroundings(home.path()) };
    assert_eq!(Config::resolve(&cli(&["node"]), &around).unwrap().nickname, "ö".repeat(32));
}

#[test]
fn a_folder_that_cannot_be_used_is_a_local_error_with_a_sentence() {
    let home = tempfile::tempdir().unwrap();
    let around = surroundings(home.path());
    std::fs::write(home.path().join("file"), b"").unwrap();
    std::fs::create_dir(home.path().join("open")).unwrap();
    std::fs::set_permissions(home.path().join("open"), std::fs::Permissions::from_mode(0o777)).unwrap();
    for (words, part) in [
        (["node", "--share", "missing"], "there is no folder"),
        (["node", "--share", "file"], "is no folder"),
        (["node", "--data-dir", "file"], "cannot make the data folder"),
        (["node", "--data-dir", "file/below"], "cannot make the data folder"),
        (["node", "--data-dir", "open"], "others can write to the data folder"),
    ] {
        let error = Config::resolve(&cli(&words), &around).unwrap_err();
        assert_eq!(error.failure, Failure::LocalFile, "{words:?}");
        assert!(error.message.contains(part), "{words:?}: {}", error.message);
    }
    let homeless = Surroundings { here: home.path().to_owned(), ..Surroundings::default() };
    assert!(Config::resolve(&cli(&["id"]), &homeless).unwrap_err().message.contains("--data-dir"));
}
