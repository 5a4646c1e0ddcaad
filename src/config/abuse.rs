//! The settings against abuse.

use std::time::Duration;

use super::values::{bits_of_entropy, byte_count, difficulty, positive, small_count};
use super::{Error, Layers};
use crate::abuse::{ContentRule, DuplicateRule, FloodRule, GateRule, Rate, Rules};
use crate::token::Secret;

pub(super) fn rules(said: &mut Layers) -> Result<Rules, Error> {
    let seconds = |said: &mut Layers, key| said.text(key, positive).map(Duration::from_secs);
    Ok(Rules {
        gate: GateRule {
            rate: a_minute(said.text("rate_limit", small_count)?),
            times_known: said.text("rate_limit_trusted", small_count)?.max(1),
            difficulty: said.text("pow_difficulty", difficulty)?,
            challenge_ttl: seconds(said, "pow_ttl")?,
            flood: FloodRule {
                threshold: said.text("antiflood_threshold", small_count)?,
                window: seconds(said, "antiflood_window")?,
                step: said.text("antiflood_step", difficulty)?,
                most: said.text("antiflood_max", difficulty)?,
                decay: seconds(said, "antiflood_decay")?,
            },
            duplicates: DuplicateRule {
                most: said.text("dedup_max", small_count)?,
                window: seconds(said, "dedup_window")?,
            },
            content: ContentRule {
                min_size: said.text("min_size", byte_count)?,
                min_entropy: said.text("min_entropy", bits_of_entropy)?,
                min_entropy_size: said.text("min_entropy_size", byte_count)?,
            },
        },
        requests: a_minute(said.text("rate_limit_requests", small_count)?),
        misses: a_minute(said.text("rate_limit_misses", small_count)?),
        tokens: Rules::default().tokens,
        secret: said.optional("pow_secret", |text| match text.len() {
            16.. => Ok(Secret::from_given(text.to_owned())),
            _ => Err("16 characters or more that nobody can guess".to_owned()),
        })?,
    })
}

/// 0 is any number.
fn a_minute(most: u32) -> Option<Rate> {
    (most > 0).then_some(Rate { most, per: Duration::from_secs(60) })
}
