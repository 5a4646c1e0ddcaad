//! What goes wrong in the authority.

use std::io;
use std::path::PathBuf;

use crate::units::Timestamp;
use crate::{audit, store, units};

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such invite. One variant for unknown, used, withdrawn and expired would tell a guesser less, but the holder
    /// of a true secret deserves the reason; a guesser learns nothing by it, since it has no true secret.
    #[error("there is no such invite")]
    InviteUnknown,
    /// Used before.
    #[error("this invite was used before; ask for a new one")]
    InviteUsed,
    /// Its time is over.
    #[error("this invite expired at {0}; ask for a new one")]
    InviteExpired(Timestamp),
    /// The operator took it back.
    #[error("this invite was withdrawn; ask for a new one")]
    InviteWithdrawn,
    /// Another client has that name.
    #[error("there is a client named '{0}' already; for one more certificate of that client make an invite with --for")]
    NameTaken(String),
    /// Somebody else was the first client.
    #[error("there is a client already")]
    NotFirst,
    /// Not a name a client can have.
    #[error(
        "'{0}' is no name for a client: 1 to 64 printable characters without '/', ',' and ':', no space at the ends, and not 'operator', 'nobody' or 'server'"
    )]
    Name(String),
    /// No client of that name.
    #[error("there is no client named '{0}'")]
    NoSuchClient(String),
    /// None of the client's certificates is good any more.
    #[error("no certificate of '{0}' is good any more; a new invite for it is needed (--for)")]
    ClientOver(String),
    /// No such certificate.
    #[error("there is no such certificate")]
    NoSuchCertificate,
    /// The certificate is somebody else's.
    #[error("that certificate is not yours")]
    NotYours,
    /// A CA is not revoked like a client.
    #[error("a CA certificate cannot be revoked like this; make a new issuing CA instead")]
    IsCa,
    /// Revoked certificates are not trusted again.
    #[error("that certificate was revoked and cannot be trusted again")]
    WasRevoked,
    /// The certificate is known as something else.
    #[error("that certificate is known already")]
    Known,
    /// Not a reason that can be given.
    #[error("{0} is no reason for a revocation that stands (RFC 5280 section 5.3.1)")]
    Reason(u8),
    /// An invite's or a certificate's lifetime is out of bounds.
    #[error("{0}")]
    Lifetime(&'static str),
    /// The signing request will not do.
    #[error(transparent)]
    Request(#[from] pki::request::Error),
    /// The CA did not sign.
    #[error(transparent)]
    Sign(#[from] pki::ca::Error),
    /// A certificate cannot be read.
    #[error(transparent)]
    Certificate(#[from] pki::certificate::Error),
    /// A revocation list cannot be made.
    #[error("could not make the revocation list")]
    RevocationList(#[from] pki::crl::Error),
    /// An OCSP response cannot be made.
    #[error(transparent)]
    Ocsp(#[from] pki::ocsp::Error),
    /// A key and its certificate cannot be put into one file.
    #[error(transparent)]
    Bundle(#[from] pki::pkcs12::Error),
    /// A key cannot be made or read.
    #[error(transparent)]
    Key(#[from] pki::key::Error),
    /// A file of the authority is missing while others are there.
    #[error("the authority's folder is incomplete: {} is missing; restore it from a backup", .0.display())]
    Missing(PathBuf),
    /// A file of the authority will not do.
    #[error("{} cannot be used", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A file could not be read or written.
    #[error("could not {what} {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The rows belong to another CA than the folder.
    #[error(
        "the database belongs to the CA {known}, but {} {found}; restore the folder that goes with the database",
        path.display()
    )]
    OtherCa {
        /// The folder.
        path: PathBuf,
        /// The root the rows belong to.
        known: String,
        /// What the folder has instead.
        found: String,
    },
    /// A CA certificate is over.
    #[error("{} ended at {at}; a new CA is needed", path.display())]
    Over {
        /// Which.
        path: PathBuf,
        /// When.
        at: Timestamp,
    },
    /// A CA certificate is not valid yet.
    #[error("{} is not valid before {at}: is the clock right?", path.display())]
    NotYet {
        /// Which.
        path: PathBuf,
        /// From when on.
        at: Timestamp,
    },
    /// The issuing CA may not sign for a server name.
    #[error(
        "'{0}' is not among the server names this CA may sign for: add it to DD_CA_PERMITTED_NAMES and make a new issuing CA, or take it from DD_SERVER_NAMES"
    )]
    NotPermitted(String),
    /// Every name, and then some more.
    #[error("'any' stands alone: it is all names there are")]
    AnyAndMore,
    /// As many issuing CAs as there may be at once.
    #[error("there are {0} issuing CAs that have not ended yet, and no more are made before one of them has")]
    ManyCas(usize),
    /// The root key is kept elsewhere.
    #[error("the root key is not in {}; it was taken offline", .0.display())]
    RootOffline(PathBuf),
    /// The passphrase file holds none.
    #[error("the passphrase file {} is empty", .0.display())]
    NoPassphrase(PathBuf),
    /// The rows could not be read or written.
    #[error("could not read or write what the authority remembers")]
    Store(#[from] store::Error),
    /// A line of the audit log could not be written.
    #[error(transparent)]
    Audit(#[from] audit::Error),
    /// No random numbers.
    #[error(transparent)]
    Random(#[from] units::Error),
    /// A task was broken off, as when the program ends.
    #[error("broken off")]
    BrokenOff(#[from] tokio::task::JoinError),
}

impl Error {
    /// Whether somebody was told no, rather than that something failed.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::InviteUnknown
                | Self::InviteUsed
                | Self::InviteExpired(_)
                | Self::InviteWithdrawn
                | Self::NameTaken(_)
                | Self::NotFirst
                | Self::Name(_)
                | Self::NoSuchClient(_)
                | Self::ClientOver(_)
                | Self::NoSuchCertificate
                | Self::NotYours
                | Self::IsCa
                | Self::WasRevoked
                | Self::Known
                | Self::Reason(_)
                | Self::Lifetime(_)
                | Self::Request(_)
                | Self::AnyAndMore
                | Self::ManyCas(_)
                | Self::NotPermitted(_)
                | Self::RootOffline(_)
                | Self::Sign(pki::ca::Error::ServerName(_))
        )
    }
}
