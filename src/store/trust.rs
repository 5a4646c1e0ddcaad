//! The rows the authority keeps: clients, certificates, invites; and the epoch that tells that one of them changed.

use futures_util::future::BoxFuture;

use super::Error;
use crate::identity::{ClientId, Fingerprint, Owner, Sha1, Sha256};
use crate::units::Timestamp;

/// A party known by one or more certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// What links refer to.
    pub id: ClientId,
    /// What people call it; no two clients have the same.
    pub name: String,
    /// Whether it may do everything.
    pub admin: bool,
    /// Since when it is known.
    pub created_at: Timestamp,
}

/// A certificate that is known by its fingerprint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Both names.
    pub fingerprint: Fingerprint,
    /// Serial number, lower-case hex without leading zeros' colons, as it stands in the certificate.
    pub serial: String,
    /// Whose it is; `None` for the server's own.
    pub client: Option<ClientId>,
    /// `client`, `server`, `trusted` (not issued here, trusted by fingerprint), `issuing`, `ocsp`.
    pub profile: String,
    /// The subject as text.
    pub subject: String,
    /// Which certificate of ours signed it, by SHA-256 of that one's DER; `None` when it was not issued here.
    pub issuer: Option<Sha256>,
    /// Valid from.
    pub not_before: Timestamp,
    /// Valid until.
    pub not_after: Timestamp,
    /// Kept since.
    pub created_at: Timestamp,
    /// Revoked when and why (RFC 5280 section 5.3.1 reason code).
    pub revoked: Option<Revoked>,
    /// The certificate itself; `None` when only its fingerprint is known.
    pub der: Option<Vec<u8>>,
}

/// When and why a certificate was revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// When.
    pub at: Timestamp,
    /// RFC 5280 section 5.3.1.
    pub reason: u8,
}

/// A one-time right to enrol. Only a hash of its secret is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invite {
    /// Names it in lists; not secret.
    pub id: String,
    /// SHA-256 of the secret.
    pub hash: Sha256,
    /// The name the client will have.
    pub name: String,
    /// Whether the client will be an admin.
    pub admin: bool,
    /// The existing client it is for; `None` makes a new one.
    pub client: Option<ClientId>,
    /// Who made it, as text for people.
    pub created_by: String,
    /// Made when.
    pub created_at: Timestamp,
    /// Ends when.
    pub expires_at: Timestamp,
    /// Used when.
    pub used_at: Option<Timestamp>,
    /// Withdrawn when.
    pub withdrawn_at: Option<Timestamp>,
}

/// A certificate and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// The certificate, without its DER.
    pub certificate: Certificate,
    /// Whose it is.
    pub client: Option<Client>,
}

/// How a certificate is looked for.
#[derive(Clone, Debug)]
pub enum Key {
    /// By the SHA-256 of its DER.
    Sha256(Sha256),
    /// By the SHA-1 of its DER.
    Sha1(Sha1),
    /// By its serial number in hex.
    Serial(String),
}

/// What an enrolment writes, all of it or nothing.
#[derive(Clone, Debug)]
pub struct Enrolment {
    /// Use up this invite: it must be unused, not withdrawn and not expired at `now`, else nothing is written.
    pub invite: Option<(String, Timestamp)>,
    /// Make this client, unless it exists by id.
    pub client: Option<Client>,
    /// Only if there is no client at all yet, else nothing is written: of those who race to be the first, one is.
    pub first: bool,
    /// Keep this certificate.
    pub certificate: Certificate,
}

/// What came of an enrolment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enrolled {
    /// Everything was written.
    Done,
    /// The invite had been used, withdrawn or had expired; nothing was written.
    InviteSpent,
    /// Another client has that name; nothing was written.
    NameTaken,
    /// There is a client already, and this was to be the first; nothing was written.
    NotFirst,
}

/// Which certificates a list is of.
#[derive(Clone, Debug, Default)]
pub struct Certificates {
    /// Only this client's.
    pub client: Option<ClientId>,
    /// Which of them.
    pub part: Part<Sha256>,
}

/// A part of a list, by the keys of what is in it.
#[derive(Clone, Debug)]
pub struct Part<K> {
    /// Only what comes after this one. Nothing, if this one is not in the list.
    pub after: Option<K>,
    /// At most so many.
    pub limit: Option<u32>,
}

impl<K> Default for Part<K> {
    /// All of it.
    fn default() -> Self {
        Self { after: None, limit: None }
    }
}

/// A revoked certificate, as a revocation list has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Serial number in hex.
    pub serial: String,
    /// When and why.
    pub revoked: Revoked,
}

/// The rows of the authority. Every change of what a certificate, client or invite may do raises the epoch.
pub trait Trust: Send + Sync {
    /// A number that changes whenever trust was changed, by this process or by another one on the same storage. Costs
    /// next to nothing: it is asked on every request.
    fn epoch(&self) -> u64;

    /// Raises the epoch, for a change that is not in these rows alone.
    fn tell(&self) -> BoxFuture<'_, Result<(), Error>>;

    /// A certificate by one of its names. Answers from an index, so it does not depend on how many there are.
    fn known(&self, key: Key) -> BoxFuture<'_, Result<Option<Known>, Error>>;

    /// Whether links of an older program wait for the holder of a certificate with this SHA-1. Costs a look into an
    /// index.
    fn awaited(&self, sha1: Sha1) -> BoxFuture<'_, Result<bool, Error>>;

    /// Makes those links `to`'s.
    fn hand_over(&self, sha1: Sha1, to: Owner) -> BoxFuture<'_, Result<(), Error>>;

    /// Writes an enrolment in one transaction. Links that were the certificate's own become its client's.
    fn enroll(&self, enrolment: Enrolment) -> BoxFuture<'_, Result<Enrolled, Error>>;

    /// Revokes certificates that are not revoked yet; answers which those were.
    fn revoke(&self, which: Vec<Sha256>, how: Revoked) -> BoxFuture<'_, Result<Vec<Sha256>, Error>>;

    /// A number that changes with every revocation, by this process or another one, and with nothing else.
    fn revocations(&self) -> BoxFuture<'_, Result<u64, Error>>;

    /// The revoked certificates that were signed by this one of ours and end after `not_after`.
    fn revoked(&self, issuer: Sha256, not_after: Timestamp) -> BoxFuture<'_, Result<Vec<Listed>, Error>>;

    /// A client by its name.
    fn client_named(&self, name: &str) -> BoxFuture<'_, Result<Option<Client>, Error>>;

    /// A client by its id.
    fn client(&self, id: &ClientId) -> BoxFuture<'_, Result<Option<Client>, Error>>;

    /// Whether there is any client.
    fn has_clients(&self) -> BoxFuture<'_, Result<bool, Error>>;

    /// All clients, by name.
    fn clients(&self) -> BoxFuture<'_, Result<Vec<Client>, Error>>;

    /// Certificates, newest first, with whose they are.
    fn certificates(&self, which: Certificates) -> BoxFuture<'_, Result<Vec<Known>, Error>>;

    /// The DER of a certificate.
    fn der(&self, sha256: Sha256) -> BoxFuture<'_, Result<Option<Vec<u8>>, Error>>;

    /// Keeps an invite.
    fn invite(&self, invite: Invite) -> BoxFuture<'_, Result<(), Error>>;

    /// An invite by the hash of its secret.
    fn invite_by_hash(&self, hash: Sha256) -> BoxFuture<'_, Result<Option<Invite>, Error>>;

    /// Invites by their ids, newest first.
    fn invites(&self, part: Part<String>) -> BoxFuture<'_, Result<Vec<Invite>, Error>>;

    /// Withdraws an invite; false if there is none with this id or it was used.
    fn withdraw_invite(&self, id: &str, now: Timestamp) -> BoxFuture<'_, Result<bool, Error>>;

    /// A small value kept by name.
    fn value(&self, name: &str) -> BoxFuture<'_, Result<Option<String>, Error>>;

    /// Keeps a small value by name.
    fn set_value(&self, name: &str, value: &str) -> BoxFuture<'_, Result<(), Error>>;

    /// Keeps a small value unless one is kept by that name already; answers the one that is kept.
    fn settle_value(&self, name: &str, value: &str) -> BoxFuture<'_, Result<String, Error>>;

    /// Adds one to a number kept by name, in one transaction, and answers it; the first is 1.
    fn next_number(&self, name: &str) -> BoxFuture<'_, Result<u64, Error>>;
}
