//! The other side of the wire: a client of a server, one method per deed.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{self, HeaderMap};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use url::Url;

use crate::api;
use crate::clock::Clock;
use crate::link::LinkId;
use crate::token::Secret;

pub mod certificate;
pub mod enroll;
mod error;
pub mod export;
pub mod folder;
pub mod look_alike;
mod p521;
mod pki;
pub mod profile;
pub mod register;
mod shorten;
#[cfg(test)]
pub(crate) mod test;
pub mod tls;
pub mod transfer;
mod work;

pub use error::{Answer, Error, Outcome};
pub use profile::Profile;
use tls::{Anchors, Identity};
pub use work::Work;

/// For a connection, TLS included.
const CONNECT: Duration = Duration::from_secs(15);

/// For a small request and its answer.
const ANSWER: Duration = Duration::from_secs(60);

/// The most bytes of an answer that is kept in memory.
const LARGEST_ANSWER: usize = 64 * 1024 * 1024;

/// Links on a page of a list.
const PAGE: u32 = 500;

/// A client of one server. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    token: Option<Secret>,
    /// Of the links that are read.
    password: Option<Secret>,
    anchors: Anchors,
    known: bool,
    clock: Arc<dyn Clock>,
}

impl Client {
    /// The client that a profile describes.
    ///
    /// # Errors
    /// When the profile names no server, or its certificate, key or CA cannot be used.
    pub fn new(profile: &Profile, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let base = profile.server()?.clone();
        let identity = profile.identity()?;
        let token = profile.token.as_ref().map(|setting| setting.value.clone());
        let anchors = profile.anchors()?;
        Self::with(base, anchors, identity.as_ref(), token, clock)
    }

    /// A client that shows nothing of itself.
    ///
    /// # Errors
    /// When an anchor cannot be used.
    pub fn anonymous(base: Url, anchors: Anchors, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        Self::with(base, anchors, None, None, clock)
    }

    fn with(
        base: Url,
        anchors: Anchors,
        identity: Option<&Identity>,
        token: Option<Secret>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let plain = base.scheme() == "http";
        // Without TLS there is nothing to trust, so that not even the system's roots have to be there.
        let config = if plain { tls::config(&Anchors::Anyone, None)? } else { tls::config(&anchors, identity)? };
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(config)
            .redirect(reqwest::redirect::Policy::none())
            .https_only(!plain)
            .connect_timeout(CONNECT)
            .tcp_keepalive(Duration::from_secs(30))
            .http2_keep_alive_interval(Duration::from_secs(20))
            .http2_keep_alive_timeout(Duration::from_secs(20))
            .http2_initial_stream_window_size(4 * 1024 * 1024)
            .http2_initial_connection_window_size(4 * 1024 * 1024)
            .user_agent(concat!("ddrop/", env!("CARGO_PKG_VERSION")));
        if plain {
            // A proxy would read what never leaves this machine.
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|source| Error::transport(&base, &anchors, source))?;
        let known = identity.is_some() || token.is_some();
        Ok(Self { http, base, token, password: None, anchors, known, clock })
    }

    /// The same one, who says this password for each link it reads.
    #[must_use]
    pub fn with_password(&self, password: Secret) -> Self {
        Self { password: Some(password), ..self.clone() }
    }

    /// Where the server is.
    pub fn server(&self) -> &Url {
        &self.base
    }

    /// Whether this client shows a certificate or a token.
    pub fn is_known(&self) -> bool {
        self.known
    }

    /// Whom the server takes us for.
    ///
    /// # Errors
    /// As for every deed: when the server cannot be reached or trusted, or refuses.
    pub async fn whoami(&self) -> Result<api::Whoami, Error> {
        self.json(self.get(&["api", "whoami"])).await
    }

    /// Asks whether the server can work now.
    ///
    /// # Errors
    /// When it cannot be reached or says that it cannot.
    pub async fn health(&self) -> Result<serde_json::Value, Error> {
        self.json(self.get(&["health", "ready"])).await
    }

    /// A page of links, newest first: own ones, or all.
    ///
    /// # Errors
    /// As for every deed.
    pub async fn list(&self, all: bool, search: Option<&str>, after: Option<&str>) -> Result<api::Links, Error> {
        let whose = if all { "all" } else { "own" };
        let request = self.get(&["api", "links"]).query(&[("limit", PAGE)]).query(&[(whose, true)]);
        self.json(request.query(&[("search", search), ("after", after)])).await
    }

    /// How much there is.
    ///
    /// # Errors
    /// As for every deed.
    pub async fn stats(&self) -> Result<api::Stats, Error> {
        self.json(self.get(&["api", "stats"])).await
    }

    /// The metadata of a link.
    ///
    /// # Errors
    /// As for every deed.
    pub async fn link(&self, id: &LinkId) -> Result<api::Link, Error> {
        self.json(self.get(&["api", "links", id.as_str()])).await
    }

    /// Changes a link.
    ///
    /// # Errors
    /// As for every deed.
    pub async fn change(&self, id: &LinkId, change: &api::Change) -> Result<api::Link, Error> {
        self.json(self.request(Method::PATCH, &["api", "links", id.as_str()]).json(change)).await
    }

    /// Ends a link; its bytes are gone when this returns.
    ///
    /// # Errors
    /// As for every deed.
    pub async fn expire(&self, id: &LinkId) -> Result<api::Link, Error> {
        self.json(self.post(&["api", "links", id.as_str(), "expire"])).await
    }

    /// A certificate for the holder of an invite: signing request in, chain out, both in PEM.
    ///
    /// # Errors
    /// As for every deed.
    pub async fn enroll(&self, secret: &Secret, request_pem: &str) -> Result<String, Error> {
        let mut right = header::HeaderValue::try_from(format!("Invite {}", secret.reveal()))
            .map_err(|_| Error::Usage("the invite's secret has characters that cannot be sent".to_owned()))?;
        right.set_sensitive(true);
        self.sign(self.post(&["pki", "enroll"]).header(header::AUTHORIZATION, right), request_pem).await
    }

    /// A new certificate for the client we are: signing request in, chain out, both in PEM.
    ///
    /// # Errors
    /// As for every deed.
    pub async fn renew(&self, request_pem: &str) -> Result<String, Error> {
        self.sign(self.post(&["pki", "renew"]), request_pem).await
    }

    /// What registering costs.
    ///
    /// # Errors
    /// As for every deed; 403 where nobody can register.
    pub async fn challenge(&self) -> Result<api::Challenge, Error> {
        self.json(self.get(&["register", "challenge"])).await
    }

    /// What making a link costs; nothing for those the server knows.
    ///
    /// # Errors
    /// As for every deed.
    pub async fn price(&self) -> Result<api::Challenge, Error> {
        match self.json(self.get(&["api", "challenge"])).await {
            // A server from before there was a price.
            Err(Error::Answer(answer)) if answer.status == StatusCode::NOT_FOUND => Ok(api::Challenge::default()),
            other => other,
        }
    }

    /// A certificate for whoever has done the work: signing request in, chain out, both in PEM.
    ///
    /// # Errors
    /// As for every deed.
    pub async fn sign_for_work(&self, request_pem: &str, work: Option<&Work>) -> Result<String, Error> {
        let request = self.post(&["csr"]);
        self.sign(work.into_iter().fold(request, |request, work| work.shown_in(request)), request_pem).await
    }

    async fn sign(&self, request: RequestBuilder, request_pem: &str) -> Result<String, Error> {
        let pem = request.header(header::CONTENT_TYPE, "application/pkcs10").body(request_pem.to_owned());
        self.text(pem).await
    }

    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        self.to(method, self.url(path))
    }

    fn to(&self, method: Method, url: Url) -> RequestBuilder {
        let request = self.http.request(method, url);
        match &self.token {
            Some(token) => request.bearer_auth(token.reveal()),
            None => request,
        }
    }

    fn get(&self, path: &[&str]) -> RequestBuilder {
        self.request(Method::GET, path)
    }

    fn post(&self, path: &[&str]) -> RequestBuilder {
        self.request(Method::POST, path)
    }

    /// Sends, and makes an error of every answer that is not a success.
    async fn send(&self, request: RequestBuilder) -> Result<Response, Error> {
        let response = request.send().await.map_err(|error| self.transport(error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(self.refusal(response).await)
    }

    async fn refusal(&self, response: Response) -> Error {
        let status = response.status();
        let skew = skew(response.headers(), self.clock.now().to_offset());
        let location = status
            .is_redirection()
            .then(|| response.headers().get(header::LOCATION)?.to_str().ok().map(str::to_owned))
            .flatten();
        let problem = tokio::time::timeout(ANSWER, self.small(response)).await.ok().and_then(Result::ok);
        let problem = problem.and_then(|body| serde_json::from_slice(&body).ok());
        Error::Answer(Box::new(Answer { status, problem, location, skew }))
    }

    async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Error> {
        let body = self.bytes(request.header(header::ACCEPT, "application/json")).await?;
        serde_json::from_slice(&body).map_err(|error| self.unexpected(format!("its JSON cannot be read: {error}")))
    }

    async fn text(&self, request: RequestBuilder) -> Result<String, Error> {
        let body = self.bytes(request).await?;
        String::from_utf8(body).map_err(|_| self.unexpected("it is not UTF-8".to_owned()))
    }

    async fn done(&self, request: RequestBuilder) -> Result<(), Error> {
        self.bytes(request).await.map(|_| ())
    }

    async fn bytes(&self, request: RequestBuilder) -> Result<Vec<u8>, Error> {
        let response = self.send(request.timeout(ANSWER)).await?;
        self.small(response).await
    }

    async fn small(&self, mut response: Response) -> Result<Vec<u8>, Error> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.transport(error))? {
            if body.len() + chunk.len() > LARGEST_ANSWER {
                return Err(self.unexpected(format!("it is longer than {LARGEST_ANSWER} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn transport(&self, error: reqwest::Error) -> Error {
        Error::transport(&self.base, &self.anchors, error)
    }

    fn unexpected(&self, what: String) -> Error {
        Error::Unexpected { url: error::origin(&self.base), what }
    }
}

/// How far the clock of the sender is ahead of ours, in seconds.
fn skew(headers: &HeaderMap, now: OffsetDateTime) -> Option<i64> {
    let date = headers.get(header::DATE)?.to_str().ok()?;
    let theirs = OffsetDateTime::parse(date, &Rfc2822).ok()?;
    Some((theirs - now).whole_seconds())
}

/// The header that says a password.
fn password_header(request: RequestBuilder, password: &Secret) -> Result<RequestBuilder, Error> {
    let mut value = header::HeaderValue::from_bytes(password.reveal().as_bytes())
        .map_err(|_| Error::Usage("the password has characters that cannot be sent".to_owned()))?;
    value.set_sensitive(true);
    Ok(request.header(api::paste::header::PASSWORD, value))
}

/// What is asked for a link that is to be.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Wish {
    /// The name it is offered under.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How long it lives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<String>,
    /// Whether the first reader is the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burn: Option<bool>,
    /// Without it the link is to lead nowhere. Never in a URL, which is logged on its way.
    #[serde(skip)]
    pub password: Option<Secret>,
    /// Whether it is a paste rather than a file.
    #[serde(skip)]
    pub paste: bool,
}

/// Whether an error is the server's word that a link has a password: `Some(true)` when the one that was said is wrong.
pub fn wants_password(error: &Error) -> Option<bool> {
    let Error::Answer(answer) = error else { return None };
    match answer.problem.as_ref()?.code.as_str() {
        "password_required" => Some(false),
        "password_wrong" => Some(true),
        _ => None,
    }
}

/// Whether an error is the server's word that a link is over.
pub fn is_gone(error: &Error) -> bool {
    matches!(error, Error::Answer(answer) if answer.status == StatusCode::GONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_of_an_answer_tells_the_skew() {
        let mut headers = HeaderMap::new();
        headers.insert(header::DATE, header::HeaderValue::from_static("Tue, 14 Nov 2023 22:13:20 GMT"));
        let now = OffsetDateTime::from_unix_timestamp(1_700_000_000 - 3600).expect("a time");
        assert_eq!(skew(&headers, now), Some(3600));
        headers.insert(header::DATE, header::HeaderValue::from_static("yesterday"));
        assert_eq!(skew(&headers, now), None);
    }

    #[test]
    fn paths_are_joined_below_a_prefix_and_escaped() {
        for (base, whole) in [
            ("https://host:1/", "https://host:1/api/links/a%2Fb"),
            ("https://host:1/under/here/", "https://host:1/under/here/api/links/a%2Fb"),
            ("https://host:1/under", "https://host:1/under/api/links/a%2Fb"),
        ] {
            let client =
                Client::anonymous(base.parse().expect("a URL"), Anchors::Anyone, Arc::new(crate::clock::System));
            assert_eq!(client.expect("a client").url(&["api", "links", "a/b"]).as_str(), whole);
        }
    }
}
