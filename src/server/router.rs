//! Every route on one screen.

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post, put};

use super::App;
use super::authenticate::{authenticate, known};
use super::body::Pacing;
use super::handlers::{est, fetch, health, links, ocsp, pki, register, stats, upload, whoami};
use super::problem::Problem;
use super::same_site::same_site;
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
        .route("/pki/renew", post(pki::renew))
        .route("/.well-known/est/simplereenroll", post(est::reenroll))
        .route("/pki/issue", post(pki::issue))
        .route("/pki/certs", get(pki::certificates))
        .route("/pki/revoke", post(pki::revoke))
        .route("/pki/invites", get(pki::invites).post(pki::invite))
        .route("/pki/invites/{id}", axum::routing::delete(pki::withdraw_invite))
        .route_layer(from_fn_with_state(app.clone(), known))
        .route_layer(DefaultBodyLimit::max(SMALL_BODY));

    // Who may upload is a setting, so these ask for their own permit, before the first byte of the body.
    let uploads = Router::new()
        .route("/api/upload", post(upload::upload))
        .route("/", post(upload::paste))
        .route("/{id}", put(upload::put))
        .route_layer(DefaultBodyLimit::disable());

    let open = Router::new()
        .route("/", get(health::index))
        .route("/{id}", get(fetch::fetch))
        .route("/{id}/{name}", get(fetch::fetch_named))
        .route("/api/whoami", get(whoami::whoami))
        .route("/health", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/pki/status", get(pki::status))
        .route("/pki/ca.crt", get(pki::root))
        .route("/pki/chain.crt", get(pki::chain))
        .route("/pki/enroll", post(pki::enroll))
        .route("/.well-known/est/cacerts", get(est::cacerts))
        .route("/.well-known/est/csrattrs", get(est::csrattrs))
        .route("/.well-known/est/simpleenroll", post(est::enroll))
        .route("/register", post(register::register))
        .route("/register/challenge", get(register::challenge))
        .route("/csr", post(register::sign))
        .route("/pki/crl", get(ocsp::crl))
        .route("/pki/crl.pem", get(ocsp::crl_pem))
        .route("/pki/ocsp", post(ocsp::post))
        .route("/pki/ocsp/{*request}", get(ocsp::get))
        .route_layer(DefaultBodyLimit::max(SMALL_BODY));

    closed
        .merge(uploads)
        .merge(open)
        .fallback(async || Problem::not_found("such path"))
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .layer(from_fn_with_state(app.clone(), authenticate))
        .layer(from_fn_with_state(app.clone(), pace))
        .layer(from_fn(same_site))
        .layer(from_fn_with_state(app.clone(), trace))
        .with_state(app)
}

/// Gives every request body its deadline.
async fn pace(State(app): State<App>, request: Request, next: Next) -> Response {
    let limit = app.settings.limits.deadlines.stall;
    next.run(request.map(|body| axum::body::Body::new(Pacing::new(body, limit)))).await
}
