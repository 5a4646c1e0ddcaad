//! Bytes in: a form, a raw body, `curl -T`, a pipe.

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest as _, Multipart, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;
use http_body::Body as _;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::disposition;
use super::render::{self, Base};
use super::{Path, Query};
use crate::access::{Create, Permit};
use crate::identity::Principal;
use crate::link::{Draft, FileName, Kind, Link, PasswordHash};
use crate::server::App;
use crate::server::body::{Ration, Rationed, is_stalled, is_too_long, is_wordy};
use crate::server::creation::{Creator, Incoming};
use crate::server::passwords;
use crate::server::problem::Problem;
use crate::units::Ttl;

/// The media type of bytes nobody said anything about.
const BYTES: &str = "application/octet-stream";

/// Bytes a form's `ttl`, `name` and `burn` may have each.
const LONGEST_FIELD: usize = 4096;

/// What is asked for beside the bytes.
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(in crate::server) struct Wish {
    /// The name the link is offered under; what is not safe in a file name is left out.
    name: Option<String>,
    /// How long the link lives, such as `2h`; empty is not said, as in forms.
    #[serde(default)]
    #[schemars(schema_with = "perhaps_ttl")]
    ttl: Option<String>,
    /// Whether the first reader is the last.
    #[schemars(extend("enum" = ["", "0", "false", "no", "1", "true", "yes"]))]
    burn: Option<String>,
}

fn perhaps_ttl(generator: &mut SchemaGenerator) -> Schema {
    let said = Ttl::json_schema(generator);
    json_schema!({ "anyOf": [said, { "const": "" }] })
}

/// The form of `POST /api/upload`, for its description.
#[derive(JsonSchema)]
#[schemars(extend("additionalProperties" = false))]
#[expect(dead_code, reason = "it is read part by part")]
pub(in crate::server) struct Form {
    /// The bytes.
    #[schemars(extend("contentMediaType" = BYTES))]
    file: String,
    /// Without it the link leads nowhere; at most 1024 bytes.
    password: Option<String>,
    #[serde(flatten)]
    wish: Wish,
}

impl Wish {
    fn draft(&self, app: &App, kind: Kind, mime: String) -> Result<Draft, Problem> {
        let asked = self.ttl.as_deref().filter(|text| !text.is_empty()).map(str::parse::<Ttl>).transpose()?;
        let burn = match self.burn.as_deref() {
            None | Some("" | "0" | "false" | "no") => false,
            Some("1" | "true" | "yes") => true,
            Some(_) => return Err(Problem::bad_request("'burn' is true or false")),
        };
        Ok(Draft {
            kind,
            name: self.name.as_deref().and_then(FileName::clean),
            mime,
            ttl: app.settings.lifetimes.resolve(asked)?,
            idle: false,
            burn,
            password: None,
            most: None,
        })
    }
}

/// `POST /api/upload`: a form with a part `file`, or the bytes themselves.
pub(in crate::server) async fn upload(
    State(app): State<App>,
    base: Base,
    Query(wish): Query<Wish>,
    Creator { who, permit, counted }: Creator,
    request: Request,
) -> Result<Response, Problem> {
    let password = passwords::asked(&app, &who, request.headers()).await?;
    let link = if is_form(request.headers()) {
        from_form(&app, &who, permit, wish, password, request).await?
    } else {
        let mime = media_type(request.headers());
        let draft = Draft { password, ..wish.draft(&app, Kind::File, mime)? };
        from_body(&app, &who, permit, draft, request.into_body()).await?
    };
    Ok((counted, created(&base, &link, &who)).into_response())
}

/// `PUT /{name}`: what `curl -T file https://host/` sends.
pub(in crate::server) async fn put(
    State(app): State<App>,
    base: Base,
    Path(name): Path<String>,
    Query(wish): Query<Wish>,
    Creator { who, permit, counted }: Creator,
    request: Request,
) -> Result<Response, Problem> {
    let json = wants_json(request.headers());
    let mime = media_type(request.headers());
    let wish = Wish { name: wish.name.or(Some(name)), ..wish };
    let password = passwords::asked(&app, &who, request.headers()).await?;
    let draft = Draft { password, ..wish.draft(&app, Kind::File, mime)? };
    let link = from_body(&app, &who, permit, draft, request.into_body()).await?;
    let answer = if json { created(&base, &link, &who) } else { created_text(&base, &link) };
    Ok((counted, answer).into_response())
}

/// `POST /`: what `curl --data-binary @-` sends; a paste.
pub(in crate::server) async fn paste(
    State(app): State<App>,
    base: Base,
    Query(wish): Query<Wish>,
    Creator { who, permit, counted }: Creator,
    request: Request,
) -> Result<Response, Problem> {
    let json = wants_json(request.headers());
    let mime = match media_type(request.headers()) {
        mime if mime == BYTES => "text/plain; charset=utf-8".to_owned(),
        mime => mime,
    };
    let password = passwords::asked(&app, &who, request.headers()).await?;
    let most = Some(app.settings.pastes.most(&who));
    let draft = Draft { password, most, ..wish.draft(&app, Kind::Paste, mime)? };
    let link = from_body(&app, &who, permit, draft, request.into_body()).await?;
    let answer = if json { created(&base, &link, &who) } else { created_text(&base, &link) };
    Ok((counted, answer).into_response())
}

fn created(base: &Base, link: &Link, who: &Principal) -> Response {
    let body = axum::Json(render::link(base, link, who));
    (StatusCode::CREATED, [(header::LOCATION, base.link(link))], body).into_response()
}

fn created_text(base: &Base, link: &Link) -> Response {
    let url = base.link(link);
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    (StatusCode::CREATED, [(header::LOCATION, url.clone())], [(header::CONTENT_TYPE, text)], format!("{url}\n"))
        .into_response()
}

async fn from_body(
    app: &App,
    who: &Principal,
    permit: Permit<Create>,
    draft: Draft,
    body: Body,
) -> Result<Link, Problem> {
    let declared = body.size_hint().exact();
    let mut incoming = Incoming::begin(app, who, permit, draft, declared).await?;
    let mut pieces = body.into_data_stream();
    while let Some(piece) = pieces.next().await {
        incoming.write(piece.map_err(|error| broken(&error))?).await?;
    }
    incoming.finish().await
}

pub(in crate::server) fn broken(error: &(dyn std::error::Error + 'static)) -> Problem {
    if is_stalled(error) { Problem::stalled() } else { Problem::interrupted() }
}

/// The parts may come in any order; what the query says holds where the form is silent.
async fn from_form(
    app: &App,
    who: &Principal,
    permit: Permit<Create>,
    mut wish: Wish,
    mut password: Option<PasswordHash>,
    request: Request,
) -> Result<Link, Problem> {
    let mut permit = Some(permit);
    if let Some(size) = request.body().size_hint().exact() {
        app.store.could_take(size.saturating_sub(FORM_OVERHEAD.unsigned_abs()))?;
    }
    let ration = Ration::of(FORM_OVERHEAD);
    let request = request.map(|body| Body::new(Rationed::new(body, ration.clone())));
    let mut form = Multipart::from_request(request, &())
        .await
        .map_err(|error| Problem::bad_request(format!("the multipart form cannot be read: {}", error.body_text())))?;
    let mut received: Option<(Incoming, Option<String>)> = None;
    while let Some(field) = form.next_field().await.map_err(form_error)? {
        ration.handed_out(0);
        match field.name().unwrap_or_default() {
            "file" => {
                let Some(permit) = permit.take() else {
                    return Err(Problem::bad_request("the form has two parts 'file'"));
                };
                let said = field.headers().get(header::CONTENT_DISPOSITION);
                let file_name = said.and_then(|said| disposition::file_name(said.as_bytes()));
                let mime = field.content_type().map_or_else(|| BYTES.to_owned(), clean_media_type);
                let named = Wish {
                    name: wish.name.clone().or_else(|| file_name.clone()),
                    ttl: wish.ttl.clone(),
                    burn: wish.burn.clone(),
                };
                let draft = named.draft(app, Kind::File, mime)?;
                let mut incoming = Incoming::begin(app, who, permit, draft, None).await?;
                let mut field = field;
                while let Some(piece) = field.chunk().await.map_err(form_error)? {
                    ration.handed_out(piece.len());
                    incoming.write(piece).await?;
                }
                received = Some((incoming, file_name));
            }
            "ttl" => wish.ttl = Some(text(field, &ration).await?),
            "name" => wish.name = Some(text(field, &ration).await?).filter(|name| !name.is_empty()),
            "burn" => wish.burn = Some(text(field, &ration).await?),
            "password" => {
                let said = Zeroizing::new(part(field, &ration).await?);
                password = if said.is_empty() { None } else { Some(passwords::hash(app, who, &said).await?) };
            }
            other => {
                let other: String = other.chars().filter(|c| !c.is_control()).take(40).collect();
                return Err(Problem::bad_request(format!("the form has a part '{other}' this server does not know"))
                    .hint("the parts are file, ttl, name, burn and password"));
            }
        }
    }
    let Some((mut incoming, file_name)) = received else {
        return Err(Problem::bad_request("the form has no part 'file'").hint("curl -F file=@build.tar.gz"));
    };
    let wish = Wish { name: wish.name.or(file_name), ..wish };
    let mime = incoming.draft().mime.clone();
    incoming.revise(Draft { password, ..wish.draft(app, Kind::File, mime)? });
    incoming.finish().await
}

/// What a form may have beside its file: boundaries, part headers, the other parts.
const FORM_OVERHEAD: i64 = 64 * 1024;

async fn text(field: axum::extract::multipart::Field<'_>, ration: &Ration) -> Result<String, Problem> {
    let text = String::from_utf8(part(field, ration).await?);
    Ok(text.map_err(|_| Problem::bad_request("a part of the form is not UTF-8"))?.trim().to_owned())
}

/// A small part, whole.
async fn part(mut field: axum::extract::multipart::Field<'_>, ration: &Ration) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    while let Some(piece) = field.chunk().await.map_err(form_error)? {
        ration.handed_out(0);
        if bytes.len() + piece.len() > LONGEST_FIELD {
            return Err(Problem::bad_request(format!("a part of the form is longer than {LONGEST_FIELD} bytes")));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

fn form_error(error: axum::extract::multipart::MultipartError) -> Problem {
    if is_stalled(&error) {
        Problem::stalled()
    } else if is_wordy(&error) {
        Problem::bad_request(format!("the form has more than {FORM_OVERHEAD} bytes beside its file"))
    } else {
        error.into()
    }
}

fn is_form(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.is_some_and(|text| text.trim_start().to_ascii_lowercase().starts_with("multipart/form-data"))
}

fn wants_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    value.is_some_and(|text| text.to_ascii_lowercase().contains("json"))
}

/// What the body is said to be. What curl says by itself of `--data-binary` means nothing.
fn media_type(headers: &HeaderMap) -> String {
    match headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()) {
        None | Some("application/x-www-form-urlencoded") => BYTES.to_owned(),
        Some(text) => clean_media_type(text),
    }
}

/// `type/subtype`, with parameters, if it is sane and short; else nothing in particular.
fn clean_media_type(text: &str) -> String {
    let essence = text.split(';').next().unwrap_or_default().trim();
    let token =
        |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b));
    let sane = essence.split_once('/').is_some_and(|(kind, sub)| token(kind) && token(sub));
    let printable = text.bytes().all(|b| (b' '..=b'~').contains(&b));
    if sane && printable && text.len() <= 127 { text.trim().to_owned() } else { BYTES.to_owned() }
}

/// For handlers that take a small body whole.
pub(in crate::server) async fn small(body: Body, limit: usize) -> Result<Bytes, Problem> {
    axum::body::to_bytes(body, limit)
        .await
        .map_err(|error| if is_too_long(&error) { Problem::body_too_long(limit) } else { broken(&error) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_types_are_kept_only_if_sane() {
        for (given, kept) in [
            ("text/plain", "text/plain"),
            ("text/plain; charset=utf-8", "text/plain; charset=utf-8"),
            ("image/svg+xml", "image/svg+xml"),
            ("nonsense", BYTES),
            ("a/b c", BYTES),
            ("text/\u{e9}", BYTES),
            ("", BYTES),
        ] {
            assert_eq!(clean_media_type(given), kept, "{given}");
        }
    }
}
