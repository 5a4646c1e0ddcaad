//! A CA and servers for tests of the client: real sockets on loopback, answers made by the test.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use url::Url;

use crate::units::Timestamp;

/// A moment at which all certificates made here are valid.
pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

/// A root that signs everything itself.
pub(crate) struct Ca {
    root: rcgen::Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    pub(crate) fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = params(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let root = params.self_signed(&key).expect("a root");
        Self { root, issuer: Issuer::new(params, key) }
    }

    pub(crate) fn root(&self) -> CertificateDer<'static> {
        self.root.der().clone()
    }

    pub(crate) fn root_pem(&self) -> String {
        self.root.pem()
    }

    /// A client certificate for a signing request, in PEM.
    pub(crate) fn issue(&self, request: &str) -> String {
        let mut request = CertificateSigningRequestParams::from_pem(request).expect("a request");
        request.params = params("somebody");
        request.params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        request.signed_by(&self.issuer).expect("signed").pem()
    }

    fn server(&self, names: &[&str]) -> Arc<rustls::ServerConfig> {
        let key = KeyPair::generate().expect("a key");
        let mut params =
            CertificateParams::new(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>()).expect("names");
        validity(&mut params);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let leaf = params.signed_by(&key, &self.issuer).expect("signed");
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key)
            .expect("a certificate");
        Arc::new(config)
    }
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    validity(&mut params);
    params
}

fn validity(params: &mut CertificateParams) {
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2090, 1, 1);
}

/// A self-signed certificate and its key, in PEM.
pub(crate) fn self_signed(name: &str) -> (String, String) {
    let key = KeyPair::generate().expect("a key");
    (params(name).self_signed(&key).expect("signed").pem(), key.serialize_pem())
}

pub(crate) type Body = BoxBody<Bytes, std::io::Error>;

pub(crate) fn full(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).map_err(|never: Infallible| match never {}).boxed()
}

/// A request whose body has been read.
pub(crate) type Asked = Request<Bytes>;

pub(crate) type Answerer = Arc<dyn Fn(Asked) -> Response<Body> + Send + Sync>;

pub(crate) fn answer(status: u16, text: impl Into<Bytes>) -> Response<Body> {
    Response::builder().status(status).body(full(text)).expect("a response")
}

/// A server without TLS; it lives as long as the runtime.
pub(crate) async fn http(answerer: impl Fn(Asked) -> Response<Body> + Send + Sync + 'static) -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let answerer: Answerer = Arc::new(answerer);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, Arc::clone(&answerer)));
        }
    });
    url.parse().expect("a URL")
}

/// A server with a certificate of `ca` for these names.
pub(crate) async fn https(
    ca: &Ca,
    names: &[&str],
    answerer: impl Fn(Asked) -> Response<Body> + Send + Sync + 'static,
) -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("https://localhost:{}", listener.local_addr().expect("an address").port());
    let acceptor = tokio_rustls::TlsAcceptor::from(ca.server(names));
    let answerer: Answerer = Arc::new(answerer);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, answerer) = (acceptor.clone(), Arc::clone(&answerer));
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    serve(stream, answerer).await;
                }
            });
        }
    });
    url.parse().expect("a URL")
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + 'static + Send, answerer: Answerer) {
    let service = service_fn(move |request: Request<Incoming>| {
        let answerer = Arc::clone(&answerer);
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok::<_, hyper::Error>(answerer(Request::from_parts(parts, body)))
        }
    });
    let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
}
