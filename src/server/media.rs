//! Media types: what is said of bytes if it is sane and specific, else what the bytes themselves tell.

use axum::http::{HeaderMap, header};

/// Bytes nobody knows anything about.
pub(super) const BYTES: &str = "application/octet-stream";

/// Text of which nothing more is known.
pub(super) const TEXT: &str = "text/plain; charset=utf-8";

/// How many of the first bytes tell all there is to tell.
pub(super) const HEAD: usize = 8192;

/// The type a request gives its body, if that says anything: what curl and browsers say by themselves does not.
pub(super) fn specific(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let cleaned = clean(text)?;
    let essence = cleaned.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let says_nothing = [BYTES, "application/x-www-form-urlencoded", "binary/octet-stream"].contains(&essence.as_str());
    (!says_nothing && !essence.starts_with("multipart/")).then_some(cleaned)
}

/// `type/subtype`, with parameters, if it is sane and short.
pub(super) fn clean(text: &str) -> Option<String> {
    let essence = text.split(';').next().unwrap_or_default().trim();
    let token =
        |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b));
    let sane = essence.split_once('/').is_some_and(|(kind, sub)| token(kind) && token(sub));
    let printable = text.bytes().all(|b| (b' '..=b'~').contains(&b));
    (sane && printable && text.len() <= 127).then(|| text.trim().to_owned())
}

/// What the first bytes tell; `whole`: whether there are no more.
pub(super) fn detect(head: &[u8], whole: bool) -> String {
    if let Some(kind) = infer::get(head) {
        return kind.mime_type().to_owned();
    }
    if is_text(head, whole) { TEXT.to_owned() } else { BYTES.to_owned() }
}

fn is_text(head: &[u8], whole: bool) -> bool {
    if head.contains(&0) {
        return false;
    }
    match std::str::from_utf8(head) {
        Ok(_) => true,
        // The last character may go on in what is not here.
        Err(error) => error.error_len().is_none() && !whole,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn said(value: &str) -> Option<String> {
        let value = header::HeaderValue::from_str(value).expect("a header");
        specific(&HeaderMap::from_iter([(header::CONTENT_TYPE, value)]))
    }

    #[test]
    fn a_type_is_kept_if_it_is_sane_and_says_something() {
        for kept in ["text/plain", "text/html; charset=utf-8", "image/svg+xml", "application/json"] {
            assert_eq!(said(kept).as_deref(), Some(kept));
        }
        let odd = ["", "text", "text/", "/html", "a b/c", "text/\u{e9}", "text/html, text/plain"];
        let mute = ["application/octet-stream", "Application/X-WWW-Form-Urlencoded", "multipart/mixed; boundary=x"];
        for text in odd.iter().chain(&mute) {
            assert_eq!(said(text), None, "{text}");
        }
        assert_eq!(said(&format!("text/{}", "x".repeat(200))), None);
    }

    #[test]
    fn bytes_tell_what_they_are() {
        let cases: [(&[u8], &str); 9] = [
            (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "image/png"),
            (b"\xff\xd8\xff\xe0\0\x10JFIF", "image/jpeg"),
            (b"GIF89a\x01\0\x01\0", "image/gif"),
            (b"%PDF-1.7\n", "application/pdf"),
            (b"\x1f\x8b\x08\0\0\0\0\0", "application/gzip"),
            (b"PK\x03\x04\x14\0\0\0", "application/zip"),
            (b"<!DOCTYPE html><script>1</script>", "text/html"),
            ("na\u{ef}ve text\n".as_bytes(), TEXT),
            (b"\0\x01\x02", BYTES),
        ];
        for (bytes, expected) in cases {
            assert_eq!(detect(bytes, true), expected, "{:?}", String::from_utf8_lossy(bytes));
        }
        let cut = "na\u{ef}".as_bytes();
        assert_eq!((detect(&cut[..3], false).as_str(), detect(&cut[..3], true).as_str()), (TEXT, BYTES));
    }

    proptest! {
        #[test]
        fn whatever_the_bytes_are_the_type_is_sane(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let detected = detect(&bytes, true);
            prop_assert_eq!(clean(&detected), Some(detected));
        }
    }
}
