//! The program itself, for those who want to be its clients.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, OnceLock};

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures_util::stream;

use crate::api::header::{CLIENT_SHA256, CLIENT_TARGET, REPR_DIGEST};
use crate::identity::Sha256;
use crate::server::problem::Problem;

/// What runs: also when the file it was started from has been replaced or deleted since.
const SELF: &str = "/proc/self/exe";

/// Bytes read at a time.
const PIECE: usize = 256 * 1024;

/// The running program, open, and what is said of it; looked at once.
static PROGRAM: OnceLock<Arc<Program>> = OnceLock::new();

struct Program {
    file: File,
    size: u64,
    sha256: Sha256,
}

impl Program {
    fn open() -> io::Result<Arc<Self>> {
        if let Some(known) = PROGRAM.get() {
            return Ok(Arc::clone(known));
        }
        let file = File::open(SELF)?;
        let size = file.metadata()?.len();
        let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
        let mut at = 0;
        while at < size {
            let piece = piece(&file, at, size)?;
            hash.update(&piece);
            at += piece.len() as u64;
        }
        let mut sha256 = Sha256([0; 32]);
        sha256.0.copy_from_slice(hash.finish().as_ref());
        Ok(Arc::clone(PROGRAM.get_or_init(|| Arc::new(Self { file, size, sha256 }))))
    }
}

fn piece(file: &File, at: u64, size: u64) -> io::Result<Bytes> {
    let left = usize::try_from(size.saturating_sub(at)).unwrap_or(usize::MAX);
    let mut bytes = vec![0; left.min(PIECE)];
    file.read_exact_at(&mut bytes, at)?;
    Ok(bytes.into())
}

/// What it runs on, as Rust calls it.
fn target() -> String {
    use std::env::consts::{ARCH, OS};
    let libc = if cfg!(target_env = "musl") {
        "-musl"
    } else if cfg!(target_env = "gnu") {
        "-gnu"
    } else {
        ""
    };
    format!("{ARCH}-unknown-{OS}{libc}")
}

/// `GET, HEAD /client`.
pub(in crate::server) async fn client(method: Method, headers: HeaderMap) -> Result<Response, Problem> {
    let unreadable = |error: io::Error| Problem::unreadable(&error);
    let opened = tokio::task::spawn_blocking(Program::open).await.map_err(|error| Problem::internal(&error))?;
    let program = opened.map_err(unreadable)?;
    let sha256 = program.sha256;
    let etag = format!("\"{sha256}\"");
    let known = headers.get(header::IF_NONE_MATCH).is_some_and(|tag| tag.as_bytes() == etag.as_bytes());
    let size = program.size;
    let mut response = match known {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false if method == Method::HEAD => Response::new(Body::empty()),
        false => Response::new(Body::from_stream(stream::try_unfold((program, 0), next))),
    };
    if !known {
        response.headers_mut().insert(header::CONTENT_LENGTH, size.into());
    }
    let said: [(HeaderName, String); 7] = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"ddrop\"".to_owned()),
        (header::CACHE_CONTROL, "no-cache".to_owned()),
        (header::ETAG, etag),
        (HeaderName::from_static(REPR_DIGEST), format!("sha-256=:{}:", BASE64_STANDARD.encode(sha256.0))),
        (HeaderName::from_static(CLIENT_SHA256), sha256.to_string()),
        (HeaderName::from_static(CLIENT_TARGET), target()),
    ];
    for (name, value) in said {
        if let Ok(value) = HeaderValue::try_from(value) {
            response.headers_mut().insert(name, value);
        }
    }
    Ok(response)
}

async fn next((program, at): (Arc<Program>, u64)) -> io::Result<Option<(Bytes, (Arc<Program>, u64))>> {
    if at >= program.size {
        return Ok(None);
    }
    let reading = tokio::task::spawn_blocking(move || {
        let bytes = piece(&program.file, at, program.size)?;
        let at = at + bytes.len() as u64;
        Ok(Some((bytes, (program, at))))
    });
    reading.await.map_err(io::Error::other)?
}
