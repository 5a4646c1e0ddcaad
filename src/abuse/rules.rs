//! What the operator decides about all of it, and what holds when nothing is said.

use std::time::Duration;

use super::{ContentRule, DuplicateRule, FloodRule, GateRule, Rate};
use crate::token::Secret;

/// Everything there is to decide.
#[derive(Clone, Debug)]
pub struct Rules {
    /// What is asked of those who make links.
    pub gate: GateRule,
    /// Requests of any kind one stranger's address may send; `None` is any number. Those who are known may send any
    /// number: who of them goes too far can be revoked.
    pub requests: Option<Rate>,
    /// Ids that lead nowhere one caller may ask for; `None` is any number.
    pub misses: Option<Rate>,
    /// Wrong bearer tokens one address may show.
    pub tokens: Rate,
    /// By which challenges are known again, on every server that is to take them; `None`: what the storage keeps.
    pub secret: Option<Secret>,
}

const MINUTE: Duration = Duration::from_secs(60);

impl Default for Rules {
    fn default() -> Self {
        Self {
            gate: GateRule {
                rate: Some(Rate { most: 60, per: MINUTE }),
                times_known: 5,
                difficulty: 20,
                challenge_ttl: Duration::from_secs(300),
                flood: FloodRule { threshold: 30, window: MINUTE, step: 2, most: 28, decay: Duration::from_secs(30) },
                duplicates: DuplicateRule { most: 3, window: Duration::from_secs(3600) },
                content: ContentRule { min_size: 0, min_entropy: 0.0, min_entropy_size: 256 },
            },
            requests: Some(Rate { most: 6000, per: MINUTE }),
            misses: Some(Rate { most: 30, per: MINUTE }),
            tokens: Rate { most: 10, per: MINUTE },
            secret: None,
        }
    }
}
