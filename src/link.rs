//! Links: the short id, what it leads to, and every rule about them that needs no input or output.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{Schema, SchemaGenerator, json_schema};

use crate::identity::{Owner, Sha256};
use crate::units::{self, Timestamp, Ttl};

pub mod target;

/// The short id of a link: whoever has it may read what it leads to, so it cannot be guessed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(String);

impl LinkId {
    /// Characters in an id made here: 16 of an alphabet of 62 are 95 bits.
    pub const LENGTH: usize = 16;

    /// A new one that nobody can foresee.
    ///
    /// # Errors
    /// When the operating system gives no random bytes.
    pub fn random() -> Result<Self, units::Error> {
        Ok(Self(random_base62(Self::LENGTH)?))
    }

    /// Characters in the id of a short URL: 48 bits, since what it leads to is mostly known to others anyway.
    pub const SHORT: usize = 8;

    /// A short one. There may be one like it already.
    ///
    /// # Errors
    /// When the operating system gives no random bytes.
    pub fn random_short() -> Result<Self, units::Error> {
        Ok(Self(random_base62(Self::SHORT)?))
    }

    /// As it stands in a URL.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for LinkId {
    type Err = Error;

    /// Reads 4 to 64 letters, digits, `-` and `_`: what we make, and what older programs made.
    fn from_str(text: &str) -> Result<Self, Error> {
        let right = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if (4..=64).contains(&text.len()) && text.bytes().all(right) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::Id(text.chars().take(80).collect()))
        }
    }
}

impl schemars::JsonSchema for LinkId {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "LinkId".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9A-Za-z_-]{4,64}$" })
    }
}

impl fmt::Display for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Digits and letters, in ASCII's order.
pub const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// `length` characters of `0-9A-Za-z`, each equally likely.
///
/// # Errors
/// When the operating system gives no random bytes.
pub fn random_base62(length: usize) -> Result<String, units::Error> {
    let mut text = String::with_capacity(length);
    while text.len() < length {
        // The two values of six bits that are no index are thrown away, so that no character is likelier than another.
        let more = units::random::<32>()?;
        let picked = more.iter().filter_map(|b| BASE62.get(usize::from(b & 63)));
        text.extend(picked.take(length - text.len()).map(|b| char::from(*b)));
    }
    Ok(text)
}

/// What a link leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Bytes with a file name, offered for saving.
    File,
    /// Text or an image, shown where that is safe.
    Paste,
    /// Another address.
    Url,
}

impl Kind {
    /// As it is kept.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Paste => "paste",
            Self::Url => "url",
        }
    }
}

impl FromStr for Kind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "file" => Ok(Self::File),
            "paste" => Ok(Self::Paste),
            "url" => Ok(Self::Url),
            _ => Err(Error::Kind(text.to_owned())),
        }
    }
}

/// A file name that is only a name: no path, no control characters, at most 255 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FileName(String);

impl FileName {
    /// The longest name a common file system takes, in bytes of UTF-8.
    pub const LONGEST: usize = 255;

    /// The safe part of whatever a caller gave: what follows the last slash of either kind, less control and
    /// direction-changing characters, shortened before its extension. `None` when nothing is left.
    pub fn clean(text: &str) -> Option<Self> {
        let last = text.rsplit(['/', '\\']).next().unwrap_or(text);
        let kept: String = last.chars().filter(|c| !c.is_control() && !turns_text(*c)).collect();
        let kept = kept.trim();
        if kept.is_empty() || kept.bytes().all(|b| b == b'.') {
            return None;
        }
        Some(Self(shorten(kept, Self::LONGEST)))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a character changes the direction of the text around it or hides: `exe.gpj` must not read `jpg.exe`.
pub fn turns_text(c: char) -> bool {
    matches!(c, '\u{61C}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2028}' | '\u{2029}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}')
}

fn shorten(name: &str, longest: usize) -> String {
    if name.len() <= longest {
        return name.to_owned();
    }
    let (stem, extension) = match name.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() && extension.len() <= 16 => (stem, format!(".{extension}")),
        _ => (name, String::new()),
    };
    let mut room = longest.saturating_sub(extension.len());
    while !stem.is_char_boundary(room) {
        room = room.saturating_sub(1);
    }
    format!("{}{extension}", stem.get(..room).unwrap_or_default())
}

/// What is kept of a password: a salted hash, which is shown to nobody.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// One that was kept, or made by [`crate::password`].
    pub fn from_kept(text: String) -> Self {
        Self(text)
    }

    /// As it is kept.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash")
    }
}

/// A link as it stands: its bytes are whole and on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its id.
    pub id: LinkId,
    /// What it leads to.
    pub kind: Kind,
    /// Whose it is.
    pub owner: Owner,
    /// The name it is offered under.
    pub name: Option<FileName>,
    /// The media type of the bytes.
    pub mime: String,
    /// Bytes.
    pub size: u64,
    /// Of the bytes.
    pub sha256: Sha256,
    /// Under which name the bytes are kept.
    pub blob: String,
    /// When it was complete.
    pub created_at: Timestamp,
    /// When it ends; `None` is never.
    pub expires_at: Option<Timestamp>,
    /// Whether the first reader is the last.
    pub burn: bool,
    /// How long after its last reading it ends, if that is what ends it.
    pub idle: Option<Duration>,
    /// When it was last read, as far as that was noted; `None` is never.
    pub accessed_at: Option<Timestamp>,
    /// Without the password it leads nowhere.
    pub password: Option<PasswordHash>,
    /// Where a link of kind [`Kind::Url`] leads.
    pub target: Option<String>,
}

impl Link {
    /// Whether it has ended by `now`.
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }

    /// The same after a reading.
    #[must_use]
    pub fn touched(self, at: Timestamp) -> Self {
        match self.idle {
            Some(idle) if !self.burn => Self { expires_at: Some(at.after(idle)), accessed_at: Some(at), ..self },
            _ => self,
        }
    }

    /// Whether a reading now would keep it alive for longer, and by so much that this is worth noting: a hundredth of
    /// its idle time, five minutes at most.
    pub fn is_worth_touching(&self, now: Timestamp) -> bool {
        const MOST: Duration = Duration::from_secs(300);
        let Some(idle) = self.idle.filter(|_| !self.burn) else { return false };
        now.since(self.accessed_at.unwrap_or(self.created_at)) >= (idle / 100).min(MOST)
    }
}

/// What is known of a link before its bytes.
#[derive(Clone, Debug)]
pub struct Draft {
    /// What it will lead to.
    pub kind: Kind,
    /// The name it will be offered under.
    pub name: Option<FileName>,
    /// The media type of the bytes.
    pub mime: String,
    /// How long it will live once it is complete.
    pub ttl: Ttl,
    /// Whether each reading begins its lifetime anew.
    pub idle: bool,
    /// Whether the first reader is the last.
    pub burn: bool,
    /// Without the password it will lead nowhere.
    pub password: Option<PasswordHash>,
    /// Bytes it may have, if that is less than any may have.
    pub most: Option<u64>,
}

impl Draft {
    /// How long after its last reading a link made of it ends, if that is what ends it.
    pub fn idle_time(&self) -> Option<Duration> {
        match self.ttl {
            Ttl::For(span) if self.idle => Some(span),
            _ => None,
        }
    }
}

/// What is to be different about a link.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// A new lifetime, from now, which no reading makes longer.
    pub ttl: Option<Ttl>,
    /// A new name, or none.
    pub name: Option<Option<FileName>>,
    /// A new password, or none.
    pub password: Option<Option<PasswordHash>>,
}

/// How long links may live.
#[derive(Clone, Copy, Debug)]
pub struct Lifetimes {
    /// When nothing is asked for.
    pub default: Ttl,
    /// At most.
    pub max: Ttl,
}

impl Lifetimes {
    /// The lifetime to give to one who asked for `asked`.
    ///
    /// # Errors
    /// When that is longer than the maximum.
    pub fn resolve(&self, asked: Option<Ttl>) -> Result<Ttl, Error> {
        match asked {
            None => Ok(self.default.min(self.max)),
            Some(ttl) if ttl <= self.max => Ok(ttl),
            Some(ttl) => Err(Error::TooLong { asked: ttl, max: self.max }),
        }
    }
}

/// What is wrong with what was said about a link.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not an id.
    #[error("'{0}' is not a link id: an id is 4 to 64 letters, digits, '-' and '_'")]
    Id(String),
    /// Not a kind.
    #[error("'{0}' is not a kind of link: file, paste or url")]
    Kind(String),
    /// Longer than allowed.
    #[error("a lifetime of {asked} is longer than the {max} this server allows")]
    TooLong {
        /// What was asked for.
        asked: Ttl,
        /// What is allowed.
        max: Ttl,
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ids_are_long_and_differ() {
        let one = LinkId::random().expect("random bytes");
        assert_eq!(one.as_str().len(), LinkId::LENGTH);
        assert_eq!(one.as_str().parse(), Ok(one.clone()));
        assert_ne!(Ok(one), LinkId::random());
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in ["", "abc", "../../etc", "a b c d", "abcd\n", "ünïcode", &"a".repeat(65)] {
            assert!(text.parse::<LinkId>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn names_lose_their_path_and_what_cannot_be_seen() {
        for (given, kept) in [
            ("build.tar.gz", Some("build.tar.gz")),
            ("../../etc/passwd", Some("passwd")),
            ("C:\\Users\\me\\a.txt", Some("a.txt")),
            ("naïve \"plan\".pdf", Some("naïve \"plan\".pdf")),
            ("a\r\nSet-Cookie: x", Some("aSet-Cookie: x")),
            ("photo\u{202E}gpj.exe", Some("photogpj.exe")),
            (".bashrc", Some(".bashrc")),
            ("..", None),
            ("dir/", None),
            (" \t", None),
        ] {
            assert_eq!(FileName::clean(given).as_ref().map(FileName::as_str), kept, "{given:?}");
        }
    }

    #[test]
    fn long_names_keep_their_extension() {
        let name = FileName::clean(&format!("{}.tar", "ä".repeat(300))).expect("a name");
        assert!(name.as_str().len() <= FileName::LONGEST);
        assert!(name.as_str().ends_with("ä.tar"));
    }

    #[test]
    fn lifetimes_have_a_ceiling() {
        let hours = |h: u64| Ttl::For(Duration::from_secs(h * 3600));
        let rule = Lifetimes { default: hours(1), max: hours(48) };
        assert_eq!(rule.resolve(None), Ok(hours(1)));
        assert_eq!(rule.resolve(Some(hours(48))), Ok(hours(48)));
        assert!(rule.resolve(Some(hours(49))).is_err());
        assert!(rule.resolve(Some(Ttl::Forever)).is_err());
        assert_eq!(Lifetimes { max: Ttl::Forever, ..rule }.resolve(Some(Ttl::Forever)), Ok(Ttl::Forever));
    }

    proptest! {
        #[test]
        fn a_cleaned_name_is_never_a_path(given in any::<String>()) {
            if let Some(name) = FileName::clean(&given) {
                let name = name.as_str();
                prop_assert!(!name.is_empty() && name.len() <= FileName::LONGEST);
                prop_assert!(!name.contains(['/', '\\', '\0', '\n', '\r']) && name != "." && name != "..");
                prop_assert_eq!(FileName::clean(name).map(|again| again.0), Some(name.to_owned()));
            }
        }
    }
}
