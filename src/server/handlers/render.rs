//! Links as the caller sees them.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{Uri, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

use crate::api;
use crate::identity::{Owner, Principal, Tier};
use crate::link::Link;
use crate::server::App;
use crate::server::outside::Outside;
use crate::server::problem::Problem;

/// What links begin with, for the caller of this request; ends with a slash.
#[derive(Clone, Debug)]
pub(in crate::server) struct Base(Url);

impl FromRequestParts<App> for Base {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        if let Some(url) = &app.settings.public_url {
            return Ok(Self(url.clone()));
        }
        let outside = parts.extensions.get::<Outside>();
        let scheme = if outside.is_some_and(|outside| outside.https) { "https" } else { "http" };
        let told = outside.and_then(|outside| outside.host.clone());
        let host = told.or_else(|| host(parts)).ok_or_else(|| Problem::bad_request("the request names no host"))?;
        let path = format!("{}/", app.settings.url_prefix);
        match Url::parse(&format!("{scheme}://{host}{path}")) {
            Ok(url) if url.path() == path && url.username().is_empty() && url.password().is_none() => Ok(Self(url)),
            _ => Err(Problem::bad_request("the request's host is not one")),
        }
    }
}

/// HTTP/2's `:authority` is in the URI, HTTP/1.1's host in its header.
fn host(parts: &Parts) -> Option<String> {
    let from_uri = Uri::authority(&parts.uri).map(|authority| authority.as_str().to_owned());
    from_uri.or_else(|| parts.headers.get(header::HOST)?.to_str().ok().map(str::to_owned))
}

impl Base {
    /// Where a link can be fetched.
    pub(in crate::server) fn link(&self, link: &Link) -> String {
        format!("{}{}", self.0, link.id)
    }

    /// The server itself.
    pub(in crate::server) fn url(&self) -> &Url {
        &self.0
    }
}

/// A link for its owner. Whose it is, is told to admins only.
pub(in crate::server) fn link(base: &Base, link: &Link, who: &Principal) -> api::Link {
    api::Link {
        id: link.id.to_string(),
        url: base.link(link),
        kind: link.kind,
        name: link.name.as_ref().map(ToString::to_string),
        mime_type: link.mime.clone(),
        size: link.size,
        sha256: link.sha256.to_string(),
        created_at: link.created_at,
        expires_at: link.expires_at,
        burn: link.burn,
        password_protected: link.password.is_some(),
        target: link.target.clone(),
        owner: (who.tier == Tier::Admin && link.owner != Owner::Anonymous).then(|| link.owner.to_string()),
    }
}

/// What RFC 8187 section 3.2.1 lets stand unescaped (`attr-char`).
const ATTR_CHAR: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// `Content-Disposition` (RFC 6266): a plain name for old programs, and the true one beside it if they differ.
pub(in crate::server) fn disposition(kind: &str, name: Option<&str>) -> String {
    let Some(name) = name else { return kind.to_owned() };
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\\' | '%') || c == ' ';
    let fallback: String = name.chars().map(|c| if plain(c) { c } else { '_' }).collect();
    if fallback == name {
        return format!("{kind}; filename=\"{name}\"");
    }
    format!("{kind}; filename=\"{fallback}\"; filename*=UTF-8''{}", utf8_percent_encode(name, ATTR_CHAR))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_offered_to_old_and_new_programs() {
        assert_eq!(disposition("attachment", None), "attachment");
        assert_eq!(disposition("attachment", Some("a b.txt")), "attachment; filename=\"a b.txt\"");
        assert_eq!(
            disposition("attachment", Some("na\u{ef}ve \"x\".txt")),
            "attachment; filename=\"na_ve _x_.txt\"; filename*=UTF-8''na%C3%AFve%20%22x%22.txt"
        );
        assert_eq!(disposition("inline", Some("50%.txt")), "inline; filename=\"50_.txt\"; filename*=UTF-8''50%25.txt");
    }
}
