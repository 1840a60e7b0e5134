//! G083, G084, and the slow part of G082: the page and the socket are the user's alone; what is secret stands in no command
//! line, no log and no address; who says nothing keeps no place.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use potluck_tests::clock::{PATIENCE, now};
use potluck_tests::process::Process;
use potluck_tests::{Result, town::Town};

fn mode(path: &std::path::Path) -> Result<u32> {
    Ok(std::fs::metadata(path)?.permissions().mode() & 0o777)
}

/// G083.
#[test]
fn another_user_of_the_machine_reaches_neither_page_nor_socket() -> Result {
    let town = Town::new()?;
    let ada = town.node("ada").arg("--page").arg("127.0.0.1:0").start()?;
    let page = ada.stranger_at_page()?;
    assert!(page.host().starts_with("127.0.0.1:"), "{}", page.host());
    let socket = ada.data_dir().join("control.sock");
    assert_eq!((mode(ada.data_dir())?, mode(&socket)?), (0o700, 0o600));
    for secret in ["page-token", "identity"] {
        assert_eq!(mode(&ada.data_dir().join(secret))?, 0o600, "{secret}");
    }
    town.potluck("eve", &["node", "--page", "0.0.0.0:0"])?.refused(2)?;
    if !rustix::process::geteuid().is_root() {
        return Ok(()); // only root can become somebody else
    }
    // the folders above are opened, so that the socket's own mode is what is tried
    for folder in [&town.path(""), &ada.data_dir().to_owned()] {
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755))?;
    }
    let connect = format!("import socket; socket.socket(socket.AF_UNIX).connect({:?})", socket.display().to_string());
    let tried = Command::new("setpriv").args(["--reuid", "65534", "--clear-groups", "python3", "-c", &connect]).output();
    if let Ok(tried) = tried {
        let said = String::from_utf8_lossy(&tried.stderr);
        assert!(said.contains("Permission denied") || said.contains("No such file"), "{said}");
    }
    Ok(())
}

/// G084.
#[test]
fn no_secret_stands_in_a_command_line_or_a_log() -> Result {
    let town = Town::new()?;
    let tracker = town.tracker_with("tracker", &["--private", "--verbose", "--page", "127.0.0.1:0"])?;
    let invited = tracker.process().event("invited", PATIENCE)?;
    let invitation = invited["invitation"].as_str().unwrap_or_default().to_owned();
    let file = town.path("invitation.txt");
    std::fs::write(&file, &invitation)?;
    town.potluck("ada", &["join", "--file", &file.display().to_string()])?.ok()?;
    let ada = town.node("ada").arg("--page").arg("127.0.0.1:0").arg("-vv").start_ready()?;
    let page = ada.page()?;
    let link = ada.verb(&["page"])?.ok()?.only()?["link"].as_str().unwrap_or_default().to_owned();
    let key = link.split("#key=").nth(1).unwrap_or_default().to_owned();
    page.get("/api/v1/status")?;
    ada.stranger_at_page()?.send("POST", "/api/v1/session", Some(&serde_json::json!({ "key": key }).to_string()))?;
    let token = std::fs::read_to_string(ada.data_dir().join("page-token"))?;
    let identity = std::fs::read(ada.data_dir().join("identity"))?;
    let secret: String = identity.iter().skip(4).take(16).map(|byte| format!("{byte:02x}")).collect();
    let invitation_end = invitation.get(invitation.len().saturating_sub(40)..).unwrap_or_default();
    for process in [ada.process(), tracker.process()] {
        let line = std::fs::read(format!("/proc/{}/cmdline", process.id()))?;
        let environment = std::fs::read(format!("/proc/{}/environ", process.id()))?;
        let all =
            [process.stderr(), String::from_utf8_lossy(&line).into_owned(), String::from_utf8_lossy(&environment).into_owned()].concat();
        assert!(process.stderr().len() > 100, "something is logged");
        for (what, secret) in
            [("the key", key.as_str()), ("the token", token.trim()), ("the identity", &secret), ("the invitation", invitation_end)]
        {
            assert!(!secret.is_empty() && !all.contains(secret), "{what} is there for others to read");
        }
    }
    Ok(())
}

/// G082: a connection that says nothing, or one letter now and then, is ended.
#[test]
fn who_sends_its_request_too_slowly_is_cut_off() -> Result {
    let town = Town::new()?;
    let ada = town.node("ada").arg("--page").arg("127.0.0.1:0").start()?;
    let page = ada.stranger_at_page()?;
    let start = now();
    let mut slow = TcpStream::connect(page.host())?;
    slow.set_read_timeout(Some(Duration::from_millis(500)))?;
    slow.write_all(b"GET / HTTP/1.1\r\n")?;
    loop {
        let mut answer = [0; 512];
        match slow.read(&mut answer) {
            Ok(_) => break, // the end, or an answer that says so
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                assert!(start.elapsed() < Duration::from_secs(20), "it is still open");
                if slow.write_all(b"X").is_err() {
                    break;
                }
            }
            Err(_) => break,
        }
    }
    assert_eq!(page.send("GET", "/healthz", None)?.status, 200, "others are served");
    Process::start("id", town.potluck_command("ada").arg("id"))?.finish(PATIENCE)?.ok()?;
    Ok(())
}
