//! Bytes up: read by a thread of their own, hashed on the way, and compared with what the server says it has.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::stream;
use reqwest::{Method, header};
use ring::digest::{Context, SHA256};
use tokio::sync::{mpsc, oneshot};

use super::archive::Archive;
use super::{CHUNK, Progress};
use crate::api;
use crate::client::work::{Work, for_work};
use crate::client::{Client, Error, Wish, error, password_header};
use crate::identity::Sha256;
use crate::link::LinkId;

/// What is to be uploaded.
pub struct Content {
    reader: Box<dyn Read + Send>,
    length: Option<u64>,
    called: String,
    name: Option<String>,
}

impl Content {
    /// A file, as long as it is now; or a folder as one `.tar.gz`, packed on the way.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn at(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(Error::io("open", path))?;
        let meta = file.metadata().map_err(Error::io("open", path))?;
        let called = path.display().to_string();
        if meta.is_dir() {
            let whole = path.canonicalize().map_err(Error::io("open", path))?;
            let own = name_of(path).or_else(|| name_of(&whole)).unwrap_or_else(|| "root".to_owned());
            let reader = Box::new(Archive::of(path.to_owned(), &own));
            return Ok(Self { reader, length: None, called, name: Some(format!("{own}.tar.gz")) });
        }
        let length = meta.is_file().then_some(meta.len());
        Ok(Self { reader: Box::new(file), length, called, name: name_of(path) })
    }

    /// Whatever a reader gives until its end.
    pub fn stream(reader: impl Read + Send + 'static, called: &str) -> Self {
        Self { reader: Box::new(reader), length: None, called: called.to_owned(), name: None }
    }

    /// The name it goes by when no other is asked for.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
}

/// Whether the link an answer tells of has a password.
fn is_protected(body: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Protected {
        #[serde(default)]
        password_protected: bool,
    }
    serde_json::from_slice::<Protected>(body).is_ok_and(|link| link.password_protected)
}

/// A stream that may have to be sent again: as long as little was read of it, that is kept.
#[derive(Clone)]
pub struct Replay(Arc<Mutex<Replayed>>);

struct Replayed {
    reader: Box<dyn Read + Send>,
    kept: Vec<u8>,
    /// More was read than is kept.
    over: bool,
}

/// What is kept of a stream: more than is on its way before a refusal comes back.
const KEPT: usize = 8 * 1024 * 1024;

impl Replay {
    /// Of whatever a reader gives until its end.
    pub fn of(reader: impl Read + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(Replayed { reader: Box::new(reader), kept: Vec::new(), over: false })))
    }

    /// The stream from its beginning.
    ///
    /// # Errors
    /// When so much of it was read before that the beginning is gone.
    pub fn content(&self, called: &str) -> Result<Content, Error> {
        if self.0.lock().unwrap_or_else(PoisonError::into_inner).over {
            return Err(Error::Failed(format!("{called} cannot be read again: write it to a file, and upload that")));
        }
        Ok(Content::stream(Again { stream: self.clone(), at: 0 }, called))
    }
}

/// One reading of a [`Replay`].
struct Again {
    stream: Replay,
    at: usize,
}

impl Read for Again {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut stream = self.stream.0.lock().unwrap_or_else(PoisonError::into_inner);
        let stream = &mut *stream;
        let mut kept = stream.kept.get(self.at..).unwrap_or_default();
        let count = if kept.is_empty() { stream.reader.read(into)? } else { kept.read(into)? };
        if self.at == stream.kept.len() && !stream.over {
            let new = into.get(..count).unwrap_or_default();
            if stream.kept.len() + count <= KEPT {
                stream.kept.extend_from_slice(new);
            } else {
                stream.over = true;
                stream.kept = Vec::new();
            }
        }
        self.at += count;
        Ok(count)
    }
}

fn name_of(path: &Path) -> Option<String> {
    path.file_name().map(|name| name.to_string_lossy().into_owned())
}

impl Client {
    /// Uploads content as a new link. Memory does not grow with it.
    ///
    /// # Errors
    /// As for every deed; also when the content cannot be read, changes meanwhile, or arrived different.
    pub async fn upload(&self, content: Content, wish: &Wish, progress: Arc<dyn Progress>) -> Result<api::Link, Error> {
        self.upload_with(content, wish, progress, None).await
    }

    /// The same where it may cost work. `open` is asked for the content before each attempt; whoever is nobody to the
    /// server, or has content that is there only once, had better know the price before the first.
    ///
    /// # Errors
    /// As [`Client::upload`]; also when the server asks for too much, or is not content with several solutions.
    pub async fn upload_for_work(
        &self,
        open: &dyn Fn() -> Result<Content, Error>,
        wish: &Wish,
        progress: Arc<dyn Progress>,
        working: &dyn Progress,
    ) -> Result<api::Link, Error> {
        let attempt = async |work: Option<&Work>| self.upload_with(open()?, wish, Arc::clone(&progress), work).await;
        for_work(!self.is_known(), working, async || self.price().await, attempt).await
    }

    async fn upload_with(
        &self,
        content: Content,
        wish: &Wish,
        progress: Arc<dyn Progress>,
        work: Option<&Work>,
    ) -> Result<api::Link, Error> {
        let (length, called) = (content.length, content.called.clone());
        progress.begin(length, 0);
        let (body, mut read) = pump(content, progress);
        let path: &[&str] = if wish.paste { &[""] } else { &["api", "upload"] };
        let mut request = self.post(path).query(wish);
        if let Some(password) = &wish.password {
            request = password_header(request, password)?;
        }
        request = work.into_iter().fold(request, |request, work| work.shown_in(request));
        request = request.header(header::CONTENT_TYPE, "application/octet-stream");
        request = request.header(header::ACCEPT, "application/json");
        if let Some(length) = length {
            request = request.header(header::CONTENT_LENGTH, length);
        }
        let response = match self.send(request.body(body)).await {
            Ok(response) => response,
            Err(failure) => {
                return Err(match read.try_recv() {
                    Ok(Err(own)) => own,
                    _ => self.reason(failure, length).await,
                });
            }
        };
        let body = self.small(response).await?;
        let link: api::Link = serde_json::from_slice(&body)
            .map_err(|error| self.unexpected(format!("its JSON cannot be read: {error}")))?;
        if wish.password.is_some() && !is_protected(&body) {
            // A server that knows of no passwords has made a link for everybody.
            let ended = match link.id.parse() {
                Ok(id) => self.expire(&id).await.is_ok(),
                Err(_) => false,
            };
            let now = if ended { "what was uploaded has been expired" } else { "what was uploaded is open: expire it" };
            return Err(Error::Failed(format!("this server protects nothing with a password; {now}")));
        }
        self.arrived(&body, read, &called).await
    }

    /// Gives a link other content: its readers get the old or the new whole. `open` is asked for it before each attempt,
    /// since it may cost work, as [`Client::upload_for_work`].
    ///
    /// # Errors
    /// As [`Client::upload_for_work`]; also when the server keeps what it has.
    pub async fn replace(
        &self,
        id: &LinkId,
        open: &dyn Fn() -> Result<Content, Error>,
        name: Option<&str>,
        progress: Arc<dyn Progress>,
        working: &dyn Progress,
    ) -> Result<api::Link, Error> {
        let attempt =
            async |work: Option<&Work>| self.replace_with(id, open()?, name, Arc::clone(&progress), work).await;
        // Nobody in particular has links to change, so the price is not asked beforehand.
        for_work(false, working, async || self.price().await, attempt).await
    }

    async fn replace_with(
        &self,
        id: &LinkId,
        content: Content,
        name: Option<&str>,
        progress: Arc<dyn Progress>,
        work: Option<&Work>,
    ) -> Result<api::Link, Error> {
        let (length, called) = (content.length, content.called.clone());
        progress.begin(length, 0);
        let (body, mut read) = pump(content, progress);
        let mut request = self.request(Method::PUT, &["api", "links", id.as_str(), "content"]).query(&[("name", name)]);
        request = work.into_iter().fold(request, |request, work| work.shown_in(request));
        request = request.header(header::CONTENT_TYPE, "application/octet-stream");
        request = request.header(header::ACCEPT, "application/json");
        if let Some(length) = length {
            request = request.header(header::CONTENT_LENGTH, length);
        }
        let response = match self.send(request.body(body)).await {
            Ok(response) => response,
            Err(failure) => {
                return Err(match read.try_recv() {
                    Ok(Err(own)) => own,
                    _ => self.reason(error::lacks(failure, "other content for a link"), length).await,
                });
            }
        };
        self.arrived(&self.small(response).await?, read, &called).await
    }

    /// The link an answer tells of, which has to have what was sent.
    async fn arrived(&self, body: &[u8], read: Hashed, called: &str) -> Result<api::Link, Error> {
        let link: api::Link = serde_json::from_slice(body)
            .map_err(|error| self.unexpected(format!("its JSON cannot be read: {error}")))?;
        let sent = read.await.map_err(|_| self.unexpected("it came before the upload was whole".to_owned()))??;
        let kept: Sha256 = link.sha256.parse().map_err(|_| self.unexpected("it has no SHA-256".to_owned()))?;
        if kept != sent {
            return Err(Error::Digest { what: format!("what arrived of {called}"), expected: sent, got: kept });
        }
        Ok(link)
    }

    /// A server that will not have a body may hang up before its reason is through.
    async fn reason(&self, failure: Error, length: Option<u64>) -> Error {
        let (Error::Broken { .. }, Some(length)) = (&failure, length) else { return failure };
        match self.whoami().await {
            Ok(me) if length > me.limits.max_file_size => error::too_large(length, me.limits.max_file_size),
            _ => failure,
        }
    }
}

type Hashed = oneshot::Receiver<Result<Sha256, Error>>;

/// A body that is read by a thread, two chunks ahead, and what came of the reading.
///
/// A thread and not the runtime's pool: a runtime waits for its pool when it ends, and standard input may never end.
fn pump(content: Content, progress: Arc<dyn Progress>) -> (reqwest::Body, Hashed) {
    let (chunks, queue) = mpsc::channel::<Result<Bytes, io::Error>>(2);
    let (done, read) = oneshot::channel();
    std::thread::spawn(move || {
        let outcome = read_all(content, &chunks, &*progress);
        let failure = outcome.as_ref().err().map(Error::to_string);
        // Before the body fails, so that whoever sees it fail finds the reason.
        let _ = done.send(outcome);
        if let Some(text) = failure {
            // Without it the body would look whole.
            let _ = chunks.blocking_send(Err(io::Error::other(text)));
        }
    });
    let body = stream::unfold(queue, |mut queue| async { queue.recv().await.map(|chunk| (chunk, queue)) });
    (reqwest::Body::wrap_stream(body), read)
}

/// Reads to the end. The last chunk is held back until it is certain that it is the last and the length is right, so
/// that a server never has a whole upload of a file that was only half there.
fn read_all(
    mut content: Content,
    chunks: &mpsc::Sender<Result<Bytes, io::Error>>,
    progress: &dyn Progress,
) -> Result<Sha256, Error> {
    let mut hash = Context::new(&SHA256);
    let mut total = 0;
    let mut held = Bytes::new();
    loop {
        let chunk = fill(&mut *content.reader).map_err(|error| unreadable(error, &content.called))?;
        total += chunk.len() as u64;
        let last = chunk.is_empty();
        if content.length.is_some_and(|length| length < total || (last && length != total)) {
            return Err(Error::Changed(content.called));
        }
        hash.update(&chunk);
        let ready = std::mem::replace(&mut held, chunk);
        let size = ready.len() as u64;
        if size > 0 && chunks.blocking_send(Ok(ready)).is_err() {
            // Nobody wants the rest: the request has failed, and its error says why.
            break;
        }
        progress.advance(size);
        if last {
            break;
        }
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(hash.finish().as_ref());
    Ok(Sha256(digest))
}

/// Packing a folder has words of its own for what failed.
fn unreadable(error: io::Error, called: &str) -> Error {
    error.downcast::<Error>().unwrap_or_else(Error::io("read", Path::new(called)))
}

/// The next chunk, full unless the end is near; empty at the end.
fn fill(reader: &mut dyn Read) -> io::Result<Bytes> {
    let mut chunk = Vec::with_capacity(CHUNK);
    reader.take(CHUNK as u64).read_to_end(&mut chunk)?;
    Ok(chunk.into())
}

#[cfg(test)]
mod tests {
    use hyper::Response;

    use super::*;
    use crate::client::test::{self, Asked, Body};
    use crate::client::tls::Anchors;
    use crate::client::transfer::Silent;

    fn read(content: Content) -> (Vec<u8>, Result<Sha256, Error>) {
        let (chunks, mut queue) = mpsc::channel(64);
        let outcome = read_all(content, &chunks, &Silent);
        drop(chunks);
        let mut sent = Vec::new();
        while let Ok(chunk) = queue.try_recv() {
            sent.extend_from_slice(&chunk.expect("bytes"));
        }
        (sent, outcome)
    }

    fn of(bytes: &[u8], length: Option<u64>) -> Content {
        Content { reader: Box::new(io::Cursor::new(bytes.to_vec())), length, called: "it".into(), name: None }
    }

    #[test]
    fn everything_is_read_and_hashed() {
        for size in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK] {
            let bytes: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
            let (sent, digest) = read(of(&bytes, Some(size as u64)));
            assert!(sent == bytes, "{size}");
            assert_eq!(digest.expect("read"), Sha256::of(&bytes));
        }
    }

    #[test]
    fn a_stream_is_read_again_while_little_was_read_of_it() {
        let bytes: Vec<u8> = (0..KEPT + CHUNK).map(|i| (i % 251) as u8).collect();
        let stream = Replay::of(io::Cursor::new(bytes.clone()));
        let mut first = stream.content("it").expect("there");
        let mut some = vec![0; 700_000];
        first.reader.read_exact(&mut some).expect("read");
        let (sent, digest) = read(stream.content("it").expect("again"));
        assert!(sent == bytes && some == bytes[..700_000]);
        assert_eq!(digest.expect("read"), Sha256::of(&bytes));
        assert!(stream.content("it").is_err(), "too much is gone");
        assert_eq!(stream.0.lock().expect("whole").kept.capacity(), 0, "and nothing is kept for nothing");
    }

    #[tokio::test]
    async fn nobody_asks_for_the_price_and_pays_it_again_when_it_rises() {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        let url = test::http(move |request| {
            let mut log = log.lock().expect("whole");
            log.push(request.uri().path().to_owned());
            if request.uri().path() == "/api/challenge" {
                let difficulty = log.len();
                let nonce = "00".repeat(16);
                return test::answer(
                    200,
                    format!(
                        r#"{{"enabled":true,"difficulty":{difficulty},"nonce":"{nonce}","token":"t{difficulty}"}}"#
                    ),
                );
            }
            assert_eq!(request.body().as_ref(), b"hello");
            let token = request.headers()["x-pow-token"].to_str().expect("text").to_owned();
            if token == "t3" {
                return test::answer(201, link(Sha256::of(request.body())));
            }
            test::answer(
                400,
                r#"{"type":"x","title":"x","status":400,"detail":"x","error":"x","code":"pow_failed","hint":"it has expired"}"#,
            )
        });
        let client = Client::anonymous(url.await, Anchors::Anyone, Arc::new(crate::clock::System)).expect("a client");
        let stream = Replay::of(io::Cursor::new(b"hello"));
        let open = || stream.content("it");
        let uploaded = client.upload_for_work(&open, &Wish::default(), Arc::new(Silent), &Silent).await;
        assert_eq!(uploaded.expect("uploaded").id, "abcd1234");
        assert_eq!(*asked.lock().expect("whole"), ["/api/challenge", "/api/upload", "/api/challenge", "/api/upload"]);
    }

    #[test]
    fn a_file_that_shrinks_or_grows_is_never_sent_whole() {
        let bytes = vec![7; CHUNK + 10];
        for length in [CHUNK as u64 + 9, CHUNK as u64 + 11] {
            let (sent, outcome) = read(of(&bytes, Some(length)));
            assert!(matches!(outcome, Err(Error::Changed(_))), "{length}");
            assert!((sent.len() as u64) < length);
        }
    }

    async fn upload_to(answerer: impl Fn(Asked) -> Response<Body> + Send + Sync + 'static) -> Result<api::Link, Error> {
        let url = test::http(answerer).await;
        let client = Client::anonymous(url, Anchors::Anyone, Arc::new(crate::clock::System)).expect("a client");
        let wish = Wish { name: Some("a b.txt".into()), ttl: Some("2h".into()), burn: Some(true), ..Wish::default() };
        client.upload(of(b"hello", Some(5)), &wish, Arc::new(Silent)).await
    }

    fn link(sha256: Sha256) -> String {
        let link = api::Link {
            id: "abcd1234".into(),
            url: "https://host/abcd1234".into(),
            kind: crate::link::Kind::File,
            name: None,
            mime_type: String::new(),
            size: 5,
            sha256: sha256.to_string(),
            created_at: test::NOW,
            expires_at: None,
            burn: true,
            password_protected: false,
            target: None,
            owner: None,
        };
        serde_json::to_string(&link).expect("JSON")
    }

    #[tokio::test]
    async fn bytes_length_and_wishes_are_sent() {
        let uploaded = upload_to(|request| {
            assert_eq!(request.uri().to_string(), "/api/upload?name=a+b.txt&ttl=2h&burn=true");
            assert_eq!(request.headers()["content-length"], "5");
            test::answer(201, link(Sha256::of(request.body())))
        });
        assert_eq!(uploaded.await.expect("uploaded").id, "abcd1234");
    }

    #[tokio::test]
    async fn a_password_is_never_in_a_url_and_a_server_that_ignores_it_is_found_out() {
        let asked = Arc::new(Mutex::new(Vec::new()));
        for protects in [true, false] {
            let log = Arc::clone(&asked);
            let url = test::http(move |request| {
                log.lock().expect("whole").push(format!("{} {}", request.method(), request.uri()));
                if request.uri().path().ends_with("/expire") {
                    return test::answer(200, link(Sha256::of(b"hello")));
                }
                assert_eq!(request.headers()["x-paste-password"].as_bytes(), "hünter2".as_bytes());
                let mut body: serde_json::Value =
                    serde_json::from_str(&link(Sha256::of(request.body()))).expect("JSON");
                body["password_protected"] = serde_json::json!(protects);
                test::answer(201, body.to_string())
            });
            let client =
                Client::anonymous(url.await, Anchors::Anyone, Arc::new(crate::clock::System)).expect("a client");
            let password = Some(crate::token::Secret::from_given("hünter2".into()));
            let wish = Wish { password, paste: true, ..Wish::default() };
            let uploaded = client.upload(of(b"hello", Some(5)), &wish, Arc::new(Silent)).await;
            assert_eq!(uploaded.is_ok(), protects, "{uploaded:?}");
        }
        assert_eq!(*asked.lock().expect("whole"), ["POST /", "POST /", "POST /api/links/abcd1234/expire"]);
    }

    #[tokio::test]
    async fn other_content_is_sent_and_checked_and_worked_for_where_that_is_asked() {
        for price in [0, 3] {
            let asked = Arc::new(Mutex::new(Vec::new()));
            let log = Arc::clone(&asked);
            let url = test::http(move |request| {
                log.lock().expect("whole").push(format!("{} {}", request.method(), request.uri()));
                if request.uri().path() == "/api/challenge" {
                    let nonce = "00".repeat(16);
                    let challenge =
                        format!(r#"{{"enabled":true,"difficulty":{price},"nonce":"{nonce}","token":"planted-token"}}"#);
                    return test::answer(200, challenge);
                }
                assert_eq!(request.body().as_ref(), b"hello");
                if price > 0 && !request.headers().contains_key("x-pow-solution") {
                    let problem =
                        r#"{"type":"x","title":"x","status":400,"detail":"x","error":"x","code":"pow_required"}"#;
                    return test::answer(400, problem);
                }
                test::answer(200, link(Sha256::of(request.body())))
            });
            let client =
                Client::anonymous(url.await, Anchors::Anyone, Arc::new(crate::clock::System)).expect("a client");
            let id = "abcd1234".parse().expect("an id");
            let stream = Replay::of(io::Cursor::new(b"hello"));
            let open = || stream.content("it");
            let replaced = client.replace(&id, &open, Some("n"), Arc::new(Silent), &Silent).await;
            assert_eq!(replaced.expect("replaced").sha256, Sha256::of(b"hello").to_string());
            let put = "PUT /api/links/abcd1234/content?name=n";
            let expected = if price > 0 { vec![put, "GET /api/challenge", put] } else { vec![put] };
            assert_eq!(*asked.lock().expect("whole"), expected);
        }
    }

    #[tokio::test]
    async fn what_arrived_different_is_an_error() {
        let uploaded = upload_to(|_| test::answer(201, link(Sha256::of(b"other")))).await;
        assert!(matches!(uploaded, Err(Error::Digest { .. })), "{uploaded:?}");
    }

    #[tokio::test]
    async fn a_refusal_says_what_the_server_says() {
        let refused = upload_to(|_| {
            let problem = r#"{"type":"x","title":"x","status":413,"detail":"File too large","error":"x","code":"too_large","hint":"less"}"#;
            test::answer(413, problem)
        });
        let error = refused.await.expect_err("refused");
        assert_eq!((error.to_string().as_str(), error.hint().as_deref()), ("File too large", Some("less")));
    }

    #[tokio::test]
    async fn a_redirect_is_not_followed() {
        let refused = upload_to(|request| {
            assert_ne!(request.uri().path(), "/elsewhere");
            let mut response = test::answer(307, "");
            response.headers_mut().insert("location", "/elsewhere".parse().expect("a value"));
            response
        });
        assert!(refused.await.expect_err("refused").hint().is_some_and(|hint| hint.contains("/elsewhere")));
    }

    #[tokio::test]
    async fn a_file_that_shrinks_is_reported_as_such() {
        let url = test::http(|_| test::answer(201, "")).await;
        let client = Client::anonymous(url, Anchors::Anyone, Arc::new(crate::clock::System)).expect("a client");
        let failed = client.upload(of(b"hello", Some(6)), &Wish::default(), Arc::new(Silent)).await;
        assert!(matches!(failed, Err(Error::Changed(_))), "{failed:?}");
    }

    #[test]
    fn what_is_read_has_a_name_and_a_failure_its_words() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = dir.path().join("site");
        std::fs::create_dir(&folder).expect("made");
        let name = |path: &Path| Content::at(path).expect("there").name().map(str::to_owned);
        assert_eq!(name(&folder).as_deref(), Some("site.tar.gz"));
        assert_eq!(name(&folder.join("..").join("site").join(".")).as_deref(), Some("site.tar.gz"));
        assert_eq!(name(&folder.join("..").join("site").join("..").join("site")).as_deref(), Some("site.tar.gz"));
        assert!(matches!(Content::at(&dir.path().join("none")), Err(Error::Io { .. })));
        let _socket = std::os::unix::net::UnixListener::bind(folder.join("socket")).expect("bound");
        let (_, failed) = read(Content::at(&folder).expect("there"));
        assert!(matches!(failed, Err(Error::Unpackable(_))), "{failed:?}");
    }
}
