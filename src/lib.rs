//! Share files, pastes and short links that expire, among people and machines known by their certificates.
//!
//! # Map
//!
//! Modules only look down; a test checks it. Beside them is the crate [`pki`]: a certificate authority as values in,
//! values out, which knows no network, database, clock or file.
//!
//! | floor | module | one line |
//! | --- | --- | --- |
//! | 5 | [`cli`] | what the user can say: one file per command; `output` is the only file that prints |
//! | 4 | [`config`] | what was said, made whole: flags over environment over file over defaults, each with its source |
//! | 3 | [`server`] | from an open socket to an answered request |
//! | 3 | [`client`] | one method per deed, transfers, and where an enrolment is kept; meets the server only in [`api`] |
//! | 3 | [`backup`] | a whole storage folder in one file, taken while the server runs, and the way back |
//! | 2 | [`authority`] | the CA with a memory: clients, certificates, invites, revocation |
//! | 2 | [`import`] | the links of the two programs before this one, taken over as they are |
//! | 1 | [`store`] | rows and bytes, and the order of effects between them |
//! | 1 | [`tls`] | the certificate shown and its reload; the optional client certificate; the peer, read once |
//! | 1 | [`access`] | whether a principal may do a thing; a yes is a permit, which the store asks for |
//! | 1 | [`abuse`] | proof of work, rates, floods, duplicates, entropy: what may be made, how often and for what |
//! | 1 | [`token`] | bearer tokens and invites: made, read, hashed |
//! | 1 | [`password`] | passwords of links: hashed and compared, at a price |
//! | 1 | [`audit`] | the record of every change of trust: append-only, each line bound to the one before |
//! | 0 | [`api`] | the wire: paths, headers, bodies; shared by server and client |
//! | 0 | [`link`] | what a link is, and every rule that needs no input or output |
//! | 0 | [`identity`] | who is asking, and how we know |
//! | 0 | [`clock`] | the only place that asks what time it is |
//! | 0 | [`units`] | instants, lifetimes, sizes |
//!
//! # The way of a request
//!
//! ```text
//! TCP ─► listen ─► handshake ─► Peer                                once per connection
//!                                │ (address, certificate?)
//! request ─► trace ─► authenticate ─► gate ─► handler ─► store ─► response
//!              │          │                     │          │
//!             span     Principal              Permit    Link + bytes
//! ```
//!
//! In `listen`, handshakes and what is done for those who are not known take turns, so that a flood of them stands in
//! nobody's way. `trace` names the request, logs it and makes problems into answers. `authenticate` is the only place that makes a
//! [`identity::Principal`]; it takes every trace of how the caller said who it is off the request. The gate stands in
//! front of all routes that are not open to everyone. A handler asks [`access`] for a permit and hands it to
//! [`store::Store`], which does nothing without one. Ownership is of a client, which has many certificates over time;
//! what a certificate is worth is asked per request, behind an epoch that changes with every change of trust.
//!
//! # What is never lost
//!
//! The order of effects is in [`store`]: reserve the row, stream the bytes, sync, seal the row; and the other way
//! round. A crash anywhere leaves something the sweeper understands.

pub mod abuse;
pub mod access;
pub mod api;
pub mod audit;
pub mod authority;
pub mod backup;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod identity;
pub mod import;
pub mod link;
pub mod password;
pub mod server;
pub mod store;
pub mod tls;
pub mod token;
pub mod units;
