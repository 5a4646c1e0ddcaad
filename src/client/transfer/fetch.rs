//! Bytes down: resumed after an interruption, checked against the digest the server sent, in place whole or not at all.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::{Method, Response, StatusCode, header};
use ring::digest::{Context, SHA256};
use url::Url;

use super::Progress;
use super::headers::{Described, content_range};
use super::part::{Notes, Part};
use crate::client::{Client, Error, Outcome, error, password_header};
use crate::identity::Sha256;
use crate::link::LinkId;

/// Where the bytes go.
pub enum Destination<'a> {
    /// Into this folder, under the link's own name.
    Folder(PathBuf),
    /// To this file.
    File(PathBuf),
    /// To a stream, as they come: what does not match its digest is found out at the end only.
    Stream(&'a mut (dyn Write + Send)),
}

/// How patient a fetch is.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Attempts in a row that bring no byte.
    pub attempts: u32,
    /// Before the second attempt; doubled before each further one.
    pub pause: Duration,
    /// Without a byte, after which an attempt is given up.
    pub stall: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { attempts: 5, pause: Duration::from_millis(500), stall: Duration::from_secs(60) }
    }
}

/// What came of a fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Where it is now; `None` for a stream.
    pub path: Option<PathBuf>,
    /// Bytes.
    pub size: u64,
    /// Of the bytes.
    pub sha256: Sha256,
    /// Whether the server sent a digest and this is it.
    pub checked: bool,
}

/// One fetch.
pub struct Fetch<'a> {
    /// From whom.
    pub client: &'a Client,
    /// What.
    pub url: Url,
    /// Whether a file that is there is replaced.
    pub replace: bool,
    /// How patiently.
    pub patience: Patience,
    /// Who is told.
    pub progress: &'a dyn Progress,
}

impl Client {
    /// The URL of a link on this server.
    pub fn content_url(&self, id: &LinkId) -> Url {
        self.url(&[id.as_str()])
    }

    /// What anyone with the link may know of its content, without its bytes.
    ///
    /// # Errors
    /// As for every deed.
    pub async fn describe(&self, url: &Url) -> Result<Described, Error> {
        let mut request = self.to(Method::HEAD, url.clone()).timeout(Patience::default().stall);
        if let Some(password) = &self.password {
            request = password_header(request, password)?;
        }
        Ok(Described::by(self.send(request).await?.headers()))
    }
}

impl Fetch<'_> {
    /// Fetches.
    ///
    /// # Errors
    /// When the link is not there, the file to write is, the content does not match its digest, the disk fails, or the
    /// connection broke too often; what has come of a file then stays for the next fetch to go on with.
    pub async fn run(&self, to: Destination<'_>) -> Result<Fetched, Error> {
        let (folder, place) = match to {
            Destination::Stream(out) => return self.stream(out).await,
            Destination::Folder(folder) => (folder, None),
            Destination::File(path) => (folder_of(&path), Some(path)),
        };
        self.vacant(place.as_deref())?;
        let name = match place.as_deref().and_then(Path::file_name) {
            Some(name) => name.to_string_lossy().into_owned(),
            None => self.id(),
        };
        let mut part = Part::open(&folder, &name, self.url.as_str())?;
        let (got, hash) = part.rehash()?;
        let resumed = got > 0;
        let mut arriving = Arriving { notes: part.notes.clone(), sink: Sink::Part(&mut part), got, hash };
        let outcome = self.receive(&mut arriving, &folder, place.as_deref()).await;
        let received = match (outcome, resumed) {
            // What was kept from before may be what is wrong.
            (Err(Error::Digest { .. }), true) => {
                arriving.restart(None)?;
                self.receive(&mut arriving, &folder, place.as_deref()).await
            }
            (outcome, _) => outcome,
        };
        let (notes, nothing) = (arriving.notes.take(), arriving.got == 0);
        let fetched = match received {
            Ok(fetched) => fetched,
            Err(error) => {
                if nothing || matches!(error.outcome(), Outcome::Missing | Outcome::Mismatch) {
                    part.discard();
                }
                return Err(error);
            }
        };
        let place = match place {
            Some(place) => place,
            None => folder.join(self.own_name(notes.as_ref())?),
        };
        part.finish(&place, self.replace)?;
        Ok(Fetched { path: Some(place), ..fetched })
    }

    async fn stream(&self, out: &mut (dyn Write + Send)) -> Result<Fetched, Error> {
        let mut arriving = Arriving { notes: None, sink: Sink::Stream(out), got: 0, hash: Context::new(&SHA256) };
        self.receive(&mut arriving, Path::new("."), Some(Path::new("-"))).await
    }

    /// Attempts until all bytes are there, then checks them.
    async fn receive(
        &self,
        arriving: &mut Arriving<'_>,
        folder: &Path,
        place: Option<&Path>,
    ) -> Result<Fetched, Error> {
        let mut fruitless = 0;
        let mut begun = false;
        while !arriving.is_whole() {
            let before = arriving.got;
            let outcome = self.attempt(arriving, folder, place, &mut begun).await;
            let Err(error) = outcome else { break };
            fruitless = if arriving.got > before { 1 } else { fruitless + 1 };
            if !begun || !error.may_pass() || fruitless >= self.patience.attempts {
                return Err(error);
            }
            self.progress.retry(&error.to_string());
            tokio::time::sleep(self.patience.pause * 2_u32.saturating_pow(fruitless - 1)).await;
        }
        arriving.check(&self.url)
    }

    async fn attempt(
        &self,
        arriving: &mut Arriving<'_>,
        folder: &Path,
        place: Option<&Path>,
        begun: &mut bool,
    ) -> Result<(), Error> {
        let mut response = match self.ask(arriving).await {
            // The server has other bytes than we: what is here is of no use.
            Err(Error::Answer(answer)) if answer.status == StatusCode::RANGE_NOT_SATISFIABLE && arriving.got > 0 => {
                arriving.restart(None)?;
                self.ask(arriving).await?
            }
            other => other?,
        };
        self.adopt(arriving, &response)?;
        if !*begun {
            *begun = true;
            if place.is_none() {
                self.vacant(Some(&folder.join(self.own_name(arriving.notes.as_ref())?)))?;
            }
            self.progress.begin(arriving.size(), arriving.got);
        }
        while let Some(chunk) = self.patiently(response.chunk()).await? {
            arriving.write(&chunk)?;
            self.progress.advance(chunk.len() as u64);
        }
        match arriving.size() {
            Some(size) if arriving.got < size => {
                Err(Error::Short { url: error::origin(self.client.server()), got: arriving.got, size })
            }
            _ => Ok(()),
        }
    }

    async fn ask(&self, arriving: &Arriving<'_>) -> Result<Response, Error> {
        let mut request = self.client.to(Method::GET, self.url.clone());
        request = request.header(header::ACCEPT_ENCODING, "identity");
        if let Some(password) = &self.client.password {
            request = password_header(request, password)?;
        }
        if let (Some(etag), 1..) = (arriving.etag(), arriving.got) {
            request = request.header(header::RANGE, format!("bytes={}-", arriving.got)).header(header::IF_RANGE, etag);
        }
        let stalled = |_| Error::Stalled { url: error::origin(self.client.server()), after: self.patience.stall };
        tokio::time::timeout(self.patience.stall, self.client.send(request)).await.map_err(stalled)?
    }

    /// Decides by an answer whether it goes on where we are or begins anew.
    fn adopt(&self, arriving: &mut Arriving<'_>, response: &Response) -> Result<(), Error> {
        if response.status() == StatusCode::PARTIAL_CONTENT {
            return match (content_range(response.headers()), arriving.size()) {
                (Some((start, whole)), size) if start == arriving.got && size.is_none_or(|size| size == whole) => {
                    Ok(())
                }
                _ => Err(self.client.unexpected("it is another part than the one that was asked for".to_owned())),
            };
        }
        let described = Described::by(response.headers());
        arriving.restart(Some(Notes {
            url: self.url.to_string(),
            etag: described.etag,
            size: described.size,
            sha256: described.sha256,
            name: described.name,
        }))
    }

    async fn patiently<T>(&self, next: impl Future<Output = Result<T, reqwest::Error>>) -> Result<T, Error> {
        match tokio::time::timeout(self.patience.stall, next).await {
            Ok(outcome) => outcome.map_err(|error| self.client.transport(error)),
            Err(_) => Err(Error::Stalled { url: error::origin(self.client.server()), after: self.patience.stall }),
        }
    }

    fn vacant(&self, place: Option<&Path>) -> Result<(), Error> {
        match place.filter(|place| !self.replace && place.symlink_metadata().is_ok()) {
            Some(place) => Err(Error::Exists(place.to_owned())),
            None => Ok(()),
        }
    }

    /// The link's own name, or its id when it has none.
    fn own_name(&self, notes: Option<&Notes>) -> Result<String, Error> {
        let Some(name) = notes.and_then(|notes| notes.name.clone()) else { return Ok(self.id()) };
        if name.starts_with('.') {
            return Err(Error::Failed(format!(
                "the link's own name is {name}, and files that begin with a dot are settings: say where it may go with -o"
            )));
        }
        Ok(name)
    }

    /// The id in the URL, or something that stands for the URL when there is none.
    fn id(&self) -> String {
        let segments = self.url.path_segments().into_iter().flatten();
        let id = segments.filter_map(|segment| segment.parse::<LinkId>().ok()).next();
        id.map_or_else(|| hex::encode(&Sha256::of(self.url.as_str().as_bytes()).0[..8]), |id| id.to_string())
    }
}

fn folder_of(path: &Path) -> PathBuf {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned()
}

enum Sink<'a> {
    Part(&'a mut Part),
    Stream(&'a mut (dyn Write + Send)),
}

/// The bytes so far.
struct Arriving<'a> {
    sink: Sink<'a>,
    notes: Option<Notes>,
    got: u64,
    hash: Context,
}

impl Arriving<'_> {
    fn etag(&self) -> Option<&str> {
        self.notes.as_ref()?.etag.as_deref()
    }

    fn size(&self) -> Option<u64> {
        self.notes.as_ref()?.size
    }

    fn is_whole(&self) -> bool {
        self.got > 0 && self.size() == Some(self.got)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        match &mut self.sink {
            Sink::Part(part) => part.write(bytes)?,
            Sink::Stream(out) => out.write_all(bytes).map_err(Error::Output)?,
        }
        self.hash.update(bytes);
        self.got += bytes.len() as u64;
        Ok(())
    }

    fn restart(&mut self, notes: Option<Notes>) -> Result<(), Error> {
        match &mut self.sink {
            Sink::Part(part) => {
                if let Some(notes) = &notes {
                    part.restart(notes.clone())?;
                } else {
                    part.clear()?;
                }
            }
            Sink::Stream(_) if self.got > 0 => {
                return Err(Error::Failed(
                    "the server cannot go on where the connection broke, and what was written cannot be taken back"
                        .to_owned(),
                ));
            }
            Sink::Stream(_) => {}
        }
        self.notes = notes;
        self.got = 0;
        self.hash = Context::new(&SHA256);
        Ok(())
    }

    fn check(&mut self, url: &Url) -> Result<Fetched, Error> {
        if let Sink::Stream(out) = &mut self.sink {
            out.flush().map_err(Error::Output)?;
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(self.hash.clone().finish().as_ref());
        let got = Sha256(digest);
        let expected = self.notes.as_ref().and_then(|notes| notes.sha256.as_deref()).and_then(|hex| hex.parse().ok());
        match expected {
            Some(expected) if expected != got => {
                Err(Error::Digest { what: format!("the content of {url}"), expected, got })
            }
            _ => Ok(Fetched { path: None, size: self.got, sha256: got, checked: expected.is_some() }),
        }
    }
}

#[cfg(test)]
#[path = "fetch_tests.rs"]
mod tests;
