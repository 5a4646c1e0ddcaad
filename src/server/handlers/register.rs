//! Certificates for those nobody invited, for work, where the operator allows that.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};

use super::object;
use super::pki::{actor, describe, pem, signing_request};
use super::render::disposition;
use super::upload::small;
use crate::api;
use crate::authority::Issued;
use crate::server::authenticate::Anyone;
use crate::server::problem::Problem;
use crate::server::{App, admission};

/// Bytes the JSON of a registration may have.
const LARGEST_WISH: usize = 4096;

/// `GET /register/challenge`.
pub(in crate::server) async fn challenge(State(app): State<App>) -> Result<Json<api::Challenge>, Problem> {
    let difficulty = open(&app)?;
    if difficulty == 0 {
        return Ok(Json(api::Challenge::default()));
    }
    let challenge = app.admission().work.challenge(difficulty, app.clock.now())?;
    Ok(Json(api::Challenge {
        enabled: true,
        difficulty,
        nonce: Some(challenge.nonce),
        base_difficulty: Some(difficulty),
        elevated: Some(false),
        expires: Some(challenge.expires.as_secs()),
        token: Some(challenge.token),
    }))
}

/// `POST /register`: a name in, a PKCS#12 file out, with the key that was made for it and is kept nowhere here.
pub(in crate::server) async fn register(
    State(app): State<App>,
    Anyone(who): Anyone,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    open(&app)?;
    let wish: api::Register = object(&small(body, LARGEST_WISH).await?)?;
    worked(&app, &headers).await?;
    let (issued, bundle) = app.authority.register(&actor(&who), wish.common_name.as_deref(), None).await?;
    let bundle = bundle.ok_or_else(|| Problem::bad_request("nothing was made"))?;
    let mut response = bundle.pkcs12.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-pkcs12"));
    attach(headers, &issued, "p12");
    if let Ok(mut password) = HeaderValue::try_from(bundle.password.reveal()) {
        password.set_sensitive(true);
        headers.insert(api::header::PKCS12_PASSWORD, password);
    }
    Ok(response)
}

/// `POST /csr`: a signing request in, a chain out, both PEM.
pub(in crate::server) async fn sign(
    State(app): State<App>,
    Anyone(who): Anyone,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    open(&app)?;
    let csr = signing_request(body).await?;
    worked(&app, &headers).await?;
    let (issued, _) = app.authority.register(&actor(&who), None, Some(&csr)).await?;
    let mut response = pem(issued.chain_pem.clone());
    attach(response.headers_mut(), &issued, "crt");
    Ok(response)
}

/// The work that registering costs, where it is open.
fn open(app: &App) -> Result<u8, Problem> {
    if app.settings.open_registration {
        Ok(app.settings.register_difficulty)
    } else {
        Err(Problem::registration_closed())
    }
}

/// Takes the proof of work that came with the request.
async fn worked(app: &App, headers: &HeaderMap) -> Result<(), Problem> {
    let least = open(app)?;
    if least == 0 {
        return Ok(());
    }
    let said = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let (Some(token), Some(solution)) = (said(api::header::POW_TOKEN), said(api::header::POW_SOLUTION)) else {
        return Err(Problem::no_work("/register/challenge"));
    };
    admission::worked(app, token, solution, least).await
}

fn attach(headers: &mut HeaderMap, issued: &Issued, ending: &str) {
    describe(headers, issued);
    let name = format!("{}.{ending}", issued.client.name);
    if let Ok(value) = HeaderValue::try_from(disposition("attachment", Some(&name))) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    // As FlaskPaste has it: 32 digits.
    if let Ok(value) = HeaderValue::try_from(format!("{:0>32}", issued.serial)) {
        headers.insert(api::header::CERTIFICATE_SERIAL, value);
    }
}
