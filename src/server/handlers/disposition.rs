//! The file name that a part of a form gives, in each of the ways programs write it.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use percent_encoding::percent_decode_str;

/// The name in a part's `Content-Disposition`, not yet made safe. `filename*` (RFC 8187) is the better one where both
/// are there; RFC 7578 does not want it, and much that is in use sends it.
pub(super) fn file_name(header: &[u8]) -> Option<String> {
    let text = text(header);
    let (mut plain, mut extended) = (None, None);
    for (key, value) in parameters(&text) {
        match key.as_str() {
            "filename" => plain = plain.or(Some(value)),
            "filename*" => extended = extended.or_else(|| unescaped(&value)),
            _ => {}
        }
    }
    extended.or_else(|| plain.map(|value| words(&value.replace("%22", "\""))))
}

/// UTF-8 where it is that, else as old programs mean it.
fn text(bytes: &[u8]) -> String {
    std::str::from_utf8(bytes).map_or_else(|_| latin1(bytes), str::to_owned)
}

fn latin1(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

/// The parameters after the first word; keys in lower case.
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut all = Vec::new();
    let mut rest = text.split_once(';').map_or("", |(_, rest)| rest);
    while let Some((key, after)) = rest.split_once('=') {
        let key = key.trim_start_matches([';', ' ', '\t']).trim().to_ascii_lowercase();
        let (value, more) = match after.trim_start().strip_prefix('"') {
            Some(quoted) => unquoted(quoted),
            None => {
                let (value, more) = after.split_once(';').unwrap_or((after, ""));
                (value.trim().to_owned(), more)
            }
        };
        all.push((key, value));
        rest = more;
    }
    all
}

/// What stands before the closing quote, and what after it. Only a quote and a backslash can be escaped: a path with
/// backslashes in it stays one, of which the last part counts.
fn unquoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.char_indices().peekable();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return (value, text.get(at + 1..).unwrap_or_default()),
            '\\' => value.push(characters.next_if(|(_, next)| matches!(next, '"' | '\\')).map_or('\\', |(_, c)| c)),
            other => value.push(other),
        }
    }
    (value, "")
}

/// `UTF-8'en'na%C3%AFve.txt` (RFC 8187).
fn unescaped(value: &str) -> Option<String> {
    let (charset, rest) = value.split_once('\'')?;
    let (_language, escaped) = rest.split_once('\'')?;
    decoded(charset, &percent_decode_str(escaped).collect::<Vec<u8>>())
}

fn decoded(charset: &str, bytes: &[u8]) -> Option<String> {
    match charset.to_ascii_lowercase().as_str() {
        "utf-8" | "us-ascii" => std::str::from_utf8(bytes).ok().map(str::to_owned),
        "iso-8859-1" | "windows-1252" => Some(latin1(bytes)),
        _ => None,
    }
}

/// Encoded words (RFC 2047), as programs made for mail write them; space between two of them is none.
fn words(text: &str) -> String {
    let mut whole = String::new();
    let mut rest = text;
    while let Some((before, at)) = rest.split_once("=?") {
        let Some((word, after)) = word(at) else {
            whole.push_str(before);
            whole.push_str("=?");
            rest = at;
            continue;
        };
        if whole.is_empty() || !before.trim().is_empty() {
            whole.push_str(before);
        }
        whole.push_str(&word);
        rest = after;
    }
    whole + rest
}

/// One encoded word after its `=?`, and what follows it.
fn word(text: &str) -> Option<(String, &str)> {
    let (charset, rest) = text.split_once('?')?;
    let (encoding, rest) = rest.split_once('?')?;
    let (encoded, after) = rest.split_once("?=")?;
    let bytes = match encoding {
        "B" | "b" => BASE64_STANDARD.decode(encoded).ok()?,
        // The same as percent encoding, with another sign.
        "Q" | "q" => percent_decode_str(&encoded.replace('%', "%25").replace('=', "%").replace('_', " ")).collect(),
        _ => return None,
    };
    Some((decoded(charset, &bytes)?, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_each_program_writes_them() {
        for (header, name) in [
            (r#"form-data; name="file""#, None),
            (r#"form-data; name="file"; filename="a.txt""#, Some("a.txt")),
            (r#"form-data;filename=a.txt;name=file"#, Some("a.txt")),
            (r#"form-data; NAME="file"; FileName = "a.txt" "#, Some("a.txt")),
            // Browsers and newer curl; older curl.
            (r#"form-data; name="file"; filename="say %22hi%22.txt""#, Some("say \"hi\".txt")),
            (r#"form-data; name="file"; filename="say \"hi\".txt""#, Some("say \"hi\".txt")),
            (r#"form-data; name="file"; filename="C:\Users\me\a.txt""#, Some(r"C:\Users\me\a.txt")),
            (r#"form-data; name="file"; filename="a;b=c.txt""#, Some("a;b=c.txt")),
            (r#"form-data; name="filename=x"; filename="a""#, Some("a")),
            ("form-data; name=\"file\"; filename=\"na\u{ef}ve.txt\"", Some("na\u{ef}ve.txt")),
            // Programs that do as RFC 5987 and 8187 say, with and without the other.
            ("form-data; name=\"file\"; filename*=UTF-8''na%C3%AFve%20%22x%22.txt", Some("na\u{ef}ve \"x\".txt")),
            ("form-data; filename=\"nave.txt\"; filename*=utf-8'en'na%c3%afve.txt", Some("na\u{ef}ve.txt")),
            ("form-data; filename*=ISO-8859-1''na%EFve.txt", Some("na\u{ef}ve.txt")),
            ("form-data; filename=\"a.txt\"; filename*=KOI8-R''%C1", Some("a.txt")),
            ("form-data; filename=\"a.txt\"; filename*=UTF-8''%FF%FE", Some("a.txt")),
            // Programs made for mail.
            ("form-data; filename=\"=?UTF-8?B?bmHDr3ZlLnR4dA==?=\"", Some("na\u{ef}ve.txt")),
            ("form-data; filename=\"=?utf-8?Q?na=C3=AFve_50%.txt?=\"", Some("na\u{ef}ve 50%.txt")),
            ("form-data; filename=\"=?utf-8?Q?na?= =?utf-8?Q?=C3=AFve?=.txt\"", Some("na\u{ef}ve.txt")),
            ("form-data; filename=\"what=?.txt\"", Some("what=?.txt")),
            ("form-data; filename=\"=?x?B?????=\"", Some("=?x?B?????=")),
            // An end that is missing.
            ("form-data; filename=\"a.txt", Some("a.txt")),
            ("form-data; filename=", Some("")),
        ] {
            assert_eq!(file_name(header.as_bytes()).as_deref(), name, "{header}");
        }
        assert_eq!(file_name(b"form-data; filename=\"na\xefve.txt\"").as_deref(), Some("na\u{ef}ve.txt"));
    }

    proptest::proptest! {
        #[test]
        fn whatever_comes_is_read_to_an_end(header in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let text = text(&header);
            let quoted = format!("form-data; filename=\"{text}\"");
            for name in [file_name(&header), file_name(quoted.as_bytes())].into_iter().flatten() {
                proptest::prop_assert!(name.chars().count() <= text.chars().count(), "{name:?} is more than {text:?}");
            }
            proptest::prop_assert!(file_name(quoted.as_bytes()).is_some());
        }
    }
}
