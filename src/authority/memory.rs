//! The authority's rows in memory, for tests of the authority alone.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};

use crate::identity::{ClientId, Owner, Sha1, Sha256};
use crate::store::Error;
use crate::store::trust::{
    Certificate, Certificates, Client, Enrolled, Enrolment, Invite, Key, Known, Listed, Part, Revoked, Trust,
};
use crate::units::Timestamp;

#[derive(Default)]
pub(super) struct Memory {
    rows: Mutex<Rows>,
    epoch: AtomicU64,
    /// The next enrolment finds its invite spent, as if another one had been faster.
    pub(super) beaten: AtomicBool,
    /// The next enrolment finds every certificate of its client revoked, as if that had just happened.
    pub(super) revoked_meanwhile: AtomicBool,
    /// The next one that means to be the first of all is not: somebody else was faster.
    pub(super) preceded: AtomicBool,
}

#[derive(Default)]
struct Rows {
    clients: Vec<Client>,
    certificates: Vec<Certificate>,
    invites: Vec<Invite>,
    values: HashMap<String, String>,
    numbers: HashMap<String, u64>,
}

impl Rows {
    fn known(&self, certificate: &Certificate) -> Known {
        let client = self.clients.iter().find(|client| Some(&client.id) == certificate.client.as_ref()).cloned();
        Known { certificate: Certificate { der: None, ..certificate.clone() }, client }
    }

    fn enroll(&mut self, enrolment: Enrolment) -> Enrolled {
        if enrolment.first && !self.clients.is_empty() {
            return Enrolled::NotFirst;
        }
        let invite = enrolment.invite.as_ref().map(|(id, now)| {
            self.invites.iter().position(|invite| {
                invite.id == *id
                    && invite.used_at.is_none()
                    && invite.withdrawn_at.is_none()
                    && invite.expires_at > *now
            })
        });
        if invite == Some(None) {
            return Enrolled::InviteSpent;
        }
        if let Some(client) = &enrolment.client {
            if self.clients.iter().any(|known| known.name == client.name && known.id != client.id) {
                return Enrolled::NameTaken;
            }
            if !self.clients.iter().any(|known| known.id == client.id) {
                self.clients.push(client.clone());
            }
        }
        if let (Some(Some(at)), Some((_, now))) = (invite, enrolment.invite) {
            self.invites[at].used_at = Some(now);
        }
        self.certificates.push(enrolment.certificate);
        Enrolled::Done
    }
}

impl Memory {
    /// Changes every certificate as something from outside might.
    pub(super) fn change(&self, change: impl Fn(&mut Certificate)) {
        self.rows.lock().expect("rows").certificates.iter_mut().for_each(change);
    }

    fn read<T: Send + 'static>(&self, read: impl FnOnce(&Rows) -> T) -> BoxFuture<'_, Result<T, Error>> {
        ready(Ok(read(&self.rows.lock().expect("rows")))).boxed()
    }

    fn write<T: Send + 'static>(&self, write: impl FnOnce(&mut Rows) -> T) -> BoxFuture<'_, Result<T, Error>> {
        let answer = write(&mut self.rows.lock().expect("rows"));
        self.epoch.fetch_add(1, Ordering::SeqCst);
        ready(Ok(answer)).boxed()
    }

    fn keep<T: Send + 'static>(&self, write: impl FnOnce(&mut Rows) -> T) -> BoxFuture<'_, Result<T, Error>> {
        ready(Ok(write(&mut self.rows.lock().expect("rows")))).boxed()
    }
}

/// A part of a list.
fn of<T, K: PartialEq>(part: &Part<K>, all: impl Iterator<Item = T>, key: impl Fn(&T) -> K) -> Vec<T> {
    let mut found = part.after.is_none();
    let after = all.filter(|item| {
        let after = found;
        found = found || part.after.as_ref() == Some(&key(item));
        after
    });
    after.take(part.limit.map_or(usize::MAX, |limit| limit as usize)).collect()
}

impl Trust for Memory {
    fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }

    fn tell(&self) -> BoxFuture<'_, Result<(), Error>> {
        self.write(|_| ())
    }

    fn known(&self, key: Key) -> BoxFuture<'_, Result<Option<Known>, Error>> {
        self.read(|rows| {
            let found = rows.certificates.iter().find(|certificate| match &key {
                Key::Sha256(sha256) => certificate.fingerprint.sha256 == *sha256,
                Key::Sha1(sha1) => certificate.fingerprint.sha1 == *sha1,
                Key::Serial(serial) => certificate.serial == *serial,
            });
            found.map(|certificate| rows.known(certificate))
        })
    }

    // It has no links.
    fn awaited(&self, _: Sha1) -> BoxFuture<'_, Result<bool, Error>> {
        ready(Ok(false)).boxed()
    }

    fn hand_over(&self, _: Sha1, _: Owner) -> BoxFuture<'_, Result<(), Error>> {
        ready(Ok(())).boxed()
    }

    fn enroll(&self, enrolment: Enrolment) -> BoxFuture<'_, Result<Enrolled, Error>> {
        if self.beaten.swap(false, Ordering::SeqCst)
            && let Some((id, now)) = enrolment.invite.clone()
        {
            self.rows.lock().expect("rows").invites.iter_mut().filter(|invite| invite.id == id).for_each(|invite| {
                invite.used_at = Some(now);
            });
        }
        let revoked = self.revoked_meanwhile.swap(false, Ordering::SeqCst);
        let preceded = enrolment.first && self.preceded.swap(false, Ordering::SeqCst);
        self.write(move |rows| {
            if let (true, Some(client)) = (preceded, &enrolment.client) {
                let faster =
                    Client { id: ClientId::from_kept("faster".into()), name: "faster".into(), ..client.clone() };
                rows.clients.push(faster);
            }
            let how = Revoked { at: enrolment.certificate.created_at, reason: 1 };
            let own = |one: &&mut Certificate| revoked && one.client == enrolment.certificate.client;
            rows.certificates.iter_mut().filter(own).for_each(|one| one.revoked = Some(how));
            rows.enroll(enrolment)
        })
    }

    fn revoke(&self, which: Vec<Sha256>, how: Revoked) -> BoxFuture<'_, Result<Vec<Sha256>, Error>> {
        self.write(|rows| {
            let mut changed = Vec::new();
            for certificate in &mut rows.certificates {
                let sha256 = certificate.fingerprint.sha256;
                if which.contains(&sha256) && certificate.revoked.is_none() {
                    certificate.revoked = Some(how);
                    changed.push(sha256);
                }
            }
            changed
        })
    }

    fn revocations(&self) -> BoxFuture<'_, Result<u64, Error>> {
        self.read(|rows| rows.certificates.iter().filter(|certificate| certificate.revoked.is_some()).count() as u64)
    }

    fn revoked(&self, issuer: Sha256, not_after: Timestamp) -> BoxFuture<'_, Result<Vec<Listed>, Error>> {
        self.read(|rows| {
            let own = |one: &&Certificate| one.issuer == Some(issuer) && one.not_after > not_after;
            let listed = |one: &Certificate| Some(Listed { serial: one.serial.clone(), revoked: one.revoked? });
            rows.certificates.iter().filter(own).filter_map(listed).collect()
        })
    }

    fn client_named(&self, name: &str) -> BoxFuture<'_, Result<Option<Client>, Error>> {
        self.read(|rows| rows.clients.iter().find(|client| client.name == name).cloned())
    }

    fn client(&self, id: &ClientId) -> BoxFuture<'_, Result<Option<Client>, Error>> {
        self.read(|rows| rows.clients.iter().find(|client| client.id == *id).cloned())
    }

    fn has_clients(&self) -> BoxFuture<'_, Result<bool, Error>> {
        self.read(|rows| !rows.clients.is_empty())
    }

    fn clients(&self) -> BoxFuture<'_, Result<Vec<Client>, Error>> {
        self.read(|rows| rows.clients.clone())
    }

    fn certificates(&self, which: Certificates) -> BoxFuture<'_, Result<Vec<Known>, Error>> {
        self.read(|rows| {
            let wanted = |certificate: &&Certificate| {
                which.client.as_ref().is_none_or(|client| certificate.client.as_ref() == Some(client))
            };
            let all = rows.certificates.iter().rev().filter(wanted).map(|certificate| rows.known(certificate));
            of(&which.part, all, |known| known.certificate.fingerprint.sha256)
        })
    }

    fn der(&self, sha256: Sha256) -> BoxFuture<'_, Result<Option<Vec<u8>>, Error>> {
        self.read(|rows| {
            let found = rows.certificates.iter().find(|certificate| certificate.fingerprint.sha256 == sha256);
            found.and_then(|certificate| certificate.der.clone())
        })
    }

    fn invite(&self, invite: Invite) -> BoxFuture<'_, Result<(), Error>> {
        self.write(|rows| rows.invites.push(invite))
    }

    fn invite_by_hash(&self, hash: Sha256) -> BoxFuture<'_, Result<Option<Invite>, Error>> {
        self.read(|rows| rows.invites.iter().find(|invite| invite.hash == hash).cloned())
    }

    fn invites(&self, part: Part<String>) -> BoxFuture<'_, Result<Vec<Invite>, Error>> {
        self.read(|rows| of(&part, rows.invites.iter().rev().cloned(), |invite| invite.id.clone()))
    }

    fn withdraw_invite(&self, id: &str, now: Timestamp) -> BoxFuture<'_, Result<bool, Error>> {
        self.write(|rows| {
            let found = rows.invites.iter_mut().find(|invite| invite.id == id && invite.used_at.is_none());
            found.map(|invite| invite.withdrawn_at = Some(now)).is_some()
        })
    }

    fn value(&self, name: &str) -> BoxFuture<'_, Result<Option<String>, Error>> {
        self.read(|rows| rows.values.get(name).cloned())
    }

    fn set_value(&self, name: &str, value: &str) -> BoxFuture<'_, Result<(), Error>> {
        self.keep(|rows| drop(rows.values.insert(name.to_owned(), value.to_owned())))
    }

    fn settle_value(&self, name: &str, value: &str) -> BoxFuture<'_, Result<String, Error>> {
        self.keep(|rows| rows.values.entry(name.to_owned()).or_insert_with(|| value.to_owned()).clone())
    }

    fn next_number(&self, name: &str) -> BoxFuture<'_, Result<u64, Error>> {
        self.keep(|rows| {
            let number = rows.numbers.entry(name.to_owned()).or_default();
            *number += 1;
            *number
        })
    }
}
