//! Share files, pastes and short links that expire, among people and machines known by their certificates.
//!
//! # Map
//!
//! Modules only look down.
//!
//! | floor | module | one line |
//! | --- | --- | --- |
//! | 1 | [`store`] | rows and bytes, and the order of effects between them |
//! | 1 | [`access`] | whether a principal may do a thing; a yes is a permit |
//! | 1 | [`token`] | bearer tokens and invites: made, read, hashed |
//! | 0 | [`api`] | the wire: paths, headers, bodies; shared by server and client |
//! | 0 | [`link`] | what a link is, and every rule that needs no I/O |
//! | 0 | [`identity`] | who is asking, and how we know |
//! | 0 | [`clock`] | the only place that asks what time it is |
//! | 0 | [`units`] | instants, lifetimes, sizes |

pub mod access;
pub mod api;
pub mod clock;
pub mod identity;
pub mod link;
pub mod store;
pub mod token;
pub mod units;
