//! Whether a principal may do a thing. Pure; a yes is a [`Permit`], which only this module makes and the store asks for.

use std::ops::Deref;

use crate::abuse::Admitted;
use crate::identity::{Owner, Principal, Tier};
use crate::link::Link;

/// What the operator allows to those it does not know.
#[derive(Clone, Copy, Debug, Default)]
pub struct Policy {
    /// Callers without a certificate may create links.
    pub allow_anonymous: bool,
    /// Callers with a certificate nobody vouched for may create and manage links.
    pub allow_untrusted: bool,
}

/// Evidence that a deed was allowed, and to what it applies.
#[derive(Debug)]
pub struct Permit<T>(T);

impl<T> Permit<T> {
    /// What it applies to.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> Deref for Permit<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// To make a link that will be this owner's.
#[derive(Debug)]
pub struct Create {
    /// Whose it will be.
    pub owner: Owner,
}

/// To read what a link leads to.
#[derive(Debug)]
pub struct Read {
    /// Which.
    pub link: Link,
}

/// To see a link's metadata, change it and end it.
#[derive(Debug)]
pub struct Manage {
    /// Which.
    pub link: Link,
}

/// To list links.
#[derive(Debug)]
pub struct List {
    /// Only this owner's; `None` is everybody's.
    pub owner: Option<Owner>,
}

/// To do what only an admin may.
#[derive(Debug)]
pub struct Administer(());

/// To take over links of another program as they are, with ids, owners and times that were given elsewhere.
#[derive(Debug)]
pub struct Adopt(());

/// Why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Nobody in particular asked.
    #[error("this needs a client certificate")]
    Unknown,
    /// The certificate says nothing to us.
    #[error("this server did not issue that certificate and nobody has trusted it")]
    Untrusted,
    /// The link is someone else's.
    #[error("this link belongs to someone else")]
    NotOwner,
    /// Only for admins.
    #[error("this is for admins")]
    NotAdmin,
}

fn known(who: &Principal, policy: Policy) -> Result<(), Denied> {
    match who.tier {
        Tier::Trusted | Tier::Admin => Ok(()),
        Tier::Untrusted if policy.allow_untrusted => Ok(()),
        Tier::Untrusted => Err(Denied::Untrusted),
        Tier::Anonymous => Err(Denied::Unknown),
    }
}

/// Whether `who` may make links, as often and for as much work as everyone like that.
///
/// # Errors
/// [`Denied`], with the reason.
pub fn may_create(who: &Principal, policy: Policy) -> Result<(), Denied> {
    if who.tier == Tier::Anonymous && policy.allow_anonymous { Ok(()) } else { known(who, policy) }
}

/// Whether `who`, who was let in, may make a link.
///
/// # Errors
/// [`Denied`], with the reason.
pub fn create(who: &Principal, policy: Policy, _: Admitted) -> Result<Permit<Create>, Denied> {
    may_create(who, policy)?;
    Ok(Permit(Create { owner: who.owner.clone() }))
}

/// Anyone who has a link may read what it leads to.
pub fn read(link: Link) -> Permit<Read> {
    Permit(Read { link })
}

/// Whether `who` may see, change and end `link`.
///
/// # Errors
/// [`Denied`], with the reason.
pub fn manage(who: &Principal, link: Link, policy: Policy) -> Result<Permit<Manage>, Denied> {
    known(who, policy)?;
    let own = link.owner == who.owner && who.owner != Owner::Anonymous;
    if own || who.tier == Tier::Admin { Ok(Permit(Manage { link })) } else { Err(Denied::NotOwner) }
}

/// Whose links `who` may list: an admin everybody's, others their own.
///
/// # Errors
/// [`Denied`], with the reason.
pub fn list(who: &Principal, policy: Policy) -> Result<Permit<List>, Denied> {
    known(who, policy)?;
    let owner = (who.tier != Tier::Admin).then(|| who.owner.clone());
    Ok(Permit(List { owner }))
}

/// Only `who`'s own links, also for an admin.
///
/// # Errors
/// [`Denied`], with the reason.
pub fn list_own(who: &Principal, policy: Policy) -> Result<Permit<List>, Denied> {
    known(who, policy)?;
    Ok(Permit(List { owner: Some(who.owner.clone()) }))
}

/// Whether `who` is an admin.
///
/// # Errors
/// [`Denied`], with the reason.
pub fn administer(who: &Principal) -> Result<Permit<Administer>, Denied> {
    match who.tier {
        Tier::Admin => Ok(Permit(Administer(()))),
        Tier::Trusted => Err(Denied::NotAdmin),
        Tier::Untrusted => Err(Denied::Untrusted),
        Tier::Anonymous => Err(Denied::Unknown),
    }
}

/// For a command on the storage folder itself: whoever can write that is the operator, and could as well write the rows.
pub fn adopt() -> Permit<Adopt> {
    Permit(Adopt(()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{ClientId, Proof, Sha256};
    use crate::link::{Kind, LinkId};
    use crate::units::Timestamp;

    fn who(tier: Tier, owner: Owner) -> Principal {
        Principal { tier, owner, name: None, proof: Proof::Nothing, address: None }
    }

    fn client(name: &str) -> Owner {
        Owner::Client(ClientId::from_kept(name.to_owned()))
    }

    fn link_of(owner: Owner) -> Link {
        Link {
            id: LinkId::random().expect("random bytes"),
            kind: Kind::File,
            owner,
            name: None,
            mime: "text/plain".into(),
            size: 0,
            sha256: Sha256([0; 32]),
            blob: String::new(),
            created_at: Timestamp::default(),
            expires_at: None,
            burn: false,
            idle: None,
            accessed_at: None,
            password: None,
            target: None,
        }
    }

    const CLOSED: Policy = Policy { allow_anonymous: false, allow_untrusted: false };
    const OPEN: Policy = Policy { allow_anonymous: true, allow_untrusted: true };

    #[test]
    fn who_may_create() {
        let stranger = who(Tier::Untrusted, Owner::Certificate(Sha256([1; 32])));
        let nobody = who(Tier::Anonymous, Owner::Anonymous);
        assert_eq!(create(&nobody, CLOSED, Admitted::untested()).err(), Some(Denied::Unknown));
        assert_eq!(create(&stranger, CLOSED, Admitted::untested()).err(), Some(Denied::Untrusted));
        assert!(create(&nobody, OPEN, Admitted::untested()).is_ok());
        assert!(create(&stranger, OPEN, Admitted::untested()).is_ok());
        assert!(create(&who(Tier::Trusted, client("a")), CLOSED, Admitted::untested()).is_ok());
    }

    #[test]
    fn only_the_owner_and_admins_manage() {
        let link = link_of(client("alice"));
        assert!(manage(&who(Tier::Trusted, client("alice")), link.clone(), CLOSED).is_ok());
        assert_eq!(manage(&who(Tier::Trusted, client("bob")), link.clone(), CLOSED).err(), Some(Denied::NotOwner));
        assert!(manage(&who(Tier::Admin, client("root")), link.clone(), CLOSED).is_ok());
        assert_eq!(manage(&who(Tier::Anonymous, Owner::Anonymous), link, OPEN).err(), Some(Denied::Unknown));
    }

    #[test]
    fn what_nobody_owns_is_not_everybodys() {
        let link = link_of(Owner::Anonymous);
        assert!(manage(&who(Tier::Anonymous, Owner::Anonymous), link, OPEN).is_err());
    }

    #[test]
    fn admins_list_all_and_others_their_own() {
        assert_eq!(list(&who(Tier::Admin, client("root")), CLOSED).map(|p| p.into_inner().owner), Ok(None));
        assert_eq!(list(&who(Tier::Trusted, client("a")), CLOSED).map(|p| p.into_inner().owner), Ok(Some(client("a"))));
    }
}
