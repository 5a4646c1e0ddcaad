//! What keeps one party from using up what is there for all: proof of work, rates, and what content has to be. Pure;
//! each takes `now`, and remembers a bounded number of parties.

mod content;
mod duplicates;
mod flood;
mod gate;
mod rate;
mod rules;
mod work;

pub use content::{ContentRule, Look, Unfit};
pub use duplicates::{Duplicate, DuplicateRule, Duplicates};
pub use flood::{Flood, FloodRule};
pub use gate::{Admitted, Demand, Examined, Gate, GateRule, Refusal, Shown, Unwanted};
pub use rate::{ByCaller, Limited, Limiter, Rate, Standing, from, network};
pub use rules::Rules;
pub use work::{Challenge, Puzzle, Refused, Solved, Work};
