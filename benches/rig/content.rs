//! What goes up and must come down again: random bytes, repeated.

use anyhow::{Result, anyhow, ensure};
use ring::rand::{SecureRandom as _, SystemRandom};

const PERIOD: usize = 1024 * 1024;
const PIECE: usize = 256 * 1024;

/// An endless sequence of random bytes with a period of 1 MiB.
pub(crate) struct Content(Vec<u8>);

impl Content {
    pub(crate) fn random() -> Result<Self> {
        let mut bytes = vec![0; PERIOD];
        SystemRandom::new().fill(&mut bytes).map_err(|_| anyhow!("no random bytes"))?;
        Ok(Self(bytes))
    }

    /// These bytes; no more of them can be asked for than there are.
    pub(crate) fn of(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Bytes that take no room in a file with a hole.
    pub(crate) fn zeros() -> Self {
        Self(vec![0; PERIOD])
    }

    /// No bytes at all.
    pub(crate) const fn nothing() -> Self {
        Self(Vec::new())
    }

    /// The first `size` bytes, to be sent or to be held against what comes.
    pub(crate) fn first(&self, size: u64) -> Cursor<'_> {
        Cursor { content: self, at: 0, left: size }
    }
}

/// A place in a [`Content`], and how many bytes are still to come.
pub(crate) struct Cursor<'a> {
    content: &'a Content,
    at: usize,
    left: u64,
}

impl<'a> Cursor<'a> {
    /// Up to `most` of the bytes that come next; none at the end.
    fn take(&mut self, most: usize) -> &'a [u8] {
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        let end = self.at.saturating_add(most.min(left)).min(PERIOD);
        let piece = self.content.0.get(self.at..end).unwrap_or_default();
        self.at = end % PERIOD;
        self.left -= piece.len() as u64;
        piece
    }

    /// The next piece to send; `None` at the end.
    pub(crate) fn piece(&mut self) -> Option<&'a [u8]> {
        Some(self.take(PIECE)).filter(|piece| !piece.is_empty())
    }

    /// Whether `given` is what comes next.
    ///
    /// # Errors
    /// When it differs or is too long.
    pub(crate) fn check(&mut self, mut given: &[u8]) -> Result<()> {
        while !given.is_empty() {
            let wanted = self.take(given.len());
            ensure!(!wanted.is_empty(), "more bytes came back than went up");
            let (head, tail) = given.split_at(wanted.len());
            ensure!(head == wanted, "other bytes came back than went up");
            given = tail;
        }
        Ok(())
    }

    /// # Errors
    /// When bytes are missing.
    pub(crate) fn finish(self) -> Result<()> {
        ensure!(self.left == 0, "fewer bytes came back than went up");
        Ok(())
    }
}
