//! A Chromium of a test's own, driven over its debugging pipe: it opens an address and says what came of that.

#![expect(clippy::indexing_slicing, reason = "what a JSON value does not have is null")]

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

/// For whatever it is asked: only a browser that hangs takes so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long it may say nothing of a page that it loads.
const SILENCE: Duration = Duration::from_secs(20);

/// How long a page may go on after it was loaded, in milliseconds of its own time, which runs as fast as it can and
/// stands still while something is fetched.
const BUDGET: u32 = 2000;

/// A running browser with an empty profile.
pub(super) struct Chromium {
    child: Child,
    to: ChildStdin,
    from: Receiver<Value>,
    events: VecDeque<Value>,
    calls: u64,
    profile: TempDir,
}

/// What came of an address.
#[derive(Debug)]
pub(super) struct Opened {
    /// The title of the page when nothing happened any more.
    pub(super) title: String,
    /// Whether it was to be saved instead of shown.
    pub(super) saved: bool,
    /// What the browser complained about.
    pub(super) complaints: Vec<String>,
}

impl Chromium {
    /// `key`: the SHA-256 of the only public key it takes for a server's without a CA that vouches for it, in base64.
    pub(super) fn start(key: &str) -> Self {
        let there = Command::new("chromium").arg("--version").output().is_ok_and(|output| output.status.success());
        assert!(there, "chromium is missing; install it with: apt-get install --no-install-recommends chromium");
        let profile = tempfile::tempdir().expect("a folder");
        let mut command = Command::new("sh");
        // It speaks on descriptors 3 and 4.
        command.args(["-c", "exec chromium \"$@\" 3<&0 4>&1 </dev/null >&2", "chromium"]);
        command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic"]);
        command.args(["--no-first-run", "--disable-background-networking", "--disable-component-update"]);
        command.args(["--disable-sync", "--no-proxy-server", "--remote-debugging-pipe"]);
        // Else a page that it takes to be in the background gets next to none of a processor that others want too.
        command.args(["--disable-renderer-backgrounding", "--disable-backgrounding-occluded-windows"]);
        command.arg("--disable-background-timer-throttling");
        command.arg(format!("--user-data-dir={}", profile.path().join("profile").display()));
        command.arg(format!("--ignore-certificate-errors-spki-list={key}"));
        command.env("HOME", profile.path());
        let said = File::create(profile.path().join("said")).expect("a file");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(said).spawn().expect("it starts");
        let to = child.stdin.take().expect("a pipe");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe"));
        let (tell, from) = channel();
        std::thread::spawn(move || {
            let mut message = Vec::new();
            while lines.read_until(0, &mut message).is_ok_and(|read| read > 0) {
                let text = message.strip_suffix(&[0]).unwrap_or(&message);
                let Ok(value) = serde_json::from_slice(text) else { break };
                if tell.send(value).is_err() {
                    break;
                }
                message.clear();
            }
        });
        let mut browser = Self { child, to, from, events: VecDeque::new(), calls: 0, profile };
        // What is to be saved is noticed; nothing has to be written for that.
        browser.call(None, "Browser.setDownloadBehavior", &json!({ "behavior": "deny" }));
        browser
    }

    /// Opens an address in a page of its own, waits until nothing happens there any more, and closes it. A page of which
    /// the browser does not say so is opened again.
    pub(super) fn open(&mut self, url: &str) -> Opened {
        for _ in 0..3 {
            if let Some(opened) = self.open_once(url) {
                return opened;
            }
        }
        let events: Vec<_> = self.events.iter().map(Value::to_string).collect();
        panic!("{url} is never done; what the browser told: {}\n{}", events.join("\n"), self.said());
    }

    fn open_once(&mut self, url: &str) -> Option<Opened> {
        let target = self.call(None, "Target.createTarget", &json!({ "url": "about:blank" }))["targetId"].clone();
        let attached = self.call(None, "Target.attachToTarget", &json!({ "targetId": target, "flatten": true }));
        let session = attached["sessionId"].as_str().expect("a session").to_owned();
        self.events.clear();
        for domain in ["Page", "Log"] {
            self.call(Some(&session), &format!("{domain}.enable"), &json!({}));
        }
        let went = self.call(Some(&session), "Page.navigate", &json!({ "url": url }));
        let saved = went["errorText"] == "net::ERR_ABORTED";
        assert!(saved || went["errorText"].is_null(), "{url} cannot be opened: {went}");
        if !saved && !self.is_done(&session) {
            self.call(None, "Target.closeTarget", &json!({ "targetId": target }));
            return None;
        }
        let info = self.call(None, "Target.getTargetInfo", &json!({ "targetId": target }));
        let title = info["targetInfo"]["title"].as_str().expect("a title").to_owned();
        self.call(None, "Target.closeTarget", &json!({ "targetId": target }));
        let complaints = self.events.drain(..).filter(|event| event["method"] == "Log.entryAdded");
        let complaints = complaints.filter_map(|event| Some(event["params"]["entry"]["text"].as_str()?.to_owned()));
        Some(Opened { title, saved, complaints: complaints.collect() })
    }

    /// Waits until a page was loaded and nothing happened there for a while of its own time.
    fn is_done(&mut self, session: &str) -> bool {
        if !self.until(session, "Page.loadEventFired") {
            return false;
        }
        let policy = json!({ "policy": "pauseIfNetworkFetchesPending", "budget": BUDGET });
        self.call(Some(session), "Emulation.setVirtualTimePolicy", &policy);
        self.until(session, "Emulation.virtualTimeBudgetExpired")
    }

    fn call(&mut self, session: Option<&str>, method: &str, params: &Value) -> Value {
        self.calls += 1;
        let mut message = json!({ "id": self.calls, "method": method, "params": params });
        if let Some(session) = session {
            message["sessionId"] = session.into();
        }
        let sent = self.to.write_all(format!("{message}\0").as_bytes()).and_then(|()| self.to.flush());
        assert!(sent.is_ok(), "{method}: the browser is gone: {}", self.said());
        loop {
            let mut message = self.next(method);
            if message["id"] == self.calls {
                assert!(message["error"].is_null(), "{method}: {}", message["error"]);
                return message["result"].take();
            }
            self.events.push_back(message);
        }
    }

    /// Waits for an event of a page, unless it has been already; false if the browser falls silent before.
    fn until(&mut self, session: &str, event: &str) -> bool {
        let is_it = |message: &Value| message["sessionId"] == session && message["method"] == event;
        let mut been = self.events.iter().any(is_it);
        while !been {
            let Ok(message) = self.from.recv_timeout(SILENCE) else { return false };
            been = is_it(&message);
            self.events.push_back(message);
        }
        true
    }

    fn next(&mut self, what: &str) -> Value {
        let next = self.from.recv_timeout(PATIENCE);
        next.unwrap_or_else(|error| panic!("{what}: the browser says nothing ({error}): {}", self.said()))
    }

    fn said(&self) -> String {
        read(&self.profile.path().join("said"))
    }
}

fn read(path: &Path) -> String {
    std::fs::read(path).map_or_else(|error| error.to_string(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
