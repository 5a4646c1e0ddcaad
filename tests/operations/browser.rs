//! F21: what a browser would run never runs in our origin, nor in the page of someone who leads to it, tried with a real
//! one; and beside it the same without our headers, which does run, so that the trial can fail.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::digest::{SHA256, digest};

use super::chromium::Chromium;
use super::{Command, Server, User, words};

/// The title of a page whose script has run.
const RAN: &str = "a script ran";

/// Something that somebody uploads.
struct Hostile {
    name: &'static str,
    /// What it is said to be; `None`: nothing.
    kind: Option<&'static str>,
    /// What it is said to be where it may do as it likes.
    freely: &'static str,
    body: Vec<u8>,
    /// The name it is shown under, as FlaskPaste's clients say it.
    named: Option<String>,
    /// Whether a browser runs it when it is opened there.
    runs: bool,
}

/// Changes the title and fetches, in two ways, from an address that is watched.
fn script(watched: &str, name: &str) -> String {
    format!(
        "document.title='{RAN}';new Image().src='{watched}/{name}/i';fetch('{watched}/{name}/f',{{mode:'no-cors'}})"
    )
}

fn html(watched: &str, name: &str) -> String {
    let script = script(watched, name);
    format!(
        "<!DOCTYPE html><html><head><title>{name}</title><link rel=stylesheet href='{watched}/{name}/css'></head>\
         <body onload=\"{script}\"><script>{script}</script><img src='x:' onerror=\"{script}\">\
         <iframe srcdoc=\"<script>top.{script}</script>\"></iframe><iframe src=\"javascript:top.{script}\"></iframe>\
         <object data=\"data:text/html,<script>{script}</script>\"></object></body></html>"
    )
}

/// `outside`: the path of a script on the same server.
fn hostile(watched: &str, outside: &str) -> Vec<Hostile> {
    let of = |name, kind, freely, body: String, runs| Hostile {
        name,
        kind,
        freely,
        body: body.into_bytes(),
        named: None,
        runs,
    };
    let run = |name: &str| script(watched, name);
    let xml = |name: &str| run(name).replace('&', "&amp;");
    let page = |name: &str| html(watched, name);
    let svg = |name: &str| {
        let run = run(name);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" onload=\"{run}\"><title>{name}</title><script>{run}</script>\
             <foreignObject><body xmlns=\"http://www.w3.org/1999/xhtml\"><script>{run}</script></body></foreignObject></svg>"
        )
    };
    let sheet = "<xsl:stylesheet id=\"s\" version=\"1.0\" xmlns:xsl=\"http://www.w3.org/1999/XSL/Transform\">\
                 <xsl:template match=\"/\"><html><body><script>";
    vec![
        of("html", Some("text/html"), "text/html", page("html"), true),
        of("shouted", Some("TEXT/HTML; Charset=UTF-8"), "text/html", page("shouted"), true),
        of("unsaid", None, "text/html", page("unsaid"), true),
        of(
            "outside",
            Some("text/html"),
            "text/html",
            format!("<!DOCTYPE html><title>x</title><script src='{outside}'></script>"),
            true,
        ),
        of(
            "refresh",
            Some("text/html"),
            "text/html",
            format!("<!DOCTYPE html><title>x</title><meta http-equiv=refresh content='0;url={watched}/refresh/r'>"),
            true,
        ),
        of("svg", Some("image/svg+xml"), "image/svg+xml", svg("svg"), true),
        of("unsaid-svg", None, "image/svg+xml", svg("unsaid-svg"), true),
        of(
            "xhtml",
            Some("application/xhtml+xml"),
            "application/xhtml+xml",
            format!(
                "<html xmlns=\"http://www.w3.org/1999/xhtml\"><head><title>x</title></head><body><script>{}</script></body></html>",
                xml("xhtml")
            ),
            true,
        ),
        of(
            "xml",
            Some("text/xml"),
            "text/xml",
            format!(
                "<?xml version=\"1.0\"?><x><s:script xmlns:s=\"http://www.w3.org/1999/xhtml\">{}</s:script></x>",
                xml("xml")
            ),
            true,
        ),
        of(
            "xslt",
            Some("application/xml"),
            "application/xml",
            format!(
                "<?xml version=\"1.0\"?><?xml-stylesheet type=\"text/xsl\" href=\"#s\"?>\
                 <!DOCTYPE x [<!ATTLIST xsl:stylesheet id ID #REQUIRED>]><x>{sheet}{}</script></body></html>\
                 </xsl:template></xsl:stylesheet></x>",
                xml("xslt")
            ),
            true,
        ),
        of("javascript", Some("text/javascript"), "text/javascript", run("javascript"), false),
        of("text", Some("text/plain"), "text/plain", page("text"), false),
        of("bytes", Some("application/octet-stream"), "application/octet-stream", page("bytes"), false),
        of("gif", Some("image/gif"), "image/gif", format!("GIF89a/*\u{1}\u{1}*/=1;{}", run("gif")), false),
        of("unsaid-gif", None, "image/gif", format!("GIF89a/*\u{1}\u{1}*/=1;{}", run("unsaid-gif")), false),
        of(
            "mhtml",
            Some("multipart/related; boundary=b"),
            "multipart/related; boundary=b",
            format!(
                "MIME-Version: 1.0\r\nContent-Type: multipart/related; boundary=b\r\n\r\n\
                 --b\r\nContent-Type: text/html\r\nContent-Location: https://x/\r\n\r\n{}\r\n--b--\r\n",
                page("mhtml")
            ),
            false,
        ),
        of("pdf", Some("application/pdf"), "application/pdf", pdf(watched), false),
    ]
}

/// A script that nobody runs who only opens it.
fn javascript(name: &'static str, watched: &str, kind: Option<&'static str>) -> Hostile {
    let body = script(watched, name).into_bytes();
    Hostile { name, kind, freely: "text/javascript", body, named: None, runs: false }
}

/// One empty page, and a script to run when it is opened.
fn pdf(watched: &str) -> String {
    let objects = [
        "<</Type/Catalog/Pages 2 0 R/OpenAction 4 0 R>>".to_owned(),
        "<</Type/Pages/Kids[3 0 R]/Count 1>>".to_owned(),
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]/AA<</O 5 0 R>>>>".to_owned(),
        format!("<</S/JavaScript/JS(app.launchURL\\('{watched}/pdf/l'\\);this.submitForm\\('{watched}/pdf/s'\\))>>"),
        format!("<</S/URI/URI({watched}/pdf/u)>>"),
    ];
    let mut text = "%PDF-1.7\n".to_owned();
    let mut index = "0000000000 65535 f \n".to_owned();
    for (n, object) in objects.iter().enumerate() {
        index += &format!("{:010} 00000 n \n", text.len());
        text += &format!("{} 0 obj{object}endobj\n", n + 1);
    }
    let (count, at) = (objects.len() + 1, text.len());
    text + &format!("xref\n0 {count}\n{index}trailer<</Size {count}/Root 1 0 R>>\nstartxref\n{at}\n%%EOF\n")
}

/// What is where: a path, its type and its bytes.
type Pages = Mutex<BTreeMap<String, (String, Vec<u8>)>>;

/// A site of somebody else, who watches which of its addresses are asked for.
struct Elsewhere {
    url: String,
    pages: Arc<Pages>,
    asked: Arc<Mutex<BTreeSet<String>>>,
}

impl Elsewhere {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let (pages, asked) = (Arc::<Pages>::default(), Arc::<Mutex<BTreeSet<_>>>::default());
        let site = Self { url, pages: Arc::clone(&pages), asked: Arc::clone(&asked) };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (pages, asked) = (Arc::clone(&pages), Arc::clone(&asked));
                std::thread::spawn(move || answer(stream, &pages, &asked));
            }
        });
        site
    }

    /// Where it notes who asks.
    fn watched(&self) -> String {
        format!("{}/watched", self.url)
    }

    /// Puts something there, with no word of how it may be used.
    fn put(&self, name: &str, kind: &str, body: &[u8]) -> String {
        self.pages.lock().expect("whole").insert(format!("/{name}"), (kind.to_owned(), body.to_vec()));
        format!("{}/{name}", self.url)
    }

    /// What scripts of this name asked for under the watched address since the last time. What others did comes late.
    fn heard(&self, name: &str) -> BTreeSet<String> {
        let mut heard = std::mem::take(&mut *self.asked.lock().expect("whole"));
        heard.retain(|path| path.strip_prefix(name).is_some_and(|rest| rest.starts_with('/')));
        heard
    }
}

fn answer(mut stream: TcpStream, pages: &Pages, asked: &Mutex<BTreeSet<String>>) {
    let mut lines = BufReader::new(stream.try_clone().expect("a socket")).lines().map_while(Result::ok);
    let Some(path) = lines.next().and_then(|line| line.split(' ').nth(1).map(str::to_owned)) else { return };
    let length = lines.take_while(|line| !line.is_empty()).count();
    assert!(length < 1000, "a browser sends fewer headers");
    if let Some(noted) = path.strip_prefix("/watched/") {
        asked.lock().expect("whole").insert(noted.to_owned());
    }
    let nothing = ("text/plain".to_owned(), Vec::new());
    let (kind, body) = pages.lock().expect("whole").get(&path).cloned().unwrap_or(nothing);
    let size = body.len();
    let head =
        format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {size}\r\nconnection: close\r\n\r\n");
    // A browser that has enough hangs up.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
}

/// Our server, an enrolled user of it, and a browser that takes its certificate for a good one.
struct Stage {
    server: Server,
    user: User,
    browser: Chromium,
    elsewhere: Elsewhere,
    _folder: tempfile::TempDir,
}

impl Stage {
    fn set() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        // A browser asks for icons of its own accord.
        let server = Server::start(folder.path(), &["--rate-limit-misses=0"]);
        let user = User::enrolled(&server);
        let browser = Chromium::start(&key_of(&folder.path().join("pki/server.crt")));
        Self { server, user, browser, elsewhere: Elsewhere::start(), _folder: folder }
    }

    /// Makes a link of it, and answers its id.
    fn upload(&self, path: &str, what: &Hostile) -> String {
        let file = self.user.home.path().join("hostile");
        std::fs::write(&file, &what.body).expect("written");
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--fail-with-body", "-H"]).arg(format!("Content-Type:{}", what.kind.unwrap_or_default()));
        for (flag, name) in [("--cacert", "ca.crt"), ("--cert", "client.crt"), ("--key", "client.key")] {
            curl.arg(flag).arg(self.user.file(name));
        }
        curl.args(what.named.iter().flat_map(|name| ["-H".to_owned(), format!("X-Display-Name: {name}")]));
        curl.arg("--data-binary").arg(format!("@{}", file.display())).arg(format!("{}{path}", self.server.url));
        let made = curl.output().expect("curl is installed (apt-get install curl)");
        assert!(made.status.success(), "{}: {}", what.name, words(&made));
        let link: serde_json::Value = serde_json::from_slice(&made.stdout).expect("JSON");
        link.get("id").and_then(serde_json::Value::as_str).expect("an id").to_owned()
    }
}

/// The SHA-256 of a certificate's public key, in base64.
fn key_of(path: &Path) -> String {
    let pem = std::fs::read(path).expect("a certificate");
    let (_, pem) = x509_parser::pem::parse_x509_pem(&pem).expect("PEM");
    let certificate = pem.parse_x509().expect("a certificate");
    BASE64_STANDARD.encode(digest(&SHA256, certificate.tbs_certificate.subject_pki.raw))
}

/// Where a link is opened: natively, and as FlaskPaste shows it.
fn places(id: &str) -> [String; 3] {
    [format!("/{id}"), format!("/{id}/page.html"), format!("/paste/{id}/raw")]
}

#[test]
fn f21_what_is_opened_in_a_browser_does_not_run() {
    let mut stage = Stage::set();
    let watched = stage.elsewhere.watched();
    let outside = javascript("outside", &watched, Some("text/javascript"));
    stage.elsewhere.put("script", "text/javascript", &outside.body);
    for what in hostile(&watched, "/script") {
        let opened = stage.browser.open(&stage.elsewhere.put(what.name, what.freely, &what.body));
        let heard = stage.elsewhere.heard(what.name);
        assert_eq!(!heard.is_empty(), what.runs, "{} where it may: {opened:?}, {heard:?}", what.name);
        // What is neither HTML nor SVG has no title, and a page that leads elsewhere is gone.
        let titled = what.runs && !["xml", "refresh"].contains(&what.name);
        assert!(!titled || opened.title == RAN, "{} where it may: {opened:?}", what.name);
    }
    let script = stage.upload("/paste/", &outside);
    for what in hostile(&watched, &format!("/paste/{script}/raw")) {
        for made_at in ["/api/upload", "/paste/"] {
            let id = stage.upload(made_at, &what);
            for path in places(&id) {
                let opened = stage.browser.open(&format!("{}{path}", stage.server.url));
                let heard = stage.elsewhere.heard(what.name);
                let told = format!("{} of {made_at} at {path}: {opened:?}, {heard:?}", what.name);
                assert!(heard.is_empty() && opened.title != RAN, "it ran: {told}");
                if what.runs && what.kind.is_some() {
                    // It would have run: it is not shown, or the sandbox was in its way.
                    let stopped = opened.complaints.iter().any(|text| text.contains("sandboxed"));
                    assert_eq!(
                        (opened.saved, stopped),
                        if path.ends_with("/raw") { (false, true) } else { (true, false) },
                        "{told}"
                    );
                }
            }
        }
    }
}

#[test]
fn f21_a_name_is_not_run_where_it_is_told() {
    let mut stage = Stage::set();
    // Without slashes, which a name has none of.
    let name = format!("<img src=x: onerror=\"document.title='{RAN}'\">");
    let free = stage.elsewhere.put("name", "text/html", format!("<!DOCTYPE html><body>{name}").as_bytes());
    assert_eq!(stage.browser.open(&free).title, RAN, "where it may");
    let what = Hostile { named: Some(name), ..javascript("named", &stage.elsewhere.watched(), None) };
    let id = stage.upload("/paste/", &what);
    let opened = stage.browser.open(&format!("{}/paste/{id}", stage.server.url));
    assert!(!opened.saved && opened.title != RAN, "{opened:?}");
}

#[test]
fn f21_nothing_runs_in_the_page_of_somebody_else() {
    let mut stage = Stage::set();
    let watched = stage.elsewhere.watched();
    let script_of =
        |source: &str| format!("<script src='{source}'></script><script type=module src='{source}'></script>");
    let frame_of = |source: &str| {
        format!("<iframe src='{source}'></iframe><object data='{source}'></object><embed src='{source}'>")
    };
    let kinds = [("js", Some("text/javascript")), ("js-text", Some("text/plain")), ("js-unsaid", None)];
    let mut all: Vec<_> = kinds.map(|(name, kind)| (javascript(name, &watched, kind), true)).into();
    for what in hostile(&watched, "/script") {
        match what.name {
            "gif" => all.push((what, true)),
            "html" | "svg" => all.push((what, false)),
            _ => {}
        }
    }
    for (what, is_script) in all {
        let load = |source: &str| if is_script { script_of(source) } else { frame_of(source) };
        let page = |inside: &str| format!("<!DOCTYPE html><title>of somebody else</title><body>{inside}").into_bytes();
        // With the type that lets it run.
        let kind = if is_script { "text/javascript" } else { what.freely };
        let free = page(&load(&stage.elsewhere.put("free", kind, &what.body)));
        stage.browser.open(&stage.elsewhere.put("own", "text/html", &free));
        assert!(!stage.elsewhere.heard(what.name).is_empty(), "{} where it may", what.name);
        for made_at in ["/api/upload", "/paste/"] {
            let id = stage.upload(made_at, &what);
            let sources = places(&id).map(|path| load(&format!("{}{path}", stage.server.url)));
            let theirs = stage.elsewhere.put("theirs", "text/html", &page(&sources.concat()));
            let why = if is_script { "NotSameOrigin" } else { "frame-ancestors" };
            // A browser that comes to a server for the first time may drop connections, and says so of what was on them.
            let tried = (0..3).any(|_| {
                let opened = stage.browser.open(&theirs);
                let heard = stage.elsewhere.heard(what.name);
                let told = format!("{} of {made_at}: {opened:?}, {heard:?}", what.name);
                assert!(heard.is_empty() && opened.title == "of somebody else", "it ran: {told}");
                opened.complaints.iter().filter(|text| text.contains(why)).count() >= 3
            });
            assert!(tried, "{} of {made_at}: the browser did not even come to refuse all of it", what.name);
        }
    }
}
