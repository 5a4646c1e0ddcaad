//! One file per deed.

pub(super) mod est;
pub(super) mod fetch;
pub(super) mod health;
pub(super) mod links;
pub(super) mod ocsp;
pub(super) mod pki;
pub(super) mod register;
mod render;
pub(super) mod stats;
pub(super) mod upload;
pub(super) mod whoami;

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts};

use super::problem::Problem;

/// A JSON body; a bad one is a problem that says what is wrong with it.
#[derive(FromRequest)]
#[from_request(via(axum::Json), rejection(Problem))]
pub(super) struct Json<T>(pub(super) T);

/// A query; a bad one is a problem that says what is wrong with it.
#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Query), rejection(Problem))]
pub(super) struct Query<T>(pub(super) T);

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        Self::new(rejection.status(), "bad_request", rejection.body_text())
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        Self::bad_request(rejection.body_text())
    }
}
