//! Quantities with a unit: instants, lifetimes, sizes; how each is read and how it is shown.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{Schema, SchemaGenerator, json_schema};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// An instant, in milliseconds since 1970-01-01T00:00:00Z.
///
/// Shown and sent as RFC 3339 in UTC with whole seconds, rounded down, so that an expiry is never promised later
/// than it is enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The instant `millis` milliseconds after the Unix epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// The instant `secs` seconds after the Unix epoch.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down.
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// This instant plus `span`; the far end of time instead of an overflow.
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }

    /// This instant less `span`; the far end of time instead of an overflow.
    pub fn before(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }

    /// How much later this is than `earlier`; zero if it is not.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// The same instant as the `time` crate has it, to the second.
    pub fn to_offset(self) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(self.as_secs()).unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }
}

impl From<OffsetDateTime> for Timestamp {
    fn from(at: OffsetDateTime) -> Self {
        Self(i64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_offset().format(&Rfc3339).map_err(|_| fmt::Error)?)
    }
}

impl FromStr for Timestamp {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        OffsetDateTime::parse(text, &Rfc3339).map(Self::from).map_err(|_| Error::Timestamp(text.to_owned()))
    }
}

impl serde::Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

impl schemars::JsonSchema for Timestamp {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Timestamp".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date-time" })
    }
}

/// How long something lives: a span, or for ever.
///
/// Written as a whole number and one of `s m h d w` (`90s`, `30m`, `2h`, `7d`, `4w`), or `inf`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ttl {
    /// This long; never zero.
    For(Duration),
    /// No end.
    Forever,
}

impl Ttl {
    /// When something that begins at `now` ends; `None` is never.
    pub fn from(self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::For(span) => Some(now.after(span)),
            Self::Forever => None,
        }
    }
}

/// The longest lifetime that is not `inf`: a hundred years. More is a slip of the hand.
const LONGEST: u64 = 100 * 365 * 24 * 3600;

impl FromStr for Ttl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = || Error::Ttl(text.to_owned());
        let text = text.trim();
        if text.eq_ignore_ascii_case("inf") {
            return Ok(Self::Forever);
        }
        let unit = text.chars().next_back().ok_or_else(bad)?;
        let scale = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 24 * 3600,
            'w' => 7 * 24 * 3600,
            _ => return Err(bad()),
        };
        let digits = text.strip_suffix(unit).ok_or_else(bad)?;
        if !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(bad());
        }
        let count: u64 = digits.parse().map_err(|_| bad())?;
        match count.checked_mul(scale) {
            Some(secs @ 1..=LONGEST) => Ok(Self::For(Duration::from_secs(secs))),
            _ => Err(bad()),
        }
    }
}

impl schemars::JsonSchema for Ttl {
    fn schema_name() -> Cow<'static, str> {
        "Ttl".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "How long something lives: a whole number and one of s, m, h, d and w, or inf; a hundred years at most.",
            // Digits enough for a hundred years, and none that would be more.
            "pattern": "^(inf|[1-9][0-9]{0,8}s|[1-9][0-9]{0,6}m|[1-9][0-9]{0,4}h|[1-9][0-9]{0,3}d|[1-9][0-9]{0,2}w)$",
            "examples": ["30m", "2h", "7d", "inf"],
        })
    }
}

impl fmt::Display for Ttl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::For(span) = self else { return f.write_str("inf") };
        let secs = span.as_secs();
        let (scale, unit) = [(24 * 3600, 'd'), (3600, 'h'), (60, 'm')]
            .into_iter()
            .find(|(scale, _)| secs >= *scale && secs % scale == 0)
            .unwrap_or((1, 's'));
        write!(f, "{}{unit}", secs / scale)
    }
}

/// A number of bytes, shown for people in binary units (`1.5 MiB`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// Bytes in one MiB.
pub const MIB: u64 = 1024 * 1024;

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        if self.0 < 1024 {
            return write!(f, "{} B", self.0);
        }
        #[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
        let mut value = self.0 as f64 / 1024.0;
        let mut units = UNITS.iter();
        let mut unit = units.next().unwrap_or(&"KiB");
        // 1023.95 would be shown as 1024.0, which is one of the next unit.
        while value >= 1023.95 {
            let Some(next) = units.next() else { break };
            value /= 1024.0;
            unit = next;
        }
        write!(f, "{value:.1} {unit}")
    }
}

/// Fills an array with unpredictable bytes from the operating system.
///
/// # Errors
/// When the operating system's generator fails, which on a running Linux it does not.
pub fn random<const N: usize>() -> Result<[u8; N], Error> {
    use ring::rand::SecureRandom as _;
    let mut bytes = [0; N];
    ring::rand::SystemRandom::new().fill(&mut bytes).map_err(|_| Error::Random)?;
    Ok(bytes)
}

/// What could not be read as a quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not a lifetime.
    #[error("'{0}' is not a lifetime: use a whole number and s, m, h, d or w, such as 30m, 2h or 7d, or inf")]
    Ttl(String),
    /// Not an RFC 3339 time.
    #[error("'{0}' is not an RFC 3339 time such as 2026-01-31T12:00:00Z")]
    Timestamp(String),
    /// The operating system gave no random bytes.
    #[error("the operating system's random number generator failed")]
    Random,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_are_read_and_shown() {
        for (text, secs) in [("90s", 90), ("30m", 1800), ("2h", 7200), ("7d", 604_800), ("4w", 2_419_200)] {
            assert_eq!(text.parse(), Ok(Ttl::For(Duration::from_secs(secs))), "{text}");
        }
        assert_eq!("inf".parse(), Ok(Ttl::Forever));
        assert_eq!(Ttl::For(Duration::from_secs(5400)).to_string(), "90m");
        assert_eq!(Ttl::For(Duration::from_secs(48 * 3600)).to_string(), "2d");
    }

    #[test]
    fn what_is_no_lifetime_is_refused() {
        for text in
            ["", "h", "2", "-2h", "+2h", "0h", "2.5h", "2 h", "2y", "2ħ", "99999999999999999999d", "20000w", "١h"]
        {
            assert!(text.parse::<Ttl>().is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_shown_in_binary_units() {
        for (bytes, text) in
            [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (MIB - 1, "1.0 MiB"), (u64::MAX, "16.0 EiB")]
        {
            assert_eq!(Size(bytes).to_string(), text);
        }
    }

    #[test]
    fn times_round_down_to_the_second() {
        let at = Timestamp::from_millis(1_700_000_000_999);
        assert_eq!(at.to_string(), "2023-11-14T22:13:20Z");
        assert_eq!("2023-11-14T22:13:20Z".parse(), Ok(Timestamp::from_secs(1_700_000_000)));
    }
}
