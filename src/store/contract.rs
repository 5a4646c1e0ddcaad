//! What every backend must do, run on each of them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, ready};
use futures_util::{FutureExt as _, TryStreamExt as _};

use super::blobs::{Blobs, Reserved, Then, disk::Disk};
use super::cut_off::cut_off;
use super::ledger::{Doomed, Links, Phase, Query, Replacement, Reservation, Spent, Writer, sqlite::Sqlite};
use super::trust::{
    Certificate, Certificates, Client, Enrolled, Enrolment, Invite, Key, Known, Listed, Part, Revoked, Trust,
};
use super::{Error, Paging, Span};
use crate::identity::{ClientId, Fingerprint, Owner, Sha256};
use crate::link::{Change, FileName, Kind, Link, LinkId, PasswordHash};
use crate::units::{Timestamp, Ttl};

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

fn owner(name: &str) -> Owner {
    Owner::Client(ClientId::from_kept(name.to_owned()))
}

async fn ready_link(links: &dyn Links, owner: Owner, name: &str, created: i64, expires: Option<i64>) -> Link {
    let id = LinkId::random().expect("random bytes");
    let blob = Sha256::of(id.as_str().as_bytes()).to_string()[..32].to_owned();
    let row =
        Reservation { id: id.clone(), kind: Kind::File, owner: owner.clone(), blob: blob.clone(), now: at(created) };
    links.reserve(vec![row]).await.expect("reserved");
    let link = Link {
        id,
        kind: Kind::File,
        owner,
        name: FileName::clean(name),
        mime: "text/plain".into(),
        size: 10,
        sha256: Sha256([3; 32]),
        blob,
        created_at: at(created),
        expires_at: expires.map(at),
        burn: false,
        idle: None,
        accessed_at: None,
        password: None,
        target: None,
    };
    links.seal(&link).await.expect("sealed");
    link
}

/// A row goes one way, whatever is asked of it twice.
async fn rows_go_one_way(links: &dyn Links) {
    let link = ready_link(links, owner("a"), "x", 1, Some(100)).await;
    let row = links.find(&link.id).await.expect("read").expect("a row");
    assert_eq!((row.phase, &row.link), (Phase::Ready, &link));
    assert!(links.seal(&link).await.is_err(), "sealed twice");
    assert!(!links.release(&link.id).await.expect("written"), "a ready row is not released");
    assert!(links.find(&link.id).await.expect("read").is_some());
    let doomed = links.doom(&link.id, at(50)).await.expect("written").expect("something to delete");
    assert_eq!(doomed.blob, link.blob);
    assert_eq!(links.doom(&link.id, at(60)).await.expect("written").as_ref(), Some(&doomed), "until it is buried");
    assert!(links.change(&link.id, Change::default(), at(50)).await.expect("written").is_none());
    links.bury(vec![link.id.clone()], at(61)).await.expect("written");
    links.bury(vec![link.id.clone()], at(62)).await.expect("written");
    assert_eq!(links.doom(&link.id, at(63)).await.expect("written"), None);
    let row = links.find(&link.id).await.expect("read").expect("a memory");
    assert_eq!((row.phase, row.ended_at), (Phase::Buried, Some(at(50))));
    assert_eq!(links.forget(at(50), 10).await.expect("written"), 0);
    assert_eq!(links.forget(at(51), 10).await.expect("written"), 1);
    assert!(links.find(&link.id).await.expect("read").is_none());
}

async fn one_of_many_claims(links: Arc<dyn Links>) {
    let link = ready_link(&*links, owner("a"), "x", 1, None).await;
    let claims = (0..20).map(|_| {
        let (links, id) = (Arc::clone(&links), link.id.clone());
        tokio::spawn(async move { links.claim(&id, at(5)).await.expect("written") })
    });
    let mut won = 0;
    for claim in claims.collect::<Vec<_>>() {
        won += usize::from(claim.await.expect("no panic"));
    }
    assert_eq!(won, 1);
    let late = ready_link(&*links, owner("a"), "x", 1, Some(5)).await;
    assert!(!links.claim(&late.id, at(5)).await.expect("written"), "its time is over");
}

async fn overdue_rows_are_found_oldest_first(links: &dyn Links) {
    let later = ready_link(links, owner("o"), "x", 1, Some(30)).await;
    let sooner = ready_link(links, owner("o"), "x", 1, Some(20)).await;
    let never = ready_link(links, owner("o"), "x", 1, None).await;
    let due = links.doom_overdue(at(30), 1).await.expect("written");
    assert_eq!(due.iter().map(|d| &d.id).collect::<Vec<_>>(), [&sooner.id]);
    let due = links.doom_overdue(at(30), 10).await.expect("written");
    assert_eq!(due.iter().map(|d| &d.id).collect::<Vec<_>>(), [&later.id]);
    assert_eq!(links.doomed(at(30), None, 10).await.expect("read").len(), 2);
    assert_eq!(links.find(&never.id).await.expect("read").map(|row| row.phase), Some(Phase::Ready));
}

async fn lists_are_paged_and_counted(links: &dyn Links) {
    let mut made = Vec::new();
    for n in 0..5 {
        made.insert(0, ready_link(links, owner("p"), &format!("100%_{n}.txt"), 10 + n / 2, None).await);
    }
    ready_link(links, owner("q"), "1000x0.txt", 10, None).await;
    let over = ready_link(links, owner("p"), "over.txt", 99, Some(100)).await;
    let page = async |owner: Option<Owner>, after: Option<LinkId>, search: Option<&str>, limit: u32| {
        let paging = Paging { limit, after, search: search.map(str::to_owned) };
        links.list(Query { owner, paging, now: at(100) }).await.expect("read")
    };
    made.sort_by(|a, b| (b.created_at, &b.id).cmp(&(a.created_at, &a.id)));
    let first = page(Some(owner("p")), None, None, 2).await;
    assert_eq!(first, made[..3], "one more than the limit tells that there is more");
    let second = page(Some(owner("p")), Some(made[1].id.clone()), None, 2).await;
    assert_eq!(second, made[2..5]);
    links.doom(&made[1].id, at(100)).await.expect("written");
    let again = page(Some(owner("p")), Some(made[1].id.clone()), None, 2).await;
    assert_eq!(again, made[2..5], "a page begins after one that has gone");
    assert_eq!(page(None, None, Some("100%_"), 10).await.len(), 4, "signs of the query language are only signs");
    assert_eq!(page(None, None, Some("TXT"), 10).await.len(), 5);
    let totals = links.totals(Some(owner("p")), at(100)).await.expect("read");
    assert_eq!((totals.links, totals.bytes), (4, 40), "without {}", over.id);
    assert_eq!(links.totals(Some(owner("nobody")), at(100)).await.expect("read").links, 0);
}

async fn pending_rows_are_told_apart(links: &dyn Links) {
    let id = LinkId::random().expect("random bytes");
    let row = Reservation { id: id.clone(), kind: Kind::File, owner: owner("a"), blob: "b".repeat(32), now: at(1) };
    links.reserve(vec![row.clone()]).await.expect("reserved");
    let other = Reservation { id: LinkId::random().expect("random bytes"), blob: "d".repeat(32), ..row.clone() };
    assert!(links.reserve(vec![other.clone(), row]).await.is_err(), "an id is given once");
    assert!(links.find(&other.id).await.expect("read").is_none(), "all or none");
    let pending = links.pending().await.expect("read");
    assert_eq!(pending.iter().find(|p| p.id == id).map(|p| p.writer), Some(Writer::This));
    let known = links.known_blobs(vec!["b".repeat(32), "c".repeat(32)]).await.expect("read");
    assert_eq!(known, ["b".repeat(32)].into());
    assert!(links.release(&id).await.expect("written"));
    assert!(links.release(&id).await.expect("written"), "repeated");
    assert!(links.find(&id).await.expect("read").is_none());
}

async fn changes_are_kept(links: &dyn Links) {
    let link = ready_link(links, owner("a"), "old", 1, Some(100)).await;
    let ttl = Ttl::For(Duration::from_secs(500));
    let change = Change { ttl: Some(ttl), name: Some(FileName::clean("new")), password: None };
    let changed = links.change(&link.id, change, at(50)).await.expect("written").expect("live");
    assert_eq!((changed.expires_at, changed.name.as_ref().map(FileName::as_str)), (Some(at(550)), Some("new")));
    assert_eq!(links.find(&link.id).await.expect("read").expect("a row").link, changed);
}

/// A link that ends by idleness, with all a link can have.
async fn idle_link(links: &dyn Links) -> Link {
    let id = LinkId::random().expect("random bytes");
    let blob = hex::encode(crate::units::random::<16>().expect("random bytes"));
    let row = Reservation { id: id.clone(), kind: Kind::Paste, owner: owner("i"), blob: blob.clone(), now: at(1) };
    links.reserve(vec![row]).await.expect("reserved");
    let link = Link {
        id,
        kind: Kind::Paste,
        owner: owner("i"),
        name: None,
        mime: "text/plain".into(),
        size: 10,
        sha256: Sha256([3; 32]),
        blob,
        created_at: at(1),
        expires_at: Some(at(101)),
        burn: false,
        idle: Some(Duration::from_secs(100)),
        accessed_at: None,
        password: Some(PasswordHash::from_kept("hash".into())),
        target: None,
    };
    links.seal(&link).await.expect("sealed");
    assert_eq!(links.find(&link.id).await.expect("read").expect("a row").link, link);
    link
}

async fn readings_keep_idle_links(links: &dyn Links) {
    let idle = idle_link(links).await;
    let fixed = ready_link(links, owner("i"), "x", 1, Some(100)).await;
    let find = async |id: &LinkId| links.find(id).await.expect("read").expect("a row").link;
    let both = |secs| vec![(idle.id.clone(), at(secs)), (fixed.id.clone(), at(secs))];
    links.touch(both(50)).await.expect("written");
    links.touch(both(40)).await.expect("written");
    assert_eq!(find(&idle.id).await, idle.clone().touched(at(50)), "the last reading counts, whichever came last");
    assert_eq!(find(&fixed.id).await, fixed, "a fixed end is fixed");
    let overdue = links.doom_overdue(at(120), 10).await.expect("written");
    assert_eq!(overdue.iter().map(|doomed| &doomed.id).collect::<Vec<_>>(), [&fixed.id]);
    links.touch(both(130)).await.expect("written");
    let ttl = Change { ttl: Some(Ttl::For(Duration::from_secs(5))), password: Some(None), ..Change::default() };
    let changed = links.change(&idle.id, ttl, at(140)).await.expect("written").expect("live");
    assert_eq!((changed.idle, changed.expires_at, &changed.password), (None, Some(at(145)), &None));
    links.touch(both(144)).await.expect("written");
    assert_eq!(find(&idle.id).await, changed, "a lifetime that was asked for is not touched");
    assert_eq!(links.doom_overdue(at(145), 10).await.expect("written").len(), 1);
    links.touch(both(146)).await.expect("written");
    assert_eq!(links.find(&idle.id).await.expect("read").expect("a row").phase, Phase::Doomed, "and none comes back");
}

async fn bytes_are_replaced_at_once(links: &dyn Links) {
    let link = idle_link(links).await;
    let before = links.totals(None, at(10)).await.expect("read");
    let replacement = async || {
        let pending = LinkId::random().expect("random bytes");
        let blob = hex::encode(crate::units::random::<16>().expect("random bytes"));
        let row = Reservation { id: pending.clone(), kind: Kind::Paste, owner: owner("i"), blob, now: at(10) };
        links.reserve(vec![row.clone()]).await.expect("reserved");
        let (id, mime, sha256) = (link.id.clone(), "image/png".to_owned(), Sha256([4; 32]));
        Replacement { id, pending, blob: row.blob, mime, size: 25, sha256 }
    };
    let with = replacement().await;
    let (new, old) = links.replace(with.clone(), at(10)).await.expect("written").expect("it lives");
    assert_eq!(old, Doomed { id: with.pending.clone(), kind: link.kind, blob: link.blob.clone() });
    let expected = Link { blob: with.blob.clone(), mime: with.mime, size: 25, sha256: with.sha256, ..link.clone() };
    assert_eq!(new, expected.touched(at(10)));
    assert_eq!(links.find(&link.id).await.expect("read").expect("a row").link, new);
    let doomed = links.doomed(at(10), None, 10).await.expect("read");
    assert!(doomed.contains(&old), "for a sweeper, if it is not deleted now");
    let after = links.totals(None, at(10)).await.expect("read");
    assert_eq!((after.links, after.bytes), (before.links, before.bytes + 15));
    links.doom(&link.id, at(20)).await.expect("written");
    let late = replacement().await;
    assert!(links.replace(late.clone(), at(20)).await.expect("written").is_none(), "it has ended");
    assert!(links.release(&late.pending).await.expect("written"), "and the reservation is as it was");
}

async fn what_is_ready_is_counted_but_for_some(links: &dyn Links) {
    let (some, all) = (owner("counted"), links.ready(&owner("counted"), Vec::new()).await.expect("read").0);
    let one = ready_link(links, some.clone(), "x", 1, None).await;
    let two = ready_link(links, some.clone(), "x", 1, None).await;
    let other = ready_link(links, owner("another"), "x", 1, None).await;
    let pending = LinkId::random().expect("random bytes");
    let blob = hex::encode(crate::units::random::<16>().expect("random bytes"));
    let row = Reservation { id: pending.clone(), kind: Kind::File, owner: some.clone(), blob, now: at(1) };
    links.reserve(vec![row]).await.expect("reserved");
    let unknown = LinkId::random().expect("random bytes");
    let cases = [
        (vec![], (3, 2)),
        (vec![unknown, pending.clone()], (3, 2)),
        (vec![one.id.clone()], (2, 1)),
        (vec![other.id.clone(), two.id.clone()], (1, 1)),
    ];
    for (but, (more, own)) in cases {
        assert_eq!(links.ready(&some, but).await.expect("read"), (all + more, own));
    }
    assert!(links.release(&pending).await.expect("written"));
    for link in [one, two, other] {
        links.doom(&link.id, at(1)).await.expect("written");
        links.bury(vec![link.id], at(1)).await.expect("written");
    }
    assert_eq!(links.ready(&some, Vec::new()).await.expect("read"), (all, 0));
}

async fn links_without_bytes_are_counted_and_end(links: &dyn Links) {
    let before = links.totals(None, at(5)).await.expect("read");
    let url = Link {
        id: LinkId::random_short().expect("random bytes"),
        kind: Kind::Url,
        size: 0,
        blob: String::new(),
        password: None,
        target: Some("https://example.org/".into()),
        ..idle_link(links).await
    };
    assert!(links.insert(&url).await.expect("written"));
    assert!(!links.insert(&url).await.expect("written"), "there is one");
    assert_eq!(links.find(&url.id).await.expect("read").expect("a row").link, url);
    assert_eq!(links.totals(None, at(5)).await.expect("read").links, before.links + 2);
    links.doom(&url.id, at(6)).await.expect("written");
    links.bury(vec![url.id.clone()], at(6)).await.expect("written");
    assert!(!links.insert(&url).await.expect("written"), "it is remembered");
    assert_eq!(links.totals(None, at(6)).await.expect("read").links, before.links + 1);
}

#[tokio::test]
async fn sqlite_keeps_links() {
    let folder = tempfile::tempdir().expect("a folder");
    let links: Arc<dyn Links> = Arc::new(Sqlite::open(folder.path()).expect("opened"));
    rows_go_one_way(&*links).await;
    one_of_many_claims(Arc::clone(&links)).await;
    pending_rows_are_told_apart(&*links).await;
    changes_are_kept(&*links).await;
    bytes_are_replaced_at_once(&*links).await;
    links_without_bytes_are_counted_and_end(&*links).await;
    what_is_ready_is_counted_but_for_some(&*links).await;
    links.close().await;
    assert!(matches!(links.find(&LinkId::random().expect("random bytes")).await, Err(Error::Closed)));
    let fresh = tempfile::tempdir().expect("a folder");
    readings_keep_idle_links(&Sqlite::open(fresh.path()).expect("opened")).await;
    let fresh = tempfile::tempdir().expect("a folder");
    overdue_rows_are_found_oldest_first(&Sqlite::open(fresh.path()).expect("opened")).await;
    let fresh = tempfile::tempdir().expect("a folder");
    lists_are_paged_and_counted(&Sqlite::open(fresh.path()).expect("opened")).await;
}

fn certificate(seed: u8, client: &ClientId) -> Certificate {
    Certificate {
        fingerprint: Fingerprint::of(&[seed]),
        serial: format!("{seed:02x}"),
        client: Some(client.clone()),
        profile: "client".into(),
        subject: format!("CN={seed}"),
        issuer: Some(Sha256([9; 32])),
        not_before: at(1),
        not_after: at(1000 + i64::from(seed)),
        created_at: at(i64::from(seed)),
        revoked: None,
        der: Some(vec![seed]),
    }
}

fn client(id: &str, name: &str) -> Client {
    Client { id: ClientId::from_kept(id.into()), name: name.into(), admin: false, created_at: at(1) }
}

fn invite(id: &str, expires: i64) -> Invite {
    Invite {
        id: id.into(),
        hash: Sha256::of(id.as_bytes()),
        name: "alice".into(),
        admin: false,
        client: None,
        created_by: "operator".into(),
        created_at: at(1),
        expires_at: at(expires),
        used_at: None,
        withdrawn_at: None,
    }
}

async fn an_invite_enrols_one(trust: Arc<dyn Trust>) {
    trust.invite(invite("i1", 100)).await.expect("kept");
    let racers: Vec<_> = (0..8)
        .map(|n| {
            let trust = Arc::clone(&trust);
            tokio::spawn(async move {
                let alice = client(&format!("c{n}"), &format!("alice{n}"));
                let enrolment = Enrolment {
                    first: false,
                    invite: Some(("i1".into(), at(50))),
                    certificate: certificate(n, &alice.id),
                    client: Some(alice),
                };
                trust.enroll(enrolment).await.expect("written")
            })
        })
        .collect();
    let mut done = 0;
    for racer in racers {
        match racer.await.expect("no panic") {
            Enrolled::Done => done += 1,
            Enrolled::InviteSpent => {}
            refused => panic!("{refused:?}"),
        }
    }
    assert_eq!(done, 1);
    assert_eq!(trust.clients().await.expect("read").len(), 1, "the losers left nothing");
    let used = trust.invite_by_hash(Sha256::of(b"i1")).await.expect("read").expect("an invite");
    assert_eq!(used.used_at, Some(at(50)));
    assert!(!trust.withdraw_invite("i1", at(60)).await.expect("written"), "it was used");
}

/// Of those who race to be the first client, through whichever process, one is.
async fn one_is_first(one: Arc<dyn Trust>, other: Arc<dyn Trust>) {
    assert!(!one.has_clients().await.expect("read"));
    let racers: Vec<_> = (0..8)
        .map(|n| {
            let trust = Arc::clone(if n % 2 == 0 { &one } else { &other });
            let own = client(&format!("r{n}"), &format!("racer{n}"));
            let enrolment =
                Enrolment { first: true, invite: None, certificate: certificate(n, &own.id), client: Some(own) };
            tokio::spawn(async move { trust.enroll(enrolment).await.expect("written") })
        })
        .collect();
    let mut done = 0;
    for racer in racers {
        match racer.await.expect("no panic") {
            Enrolled::Done => done += 1,
            refused => assert_eq!(refused, Enrolled::NotFirst),
        }
    }
    assert_eq!(done, 1);
    let all = one.clients().await.expect("read");
    assert!(all.len() == 1 && other.has_clients().await.expect("read"), "the losers left nothing");
    assert_eq!(other.client(&all[0].id).await.expect("read").as_ref(), Some(&all[0]));
}

async fn invites_end(trust: &dyn Trust) {
    trust.invite(invite("late", 10)).await.expect("kept");
    trust.invite(invite("back", 100)).await.expect("kept");
    assert!(trust.withdraw_invite("back", at(5)).await.expect("written"));
    for id in ["late", "back", "never"] {
        let enrolment = Enrolment {
            first: false,
            invite: Some((id.into(), at(10))),
            client: None,
            certificate: certificate(100, &ClientId::from_kept("x".into())),
        };
        assert_eq!(trust.enroll(enrolment).await.expect("written"), Enrolled::InviteSpent, "{id}");
    }
}

async fn a_refused_enrolment_leaves_the_invite(trust: &dyn Trust) {
    trust.invite(invite("i2", 100)).await.expect("kept");
    let bob = client("bob1", "bob");
    let first =
        Enrolment { first: false, invite: None, certificate: certificate(20, &bob.id), client: Some(bob.clone()) };
    assert_eq!(trust.enroll(first).await.expect("written"), Enrolled::Done);
    let other = client("bob2", "bob");
    let second = Enrolment {
        first: false,
        invite: Some(("i2".into(), at(5))),
        certificate: certificate(21, &other.id),
        client: Some(other),
    };
    assert_eq!(trust.enroll(second).await.expect("written"), Enrolled::NameTaken);
    let left = trust.invite_by_hash(Sha256::of(b"i2")).await.expect("read").expect("an invite");
    assert_eq!(left.used_at, None);
    let one_more = Enrolment { first: false, invite: None, certificate: certificate(22, &bob.id), client: Some(bob) };
    assert_eq!(trust.enroll(one_more).await.expect("written"), Enrolled::Done, "a client may have several");
}

async fn revocation_is_seen_and_raises_the_epoch(trust: &dyn Trust) {
    let carol = client("carol", "carol");
    let own = certificate(40, &carol.id);
    let before = trust.epoch();
    let enrolment = Enrolment { first: false, invite: None, certificate: own.clone(), client: Some(carol.clone()) };
    trust.enroll(enrolment).await.expect("written");
    let enrolled = trust.epoch();
    assert_ne!(before, enrolled);
    let how = Revoked { at: at(77), reason: 1 };
    let sha256 = own.fingerprint.sha256;
    let number = trust.revocations().await.expect("read");
    assert_eq!(trust.revoke(vec![sha256], how).await.expect("written"), [sha256]);
    assert_ne!(trust.epoch(), enrolled);
    assert!(trust.revoke(vec![sha256], Revoked { at: at(99), reason: 4 }).await.expect("written").is_empty());
    assert_eq!(trust.revocations().await.expect("read"), number + 1, "only what changes something counts");
    for key in [Key::Sha256(sha256), Key::Sha1(own.fingerprint.sha1), Key::Serial(own.serial.clone())] {
        let found = trust.known(key).await.expect("read").expect("known");
        assert_eq!((found.certificate.revoked, found.client.as_ref()), (Some(how), Some(&carol)));
    }
    assert_eq!(trust.der(sha256).await.expect("read"), Some(vec![40]));
    let listed = Listed { serial: own.serial.clone(), revoked: how };
    assert_eq!(trust.revoked(Sha256([9; 32]), at(100)).await.expect("read"), [listed]);
    assert_eq!(trust.revoked(Sha256([8; 32]), at(100)).await.expect("read"), [], "another's");
    assert_eq!(trust.revoked(Sha256([9; 32]), own.not_after).await.expect("read"), [], "over");
    let own = Certificates { client: Some(carol.id), ..Certificates::default() };
    assert_eq!(trust.certificates(own).await.expect("read").len(), 1);
}

/// Lists come in parts that are the whole when put together, also where many are of one instant.
async fn lists_come_in_parts(trust: &dyn Trust) {
    let (eve, fay) = (client("eve", "eve"), client("fay", "fay"));
    for (of, numbers) in [(&eve, 120..127), (&fay, 130..132)] {
        for number in numbers {
            let certificate = certificate(number, &of.id);
            let enrolment = Enrolment { first: false, invite: None, client: Some(of.clone()), certificate };
            assert_eq!(trust.enroll(enrolment).await.expect("written"), Enrolled::Done);
        }
    }
    for number in 0..5 {
        trust.invite(invite(&format!("part{number}"), 100)).await.expect("kept");
    }
    let name = |known: &Known| known.certificate.fingerprint.sha256;
    for client in [None, Some(eve.id.clone())] {
        let list = async |after, limit| {
            let which = Certificates { client: client.clone(), part: Part { after, limit } };
            trust.certificates(which).await.expect("read").iter().map(name).collect::<Vec<_>>()
        };
        let whole = list(None, None).await;
        for limit in 1..4 {
            let (mut parts, mut after) = (Vec::new(), None);
            loop {
                let part = list(after, Some(limit)).await;
                assert!(part.len() <= limit as usize);
                let Some(last) = part.last() else { break };
                after = Some(*last);
                parts.extend(part);
            }
            assert_eq!(parts, whole, "{limit} at a time");
        }
        assert!(list(Some(Sha256([77; 32])), None).await.is_empty(), "after what is not there");
        let of_another = certificate(130, &fay.id).fingerprint.sha256;
        assert_eq!(list(Some(of_another), None).await.is_empty(), client.is_some(), "no list tells where another's is");
    }
    let list = async |after: Option<String>, limit| {
        let found = trust.invites(Part { after, limit }).await.expect("read");
        found.into_iter().map(|invite| invite.id).collect::<Vec<_>>()
    };
    let (whole, mut parts) = (list(None, None).await, list(None, Some(2)).await);
    while let Some(next) = Some(list(parts.last().cloned(), Some(2)).await).filter(|next| !next.is_empty()) {
        parts.extend(next);
    }
    assert!(whole.len() >= 5 && parts == whole, "{parts:?} {whole:?}");
    assert!(list(Some("never".to_owned()), None).await.is_empty());
}

/// Links of a certificate nobody knew go with it to the client it becomes a certificate of.
async fn links_go_with_their_certificate(links: &dyn Links, trust: &dyn Trust) {
    let zoe = client("z", "zoe");
    let unknown = certificate(90, &zoe.id);
    let before = Owner::Certificate(unknown.fingerprint.sha256);
    let own = ready_link(links, Owner::Client(zoe.id.clone()), "own", 1, None).await;
    let brought = ready_link(links, before.clone(), "brought", 2, None).await;
    let others = ready_link(links, Owner::Certificate(Sha256([91; 32])), "other", 3, None).await;
    // On its way meanwhile.
    let id = LinkId::random().expect("random bytes");
    let coming = Link { id, blob: "c".repeat(32), ..brought.clone() };
    let (id, blob, owner) = (coming.id.clone(), coming.blob.clone(), before.clone());
    links.reserve(vec![Reservation { id, kind: Kind::File, owner, blob, now: at(4) }]).await.expect("reserved");
    let enrolment = Enrolment { first: false, invite: None, client: Some(zoe.clone()), certificate: unknown };
    assert_eq!(trust.enroll(enrolment).await.expect("written"), Enrolled::Done);
    links.seal(&coming).await.expect("sealed");
    let after = Owner::Client(zoe.id);
    for (link, owner) in [(&own, &after), (&brought, &after), (&coming, &after), (&others, &others.owner)] {
        assert_eq!(links.find(&link.id).await.expect("read").expect("a row").link.owner, *owner);
    }
    let totals = links.totals(Some(after), at(5)).await.expect("read");
    assert_eq!((totals.links, totals.bytes), (3, 30));
    assert_eq!(links.totals(Some(before), at(5)).await.expect("read").links, 0);
}

#[tokio::test]
async fn sqlite_keeps_trust() {
    let folder = tempfile::tempdir().expect("a folder");
    let trust: Arc<dyn Trust> = Arc::new(Sqlite::open(folder.path()).expect("opened"));
    an_invite_enrols_one(Arc::clone(&trust)).await;
    invites_end(&*trust).await;
    a_refused_enrolment_leaves_the_invite(&*trust).await;
    revocation_is_seen_and_raises_the_epoch(&*trust).await;
    lists_come_in_parts(&*trust).await;
    assert_eq!(trust.next_number("crl").await.expect("written"), 1);
    assert_eq!(trust.next_number("crl").await.expect("written"), 2);
    trust.set_value("where", "here").await.expect("written");
    assert_eq!(trust.value("where").await.expect("read").as_deref(), Some("here"));
}

#[tokio::test]
async fn sqlite_knows_who_is_first() {
    let folder = tempfile::tempdir().expect("a folder");
    let [one, other] = [(); 2].map(|()| Arc::new(Sqlite::open(folder.path()).expect("opened")));
    one_is_first(one, other).await;
}

#[tokio::test]
async fn sqlite_brings_links_along() {
    let folder = tempfile::tempdir().expect("a folder");
    let sqlite = Sqlite::open(folder.path()).expect("opened");
    links_go_with_their_certificate(&sqlite, &sqlite).await;
}

#[tokio::test]
async fn another_process_sees_a_change_of_trust_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Sqlite::open(folder.path()).expect("opened");
    let operator = Sqlite::open(folder.path()).expect("opened");
    let before = server.epoch();
    let dave = client("dave", "dave");
    let enrolment = Enrolment { first: false, invite: None, certificate: certificate(1, &dave.id), client: Some(dave) };
    operator.enroll(enrolment).await.expect("written");
    let after = server.epoch();
    assert_ne!(after, before);
    assert!(server.known(Key::Serial("01".into())).await.expect("read").is_some());
    let _third = Sqlite::open(folder.path()).expect("opened");
    assert!(![before, after].contains(&server.epoch()), "a late word never puts back what was before");
}

#[tokio::test]
async fn a_revocation_is_told_although_its_caller_has_gone_away() {
    let folder = tempfile::tempdir().expect("a folder");
    let trust = Sqlite::open(folder.path()).expect("opened");
    let erin = client("erin", "erin");
    let own = certificate(1, &erin.id);
    let sha256 = own.fingerprint.sha256;
    trust
        .enroll(Enrolment { first: false, invite: None, certificate: own, client: Some(erin) })
        .await
        .expect("written");
    let before = trust.epoch();
    cut_off(1, trust.revoke(vec![sha256], Revoked { at: at(1), reason: 1 })).await;
    // Whatever was brought before this has been done when it is answered.
    trust.set_value("after", "it").await.expect("written");
    assert_ne!(trust.epoch(), before);
}

/// A token works once, in whichever process, and none that had to be forgotten works again.
async fn tokens_work_once(one: Arc<dyn Spent>, other: Arc<dyn Spent>) {
    let token = |n: i64| Sha256::of(&n.to_be_bytes());
    let racers: Vec<_> = (0..16)
        .map(|n| {
            let spent = Arc::clone(if n % 2 == 0 { &one } else { &other });
            tokio::spawn(async move { spent.spend(token(0), at(100), 100, at(10)).await.expect("written") })
        })
        .collect();
    let mut won = 0;
    for racer in racers {
        won += usize::from(racer.await.expect("no panic"));
    }
    assert_eq!(won, 1);
    for n in 1..=9 {
        assert!(one.spend(token(n), at(100 + n), 10, at(10)).await.expect("written"), "there is room for 10");
    }
    assert!(one.spend(token(10), at(110), 10, at(10)).await.expect("written"), "in place of the first to expire");
    assert!(!other.spend(token(0), at(100), 10, at(10)).await.expect("written"), "which does not work again");
    assert!(!other.spend(token(-1), at(100), 10, at(10)).await.expect("written"), "nor one that ended with it");
    for n in 1..=10 {
        assert!(!other.spend(token(n), at(100 + n), 10, at(10)).await.expect("written"), "{n} is remembered");
    }
    for n in 200..300 {
        assert!(one.spend(token(n), at(1000 + n), 200, at(111)).await.expect("written"), "none has to be forgotten");
    }
}

#[tokio::test]
async fn sqlite_spends_tokens() {
    let folder = tempfile::tempdir().expect("a folder");
    let [one, other] = [(); 2].map(|()| Arc::new(Sqlite::open(folder.path()).expect("opened")));
    tokens_work_once(one.clone(), other.clone()).await;
    let settled = one.settle_value("work", "mine").await.expect("written");
    assert_eq!(
        (settled.as_str(), other.settle_value("work", "other").await.expect("written")),
        ("mine", settled.clone())
    );
    one.close().await;
    other.close().await;
    let rows = rusqlite::Connection::open(folder.path().join("links.db")).expect("opened");
    let sum: (u32, u32) = rows
        .query_row("SELECT tokens, (SELECT count(*) FROM spent) FROM spent_sum", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .expect("read");
    assert_eq!(sum, (100, 100), "what has expired is gone");
}

fn reserved() -> Reserved {
    ready(Ok(())).boxed()
}

fn nothing_follows() -> Then {
    Box::new(|_| ready(Ok(())).boxed())
}

async fn bytes_come_back(blobs: &dyn Blobs) {
    let name = "0123456789abcdef0123456789abcdef";
    let bytes: Vec<u8> = (0..600_000_u32).map(|n| (n % 251) as u8).collect();
    let mut writer = blobs.create(name, reserved()).await.expect("made");
    for piece in bytes.chunks(10_000) {
        writer.write(Bytes::copy_from_slice(piece)).await.expect("written");
    }
    let size = bytes.len() as u64;
    let whole = Span { start: 0, length: size };
    assert!(blobs.open(name, size, whole).await.is_err(), "not there before it is whole");
    assert_eq!(writer.finish(nothing_follows()).await.expect("durable"), Sha256::of(&bytes));
    for span in [
        whole,
        Span { start: 0, length: 0 },
        Span { start: 299_999, length: 270_000 },
        Span { start: size - 1, length: 1 },
    ] {
        let pieces: Vec<Bytes> = blobs.open(name, size, span).await.expect("opened").try_collect().await.expect("read");
        assert!(pieces.iter().all(|piece| piece.len() <= 256 * 1024));
        let (start, end) = (span.start as usize, (span.start + span.length) as usize);
        assert_eq!(pieces.concat(), bytes[start..end]);
    }
    assert!(blobs.open(name, size, Span { start: size, length: 1 }).await.is_err());
    assert!(blobs.open(name, size + 1, whole).await.is_err(), "shorter than its row says");
    assert_eq!(blobs.total(std::collections::HashSet::new()).await.expect("counted"), size);
    assert_eq!(blobs.remove(name).await.expect("deleted"), size);
    assert_eq!(blobs.remove(name).await.expect("no error"), 0);
    assert_eq!(blobs.remove("").await.expect("no error"), 0);
    assert!(blobs.create("../../etc/passwd", reserved()).await.is_err());
    assert!(blobs.prepare(vec!["../../etc/passwd".to_owned()]).await.is_err());
    let other = "f".repeat(32);
    for _ in 0..2 {
        blobs.prepare(vec![name.to_owned(), other.clone()]).await.expect("made");
    }
    for (name, size) in [(name, 3), (&other, 4)] {
        let mut writer = blobs.create(name, reserved()).await.expect("made");
        writer.write(Bytes::from(vec![1; size])).await.expect("written");
        if name == other {
            // Not whole, and what there is of it goes as well.
            writer.write(Bytes::from(vec![1; 300_000])).await.expect("written");
            writer.abort().await;
        } else {
            writer.finish(nothing_follows()).await.expect("durable");
        }
    }
    let names = [name, "../../etc/passwd", &"e".repeat(32), &other].map(str::to_owned).to_vec();
    let removed: Vec<_> = blobs.remove_many(names).await.into_iter().map(Result::ok).collect();
    assert_eq!(removed, [Some(3), None, Some(0), Some(300_004)], "each has its own answer");
    assert_eq!(blobs.total(std::collections::HashSet::new()).await.expect("counted"), 0);
}

/// What comes before the bytes, and what comes after them.
async fn bytes_come_in_their_turn(blobs: &dyn Blobs) {
    let name = "0123456789abcdef0123456789abcdef";
    let there = async || blobs.total(std::collections::HashSet::new()).await.expect("counted");
    let (tell, told) = tokio::sync::oneshot::channel();
    let reserved = async { told.await.map_err(|_| Error::Closed) }.boxed();
    let mut writer = blobs.create(name, reserved).await.expect("made");
    writer.write(Bytes::from(vec![1; 300_000])).await.expect("taken");
    assert_eq!(there().await, 0, "nobody knows of them yet");
    tell.send(()).expect("waited for");
    let (digest, begun) = (Arc::new(std::sync::OnceLock::new()), tokio::sync::oneshot::channel::<()>());
    let (seen, name_there) = (Arc::clone(&digest), blobs.open(name, 300_000, Span { start: 0, length: 1 }));
    assert!(name_there.await.is_err(), "not whole");
    let follows: BoxFuture<'static, _> = async { begun.1.await.map_err(|_| Error::Closed) }.boxed();
    let then = move |sha256| {
        let _ = seen.set(sha256);
        follows
    };
    let mut finishing = std::pin::pin!(writer.finish(Box::new(then)));
    while digest.get().is_none() {
        assert!(futures_util::poll!(finishing.as_mut()).is_pending(), "something follows");
        tokio::task::yield_now().await;
    }
    assert_eq!(there().await, 300_000, "what follows comes after the bytes");
    drop(begun.0);
    assert!(matches!(finishing.await, Err(Error::Closed)), "its failure is that of all");
    assert_eq!(blobs.remove(name).await.expect("deleted"), 300_000);
    for bytes in [3, 300_000] {
        let mut unknown = blobs.create(name, ready(Err(Error::NotWritten)).boxed()).await.expect("made");
        unknown.write(Bytes::from(vec![1; bytes])).await.expect("taken");
        assert!(matches!(unknown.finish(nothing_follows()).await, Err(Error::NotWritten)));
        assert_eq!(there().await, 0, "without a row there is no file");
    }
}

#[tokio::test]
async fn the_disk_keeps_bytes() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = Disk::open(folder.path()).expect("opened");
    bytes_come_back(&disk).await;
    bytes_come_in_their_turn(&disk).await;
    disk.prepare(vec!["9".repeat(32)]).await.expect("made");
    assert!(folder.path().join("99/99").is_dir(), "the folder is there before the file");
    let found = || std::fs::read_dir(folder.path()).expect("a folder").count();
    let before = found();
    for probe in futures_util::future::join_all((0..100).map(|_| disk.probe())).await {
        probe.expect("writable, however many ask");
    }
    assert_eq!(found(), before, "and nothing is left of it");
}
