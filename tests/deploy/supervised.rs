//! The server under a service manager: the socket it is handed, what it tells, and one replacing another.

use std::collections::HashMap;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use crate::server::{DDROP, Server, User, handed, socket, words};

/// The next thing the server says to its manager, by name.
fn told(manager: &UnixDatagram) -> HashMap<String, String> {
    let mut bytes = [0; 4096];
    let length = manager.recv(&mut bytes).expect("it says something in time");
    let text = std::str::from_utf8(&bytes[..length]).expect("UTF-8");
    text.lines().filter_map(|line| line.split_once('=')).map(|(name, value)| (name.into(), value.into())).collect()
}

/// The next thing that is not a sign of life; with how many of those came before.
fn told_beside(manager: &UnixDatagram) -> (HashMap<String, String>, usize) {
    let mut signs = 0;
    loop {
        let said = told(manager);
        if !said.contains_key("WATCHDOG") {
            return (said, signs);
        }
        signs += 1;
    }
}

#[test]
fn the_manager_is_told_of_readiness_reloads_life_and_the_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).expect("a socket");
    manager.set_read_timeout(Some(Duration::from_secs(30))).expect("set");
    let (socket, url) = socket();
    let mut command = handed(&socket, &folder.path().join("storage"));
    // The shell keeps its process id as it becomes the server; that it is meant, the variable has to say.
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "300000");
    let server = Server::spawn(command);
    assert_eq!(server.url, url, "{}", server.said);
    let (ready, _) = told_beside(&manager);
    assert_eq!(ready.get("READY").map(String::as_str), Some("1"));
    assert_eq!(ready.get("STATUS"), Some(&format!("listening on {url}")));
    for _ in 0..3 {
        assert_eq!(told(&manager).get("WATCHDOG").map(String::as_str), Some("1"));
    }
    server.signal("HUP");
    let (reloading, _) = told_beside(&manager);
    assert_eq!(reloading.get("RELOADING").map(String::as_str), Some("1"));
    let at: u64 = reloading.get("MONOTONIC_USEC").expect("when").parse().expect("a number");
    let uptime = std::fs::read_to_string("/proc/uptime").expect("readable");
    let uptime: f64 = uptime.split(' ').next().expect("a number").parse().expect("a number");
    assert!((uptime - Duration::from_micros(at).as_secs_f64()).abs() < 60.0, "{at} is no monotonic time");
    let (ready, _) = told_beside(&manager);
    assert_eq!(ready.get("READY").map(String::as_str), Some("1"));
    server.signal("TERM");
    let (stopping, _) = told_beside(&manager);
    assert_eq!(stopping.get("STOPPING").map(String::as_str), Some("1"));
    let log = server.stop();
    assert!(!log.contains("cannot be told"), "{log}");
}

#[test]
fn a_manager_that_is_gone_stops_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(DDROP);
    command.args(["serve", "-h", "127.0.0.1", "-p", "0", "-s"]).arg(folder.path().join("storage"));
    command.env("NOTIFY_SOCKET", folder.path().join("nobody")).stdin(Stdio::null());
    let server = Server::spawn(command);
    assert!(server.stop().contains("the service manager cannot be told"));
}

#[test]
fn what_is_handed_over_and_is_no_socket_is_refused() {
    let script = |before: &str| format!("{before}; export LISTEN_PID=$$; exec {DDROP} serve -s \"$STORAGE\"");
    let folder = tempfile::tempdir().expect("a folder");
    for (before, why) in [
        ("export LISTEN_FDS=1; exec 3</dev/null", "no TCP listener"),
        ("export LISTEN_FDS=2; exec 3</dev/null 4</dev/null", "2 sockets were handed over"),
    ] {
        let mut command = Command::new("sh");
        command.args(["-c", &script(before)]).env("STORAGE", folder.path().join("storage")).stdin(Stdio::null());
        let done = command.output().expect("sh runs");
        assert!(!done.status.success() && words(&done).contains(why), "{}", words(&done));
    }
    assert!(!folder.path().join("storage").exists(), "nothing is made before that is clear");
}

#[test]
fn who_may_upload_depends_on_the_socket_that_was_handed_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let everywhere = std::net::TcpListener::bind("0.0.0.0:0").expect("a port");
    let mut command = handed(&everywhere, &folder.path().join("storage"));
    // Said of a socket that is not the one in use.
    command.args(["--allow-anon", "--host", "127.0.0.1"]);
    let done = command.output().expect("sh runs");
    assert!(!done.status.success() && words(&done).contains("DD_ALLOW_ANON_PUBLIC"), "{}", words(&done));
}

#[test]
fn no_invite_goes_to_the_journal() {
    let folder = tempfile::tempdir().expect("a folder");
    let (socket, _) = socket();
    let mut command = handed(&socket, &folder.path().join("storage"));
    command.env("JOURNAL_STREAM", "1:1");
    let server = Server::spawn(command);
    assert!(server.said.contains("--configure ddrop://"), "a variable that means another stream: {}", server.said);
    server.stop();
    let script = r#"exec 2>"$LOG"; export JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2); exec "$@""#;
    let log = folder.path().join("log");
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh", DDROP, "serve", "-h", "127.0.0.1", "-p", "0", "-s"]);
    let mut child =
        command.arg(folder.path().join("other")).env("LOG", &log).stdin(Stdio::null()).spawn().expect("started");
    let said = || std::fs::read_to_string(&log).unwrap_or_default();
    while !said().contains("listening on") {
        assert!(child.try_wait().expect("known").is_none(), "it ended: {}", said());
        std::thread::yield_now();
    }
    child.kill().expect("killed");
    child.wait().expect("ended");
    assert!(said().contains("ddrop pki invite NAME --admin -s") && !said().contains("ddrop://"), "{}", said());
}

#[test]
fn nothing_is_lost_while_one_server_replaces_another_ten_times() {
    let folder = tempfile::tempdir().expect("a folder");
    let storage = folder.path().join("storage");
    let (socket, url) = socket();
    let start = || Server::spawn(handed(&socket, &storage));
    let first = start();
    assert_eq!(first.url, url);
    let user = User::enrolled(first.invite());
    let mut server = Some(first);
    let large = user.file("large");
    let content: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    std::fs::write(&large, &content).expect("written");
    let (done, under_way) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (rounds, finished) = mpsc::channel();
    let (mut replaced, mut interrupted) = (0, 0);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            let (user, large, content, rounds) = (&user, &large, &content, rounds.clone());
            let (done, under_way) = (&done, &under_way);
            scope.spawn(move || {
                while !done.load(Ordering::SeqCst) {
                    under_way.fetch_add(1, Ordering::SeqCst);
                    let up = user.run(&["upload", &large.display().to_string()]);
                    assert!(up.status.success(), "{}", words(&up));
                    let link = String::from_utf8_lossy(&up.stdout).trim().to_owned();
                    let down = user.run(&["fetch", &link, "-o", "-"]);
                    assert!(down.status.success() && down.stdout == *content, "{}", words(&down));
                    let ended = user.run(&["expire", link.rsplit('/').next().expect("an id")]);
                    assert!(ended.status.success(), "{}", words(&ended));
                    under_way.fetch_sub(1, Ordering::SeqCst);
                    // Nobody counts any more at the end.
                    let _ = rounds.send(());
                }
            });
        }
        drop(rounds);
        for _ in 0..10 {
            // None within that time: the threads say why when they are waited for, or the count below is short.
            if finished.recv_timeout(Duration::from_secs(120)).is_err() {
                break;
            }
            // Rounds from before the last replacement say nothing about the one that comes.
            while finished.try_recv().is_ok() {}
            interrupted += under_way.load(Ordering::SeqCst);
            // As a service manager restarts: the next one is started when the one before has ended.
            server.take().expect("a server").stop();
            server = Some(start());
            replaced += 1;
        }
        done.store(true, Ordering::SeqCst);
    });
    assert_eq!(replaced, 10, "nothing got through any more");
    assert!(interrupted >= 10, "others were under way at the time: {interrupted}");
    server.expect("ten were started").stop();
}
