//! An address of its own for a scraper without credentials: plain HTTP, one path, a few connections.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::server::App;
use crate::server::handlers::metrics::scrape;

/// Connections at once; a scraper has one.
const CONNECTIONS: usize = 16;

/// For the header of a request.
const HEADER: Duration = Duration::from_secs(5);

/// For everything on one connection.
const LONGEST: Duration = Duration::from_secs(60);

pub(in crate::server) async fn answer(app: App, listener: TcpListener, closing: CancellationToken) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let next = async {
            let turn = Arc::clone(&room).acquire_owned().await;
            (turn, listener.accept().await)
        };
        let (turn, accepted) = tokio::select! {
            () = closing.cancelled() => return,
            next = next => next,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let (app, closing) = (app.clone(), closing.clone());
        tokio::spawn(async move {
            let _turn = turn;
            let mut builder = hyper::server::conn::http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(HEADER);
            let serving = builder.serve_connection(TokioIo::new(stream), service_fn(|request| one(&app, request)));
            tokio::select! {
                _ = serving => {}
                () = tokio::time::sleep(LONGEST) => {}
                () = closing.cancelled() => {}
            }
        });
    }
}

async fn one(app: &App, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if reads && request.uri().path() == "/metrics" {
        return Ok(scrape(app).await);
    }
    let mut nothing = Response::new(Body::empty());
    *nothing.status_mut() = StatusCode::NOT_FOUND;
    Ok(nothing)
}
