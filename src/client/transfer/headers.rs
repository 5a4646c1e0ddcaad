//! What the headers of an answer say about the content.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use percent_encoding::percent_decode_str;
use reqwest::header::{self, HeaderMap, HeaderName};
use serde::Serialize;

use crate::api;
use crate::identity::Sha256;
use crate::link::FileName;

/// What is known of the content before its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Described {
    /// The name it is offered under.
    pub name: Option<String>,
    /// Bytes.
    pub size: Option<u64>,
    /// The media type.
    pub mime_type: Option<String>,
    /// SHA-256 in hex.
    pub sha256: Option<String>,
    /// The tag of this version, if it is a strong one.
    pub etag: Option<String>,
}

impl Described {
    /// What these headers of a whole answer say.
    pub fn by(headers: &HeaderMap) -> Self {
        let etag = value(headers, &header::ETAG).filter(|tag| tag.starts_with('"'));
        Self {
            name: value(headers, &header::CONTENT_DISPOSITION).and_then(file_name).map(|name| name.to_string()),
            size: value(headers, &header::CONTENT_LENGTH).and_then(|text| text.parse().ok()),
            mime_type: value(headers, &header::CONTENT_TYPE).map(str::to_owned),
            sha256: repr_digest(headers).map(|digest| digest.to_string()),
            etag: etag.map(str::to_owned),
        }
    }
}

fn value<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// The SHA-256 of the whole content, by RFC 9530's `Repr-Digest`.
pub fn repr_digest(headers: &HeaderMap) -> Option<Sha256> {
    let text = headers.get(api::header::REPR_DIGEST)?.to_str().ok()?;
    text.split(',').find_map(|member| {
        let encoded = member.trim().strip_prefix("sha-256=:")?.strip_suffix(':')?;
        Some(Sha256(BASE64_STANDARD.decode(encoded).ok()?.try_into().ok()?))
    })
}

/// First byte and whole size by `Content-Range` (RFC 9110 section 14.4).
pub fn content_range(headers: &HeaderMap) -> Option<(u64, u64)> {
    let (span, size) = value(headers, &header::CONTENT_RANGE)?.strip_prefix("bytes ")?.split_once('/')?;
    Some((span.split_once('-')?.0.parse().ok()?, size.parse().ok()?))
}

/// The file name of a `Content-Disposition` (RFC 6266): the extended form first.
pub fn file_name(disposition: &str) -> Option<FileName> {
    let parameters = parameters(disposition);
    let of = |name: &str| parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
    let extended = of("filename*").and_then(|value| {
        let encoded = value.get(..7).filter(|head| head.eq_ignore_ascii_case("utf-8''")).and(value.get(7..))?;
        percent_decode_str(encoded).decode_utf8().ok().map(String::from)
    });
    FileName::clean(&extended.or_else(|| of("filename").cloned())?)
}

/// The parameters of a header value: tokens or quoted strings.
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut chars = text.chars().peekable();
    while chars.by_ref().any(|c| c == ';') {
        let key: String = std::iter::from_fn(|| chars.next_if(|c| *c != '=' && *c != ';')).collect();
        if chars.next_if_eq(&'=').is_none() {
            continue;
        }
        let mut value = String::new();
        if chars.next_if_eq(&'"').is_some() {
            while let Some(c) = chars.next().filter(|c| *c != '"') {
                value.extend(if c == '\\' { chars.next() } else { Some(c) });
            }
        } else {
            value = std::iter::from_fn(|| chars.next_if(|c| *c != ';')).collect();
        }
        found.push((key.trim().to_owned(), value.trim().to_owned()));
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use reqwest::header::HeaderValue;

    use super::*;

    #[test]
    fn file_names_are_read_in_both_forms() {
        for (text, name) in [
            ("attachment; filename=\"a b.txt\"", Some("a b.txt")),
            ("attachment; filename=plain.txt", Some("plain.txt")),
            ("attachment; filename=\"x\"; filename*=UTF-8''na%C3%AFve%20plan.pdf", Some("naïve plan.pdf")),
            ("attachment; filename=\"say \\\"hi\\\".txt\"", Some("say \"hi\".txt")),
            ("attachment; filename=\"../../etc/passwd\"", Some("passwd")),
            ("attachment; filename*=UTF-8''..%2F..%2Fetc%2Fpasswd", Some("passwd")),
            ("attachment; filename=\"a;b.txt\"", Some("a;b.txt")),
            ("attachment; filename*=latin1''x; filename=y", Some("y")),
            ("attachment", None),
            ("inline; filename=\"..\"", None),
        ] {
            assert_eq!(file_name(text).as_ref().map(FileName::as_str), name, "{text}");
        }
    }

    #[test]
    fn digests_and_ranges_are_read() {
        let mut headers = HeaderMap::new();
        let empty = "sha-512=:AAAA:, sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:";
        headers.insert(api::header::REPR_DIGEST, HeaderValue::from_static(empty));
        headers.insert(header::CONTENT_RANGE, HeaderValue::from_static("bytes 5-9/10"));
        assert_eq!(repr_digest(&headers), Some(Sha256::of(b"")));
        assert_eq!(content_range(&headers), Some((5, 10)));
        headers.insert(api::header::REPR_DIGEST, HeaderValue::from_static("sha-256=:short:"));
        headers.insert(header::CONTENT_RANGE, HeaderValue::from_static("bytes */10"));
        assert_eq!((repr_digest(&headers), content_range(&headers)), (None, None));
    }

    proptest! {
        #[test]
        fn any_disposition_is_survived(text in any::<String>()) {
            if let Some(name) = file_name(&text) {
                prop_assert!(!name.as_str().contains('/'));
            }
        }
    }
}
