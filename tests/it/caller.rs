//! Whoever asks: one type for every kind of caller, so that the same request as someone else is a one-word change.

use std::sync::Arc;

use ddrop::identity::Fingerprint;
use ddrop::token::Secret;
use ddrop::{api, tls};
use pki::key::{Algorithm, Key};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::app::TestApp;
use crate::planted::{plant, plant_content, plant_key};

/// A certificate and its key, in PEM.
#[derive(Clone)]
pub struct Credentials {
    pub chain: String,
    pub key: String,
}

impl Credentials {
    pub fn self_signed(name: &str, now: time::OffsetDateTime) -> Self {
        let key = Key::generate(Algorithm::P256).expect("a key");
        let certificate = pki::certificate::self_signed_client(&key, name, now, 30).expect("a certificate");
        Self { chain: certificate.to_pem(), key: key.to_pem().to_string() }
    }

    pub fn fingerprint(&self) -> Fingerprint {
        let leaf = CertificateDer::from_pem_slice(self.chain.as_bytes()).expect("a certificate");
        Fingerprint::of(&leaf)
    }
}

/// Someone, with their own connections.
#[derive(Clone)]
pub struct Caller {
    pub credentials: Option<Credentials>,
    pub http: reqwest::Client,
    pub base: String,
    pub token: Option<String>,
}

/// How a client of this server speaks TLS.
pub fn client_config(root_pem: &str, credentials: Option<&Credentials>) -> ClientConfig {
    client_config_of(root_pem, credentials, rustls::DEFAULT_VERSIONS)
}

pub fn client_config_of(
    root_pem: &str,
    credentials: Option<&Credentials>,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(root_pem.as_bytes()).expect("a root")).expect("a usable root");
    let builder = ClientConfig::builder_with_provider(Arc::new(tls::provider()))
        .with_protocol_versions(versions)
        .expect("versions")
        .with_root_certificates(roots);
    match credentials {
        None => builder.with_no_client_auth(),
        Some(own) => {
            let chain: Vec<_> =
                CertificateDer::pem_slice_iter(own.chain.as_bytes()).collect::<Result<_, _>>().expect("a chain");
            let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).expect("a key");
            builder.with_client_auth_cert(chain, key).expect("they belong together")
        }
    }
}

impl Caller {
    pub fn new(app: &TestApp, credentials: Option<Credentials>) -> Self {
        if let Some(own) = &credentials {
            plant_key(&own.key);
        }
        let config = client_config(&app.root_pem(), credentials.as_ref());
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(config)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .expect("a client");
        Self { credentials, http, base: app.url(""), token: None }
    }

    pub async fn enroll(app: &TestApp, secret: &Secret, name: &str) -> Self {
        let key = Key::generate(Algorithm::P256).expect("a key");
        let csr = pki::request::make(&key, name).expect("a request");
        let response = app
            .anonymous()
            .request(Method::POST, "/pki/enroll")
            .header("authorization", format!("Invite {}", secret.reveal()))
            .body(csr)
            .send()
            .await
            .expect("answered");
        assert_eq!(response.status(), StatusCode::OK, "{}", response.text().await.unwrap_or_default());
        let chain = response.text().await.expect("a chain");
        Self::new(app, Some(Credentials { chain, key: key.to_pem().to_string() }))
    }

    pub fn with_token(mut self, token: &str) -> Self {
        if !token.is_empty() {
            plant("a token", token);
        }
        self.token = Some(token.to_owned());
        self
    }

    /// The same caller with connections of their own.
    pub fn again(&self, app: &TestApp) -> Self {
        Self::new(app, self.credentials.clone())
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = if path.starts_with("https://") { path.to_owned() } else { format!("{}{path}", self.base) };
        let request = self.http.request(method, url);
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    pub async fn get(&self, path: &str) -> Response {
        self.request(Method::GET, path).send().await.expect("answered")
    }

    pub async fn post(&self, path: &str) -> Response {
        self.request(Method::POST, path).send().await.expect("answered")
    }

    pub async fn status(&self, method: Method, path: &str) -> StatusCode {
        self.request(method, path).send().await.expect("answered").status()
    }

    /// Uploads these bytes; the link must be made.
    pub async fn upload(&self, bytes: impl Into<reqwest::Body>) -> api::Link {
        self.upload_with("", bytes).await
    }

    pub async fn upload_with(&self, query: &str, bytes: impl Into<reqwest::Body>) -> api::Link {
        let response = self.try_upload(query, bytes).await;
        assert_eq!(response.status(), StatusCode::CREATED, "{}", response.text().await.unwrap_or_default());
        response.json().await.expect("a link")
    }

    pub async fn try_upload(&self, query: &str, bytes: impl Into<reqwest::Body>) -> Response {
        let (path, bytes) = (format!("/api/upload{query}"), bytes.into());
        plant_content(bytes.as_bytes().unwrap_or_default());
        self.request(Method::POST, &path).body(bytes).send().await.expect("answered")
    }
}

/// The answer must be this problem.
pub async fn expect_problem(response: Response, status: u16, code: &str) -> api::Problem {
    let got = response.status().as_u16();
    let kind = response.headers().get("content-type").cloned();
    let id = response.headers().get("x-request-id").cloned().expect("a request id");
    let text = response.text().await.expect("a body");
    assert_eq!(got, status, "{text}");
    assert_eq!(kind.expect("a type"), "application/problem+json");
    let problem: api::Problem = serde_json::from_str(&text).expect("a problem");
    assert_eq!((problem.status, problem.code.as_str()), (status, code), "{text}");
    assert_eq!(problem.error, problem.detail);
    assert_eq!(id, problem.request_id.as_str());
    problem
}
