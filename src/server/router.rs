//! Every route on one screen.

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, get, post, put};
use tracing::Instrument as _;

use super::App;
use super::authenticate::{authenticate, known};
use super::body::{Lingers, Pacing};
use super::handlers::{
    audit, challenge, client, est, fetch, health, links, metrics, ocsp, pki, register, shorten, stats, upload, whoami,
};
use super::openapi::openapi;
use super::outside::outside;
use super::paste;
use super::problem::Problem;
use super::same_site::same_site;
use super::throttle::throttle;
use super::trace::trace;

/// Bytes a JSON or PEM body may have.
const SMALL_BODY: usize = 64 * 1024;

/// The routes, in two kinds: closed ones, behind a gate none of them can forget, and open ones.
pub(super) fn router(app: App) -> Router {
    let closed = Router::new()
        .route("/api/links", get(links::list))
        .route("/api/links/{id}", get(links::show).patch(links::change).delete(links::expire))
        .route("/api/links/{id}/expire", post(links::expire))
        .route("/api/stats", get(stats::stats))
        .route("/pki/ca", post(pki::make_ca))
        .route("/pki/ca/rotate", post(pki::rotate).layer(from_fn(unbroken)))
        .route("/pki/renew", post(pki::renew).layer(from_fn(unbroken)))
        .route("/.well-known/est/simplereenroll", post(est::reenroll).layer(from_fn(unbroken)))
        .route("/pki/issue", post(pki::issue).layer(from_fn(unbroken)))
        .route("/pki/trust", post(audit::trust))
        .route("/metrics", get(metrics::metrics))
        .route("/pki/audit", get(audit::events))
        .route("/pki/audit/verify", get(audit::verify))
        .route("/pki/certs", get(pki::certificates))
        .route("/pki/revoke", post(pki::revoke).layer(from_fn(unbroken)))
        .route("/pki/invites", get(pki::invites).post(pki::invite).layer(from_fn(unbroken)))
        .route("/pki/invites/{id}", delete(pki::withdraw_invite).layer(from_fn(unbroken)))
        .route_layer(from_fn_with_state(app.clone(), known))
        .route_layer(DefaultBodyLimit::max(SMALL_BODY));

    // Who may upload is a setting, so these ask for their own permit (`Creator`), before the first byte of the body.
    let uploads = Router::new()
        .route("/api/upload", post(upload::upload))
        .route("/api/shorten", post(shorten::shorten).layer(DefaultBodyLimit::max(SMALL_BODY)))
        .route("/api/links/{id}/content", put(links::replace))
        .route("/", post(upload::paste))
        .route("/{id}", put(upload::put))
        .route_layer(DefaultBodyLimit::disable());

    let open = Router::new()
        .route("/", get(health::index))
        .route("/{id}", get(fetch::fetch))
        .route("/{id}/{name}", get(fetch::fetch_named))
        .route("/api/openapi.json", get(openapi))
        .route("/api/whoami", get(whoami::whoami))
        .route("/client", get(client::client))
        .route("/api/challenge", get(challenge::challenge))
        .route("/health", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/pki/status", get(pki::status))
        .route("/pki/ca.crt", get(pki::root))
        .route("/pki/chain.crt", get(pki::chain))
        .route("/pki/enroll", post(pki::enroll).layer(from_fn(unbroken)))
        .route("/.well-known/est/cacerts", get(est::cacerts))
        .route("/.well-known/est/csrattrs", get(est::csrattrs))
        .route("/.well-known/est/simpleenroll", post(est::enroll).layer(from_fn(unbroken)))
        .route("/register", post(register::register).layer(from_fn(unbroken)))
        .route("/register/challenge", get(register::challenge))
        .route("/csr", post(register::sign).layer(from_fn(unbroken)))
        .route("/pki/crl", get(ocsp::crl))
        .route("/pki/crl.pem", get(ocsp::crl_pem))
        .route("/pki/ocsp", post(ocsp::post))
        .route("/pki/ocsp/{*request}", get(ocsp::get))
        .route_layer(DefaultBodyLimit::max(SMALL_BODY));

    closed
        .merge(uploads)
        .merge(open)
        .merge(paste::routes(&app.settings.pastes.prefix))
        .fallback(async || Problem::not_found("such path"))
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .layer(from_fn_with_state(app.clone(), stages))
        .with_state(app)
}

/// The way of every request to its handler, from the innermost stage to the outermost, which is where it begins. They
/// are one layer: each by itself would copy and box all those within it for every request.
async fn stages(State(app): State<App>, request: Request, next: Next) -> Response {
    let app = &app;
    let handle = |request| next.run(request);
    let throttle = |request| throttle(app, request, handle);
    let same_site = |request| same_site(request, throttle);
    let authenticate = |request| authenticate(app, request, same_site);
    let pace = |request| pace(app, request, authenticate);
    let trace = |request| trace(app, request, pace);
    outside(app, request, trace).await
}

/// Answers a request to its end even if whoever asked has gone away, whose future is dropped then: a change of trust is
/// never left without its line in the audit log.
async fn unbroken(request: Request, next: Next) -> Response {
    let answering = tokio::spawn(next.run(request).in_current_span());
    answering.await.unwrap_or_else(|error| Problem::internal(&error).into_response())
}

/// Gives every request body its deadline.
async fn pace<F: Future<Output = Response>>(app: &App, request: Request, next: impl FnOnce(Request) -> F) -> Response {
    if http_body::Body::is_end_stream(request.body()) {
        return next(request).await;
    }
    let deadlines = app.settings.limits.deadlines;
    let lingers = if request.headers().contains_key(header::EXPECT) { Lingers::OnceAsked } else { Lingers::Always };
    next(request.map(|body| axum::body::Body::new(Pacing::new(body, &deadlines, lingers)))).await
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::sync::Notify;
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_changes_trust_is_done_whoever_waits_for_it() {
        let (begun, go_on, done) = (Arc::new(Notify::new()), Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (at, gate, end) = (Arc::clone(&begun), Arc::clone(&go_on), Arc::clone(&done));
        let deed = async move || {
            at.notify_one();
            gate.notified().await;
            end.notify_one();
        };
        let router: Router = Router::new().route("/", post(deed).layer(from_fn(unbroken)));
        let request = Request::post("/").body(axum::body::Body::empty()).expect("a request");
        let answer = router.oneshot(request);
        tokio::select! {
            _ = answer => panic!("it cannot be done yet"),
            () = begun.notified() => {}
        }
        go_on.notify_one();
        tokio::time::timeout(Duration::from_secs(1), done.notified()).await.expect("done all the same");
    }
}
