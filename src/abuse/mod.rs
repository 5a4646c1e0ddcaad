//! What keeps one party from using up what is there for all: proof of work and rates. Pure; each takes `now`.

mod rate;
mod work;

pub use rate::{Limited, Limiter, Rate, network};
pub use work::{Challenge, Puzzle, Refused, Solved, Work};
