//! What bytes look like: how many they are, and how evenly the 256 values are spread among them.

/// What content has to be.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ContentRule {
    /// Bytes it has at least; 0 asks for none.
    pub min_size: u64,
    /// Bits of entropy a byte has at least, from 0 to 8; 0 asks for none.
    pub min_entropy: f64,
    /// Content of fewer bytes may have any entropy: few bytes cannot have much.
    pub min_entropy_size: u64,
}

/// Why it is not taken.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum Unfit {
    /// Too few bytes.
    #[error("Paste too small")]
    TooSmall {
        /// How many came.
        size: u64,
        /// How many there have to be.
        min_size: u64,
    },
    /// Too regular: text rather than something encrypted.
    #[error("Content entropy too low")]
    LowEntropy {
        /// Bits of entropy a byte, to the hundredth.
        entropy: f64,
        /// What is asked for.
        min_entropy: f64,
    },
}

/// Looks at content while it passes.
#[derive(Clone, Debug)]
pub struct Look {
    rule: ContentRule,
    size: u64,
    /// How often each value came; only counted where it is asked for.
    values: Option<Box<[u64; 256]>>,
}

impl Look {
    /// At content that has to follow this rule.
    pub fn new(rule: ContentRule) -> Self {
        let values = (rule.min_entropy > 0.0).then(|| Box::new([0; 256]));
        Self { rule, size: 0, values }
    }

    /// The next bytes.
    pub fn at(&mut self, bytes: &[u8]) {
        self.size = self.size.saturating_add(bytes.len() as u64);
        let Some(values) = &mut self.values else { return };
        for byte in bytes {
            if let Some(times) = values.get_mut(usize::from(*byte)) {
                *times += 1;
            }
        }
    }

    /// Whether all of it together will do.
    ///
    /// # Errors
    /// [`Unfit`], with the reason.
    pub fn judge(&self) -> Result<(), Unfit> {
        let ContentRule { min_size, min_entropy, min_entropy_size } = self.rule;
        if self.size < min_size {
            return Err(Unfit::TooSmall { size: self.size, min_size });
        }
        let Some(values) = &self.values else { return Ok(()) };
        let entropy = entropy(&**values, self.size);
        if self.size >= min_entropy_size && entropy < min_entropy {
            return Err(Unfit::LowEntropy { entropy: (entropy * 100.0).floor() / 100.0, min_entropy });
        }
        Ok(())
    }
}

/// Shannon's, in bits a byte.
#[expect(clippy::cast_precision_loss, reason = "a share of 2^53 bytes is exact enough")]
fn entropy(values: &[u64], size: u64) -> f64 {
    let share = |times: &u64| *times as f64 / size as f64;
    values.iter().filter(|times| **times > 0).map(share).map(|share| -share * share.log2()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(rule: ContentRule, pieces: &[&[u8]]) -> Result<(), Unfit> {
        let mut look = Look::new(rule);
        pieces.iter().for_each(|piece| look.at(piece));
        look.judge()
    }

    const ENCRYPTED_ONLY: ContentRule = ContentRule { min_size: 0, min_entropy: 7.0, min_entropy_size: 256 };

    #[test]
    fn f13_entropy_is_shannons() {
        let every: Vec<u8> = (0..=255).collect();
        let counts = |bytes: &[u8]| {
            let mut look = Look::new(ENCRYPTED_ONLY);
            look.at(bytes);
            entropy(&look.values.expect("counted")[..], look.size)
        };
        assert!((counts(&every) - 8.0).abs() < 1e-9);
        assert!((counts(&every[..2]) - 1.0).abs() < 1e-9);
        assert!(counts(&[7; 1000]).abs() < 1e-9);
        assert!((counts(b"aaab") - 0.811_278).abs() < 1e-5);
    }

    #[test]
    fn f13_what_is_long_and_regular_is_refused_however_it_is_cut() {
        let text = "it was the best of times, it was the worst of times. ".repeat(10);
        let (head, tail) = text.as_bytes().split_at(99);
        let Err(Unfit::LowEntropy { entropy, min_entropy }) = judge(ENCRYPTED_ONLY, &[head, b"", tail]) else {
            panic!("text was taken")
        };
        assert!((3.0..4.5).contains(&entropy) && min_entropy == 7.0, "{entropy}");
        assert_eq!(entropy, (entropy * 100.0).round() / 100.0, "two digits");
        assert_eq!(judge(ENCRYPTED_ONLY, &[&text.as_bytes()[..255]]), Ok(()), "short content is exempt");
        let every: Vec<u8> = (0..=255).collect();
        assert_eq!(judge(ENCRYPTED_ONLY, &[&every, &every]), Ok(()));
        assert_eq!(judge(ContentRule::default(), &[text.as_bytes()]), Ok(()), "off");
    }

    #[test]
    fn f14_what_is_too_small_is_refused() {
        let rule = ContentRule { min_size: 3, ..ContentRule::default() };
        assert_eq!(judge(rule, &[b"a", b"b"]), Err(Unfit::TooSmall { size: 2, min_size: 3 }));
        assert_eq!(judge(rule, &[b"ab", b"c"]), Ok(()));
        assert_eq!(judge(ContentRule::default(), &[]), Ok(()), "off");
    }
}
