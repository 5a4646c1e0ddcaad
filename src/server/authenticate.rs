//! Who is asking: the only place that makes a [`Principal`], once per request, from evidence.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::App;
use super::connection::Connection;
use super::outside::{DISAGREE, Outside, Shown};
use super::problem::Problem;
use crate::access::Denied;
use crate::authority::{Name, Standing, has_sha1};
use crate::identity::{Owner, Principal, Proof, Seen, Sha1, Sha256, Tier};
use crate::tls::PeerCertificate;
use crate::token::Secret;
use crate::units::Timestamp;

/// What a request says of its sender, once it is known to be true.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    /// Who it is.
    principal: Principal,
    /// Why the certificate it shows is worth nothing, if it is one of ours.
    refused: Option<Problem>,
}

/// The secret of an invite, as `Authorization: Invite SECRET` or as the password of HTTP Basic.
#[derive(Clone, Debug)]
pub(super) struct InviteSecret(pub(super) Secret);

/// Reads who is asking and takes every trace of how they said so off the request.
pub(super) async fn authenticate<F: Future<Output = Response>>(
    app: &App,
    mut request: Request,
    next: impl FnOnce(Request) -> F,
) -> Response {
    let connection = request.extensions().get::<Arc<Connection>>().cloned();
    let found = |known| {
        if let Some(connection) = &connection {
            connection.found(known);
        }
    };
    // Of two that say different things the right one does not count.
    let doubled = request.headers().get_all(header::AUTHORIZATION).iter().nth(1).is_some();
    let authorization = request.headers_mut().remove(header::AUTHORIZATION);
    if doubled {
        found(false);
        return Problem::bad_token().into_response();
    }
    let outside = request.extensions().get::<Outside>().cloned();
    let caller = match identify(app, connection.as_deref(), outside.as_ref(), authorization.as_ref()).await {
        Ok((caller, invite)) => {
            if let Some(invite) = invite {
                request.extensions_mut().insert(invite);
            }
            caller
        }
        Err(problem) => {
            found(false);
            return problem.into_response();
        }
    };
    let known = caller.principal.is_known();
    found(known);
    request.extensions_mut().insert(caller);
    let mut response = next(request).await;
    if known {
        response.extensions_mut().insert(Known);
    }
    response
}

/// On an answer: it is for somebody who is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known;

enum Authorization {
    Bearer(Secret),
    Invite(Secret),
}

async fn identify(
    app: &App,
    connection: Option<&Connection>,
    outside: Option<&Outside>,
    authorization: Option<&HeaderValue>,
) -> Result<(Caller, Option<InviteSecret>), Problem> {
    let address = outside.and_then(|outside| outside.address);
    let said = authorization.map(parse).transpose()?;
    let invite = match said {
        Some(Authorization::Bearer(token)) => {
            let matches = || app.token().is_some_and(|own| own.matches(token.reveal()));
            let right = app.throttle().try_token(address, app.clock.now(), matches);
            let right = right.inspect_err(|_| app.metrics().limited.one("tokens"))?;
            let principal = Principal {
                tier: Tier::Admin,
                owner: Owner::Token,
                name: Some("token".to_owned()),
                proof: Proof::Token,
                address,
            };
            return if right { Ok((Caller { principal, refused: None }, None)) } else { Err(Problem::bad_token()) };
        }
        Some(Authorization::Invite(secret)) => Some(InviteSecret(secret)),
        None => None,
    };
    let mut caller = Caller { principal: nobody(), refused: None };
    if let Some(connection) = connection
        && let Some(certificate) = &connection.peer.certificate
        && let Some(found) = connection.standing(&app.authority).await?
    {
        caller = judge(certificate, Seen::Here, &found.1, app.clock.now());
    } else if let Some(outside) = outside {
        caller = introduced(app, &outside.shown).await?;
    }
    caller.principal.address = address;
    Ok((caller, invite))
}

/// Who it is that a proven proxy speaks for. What it says is looked up here: it vouches for the key, not for the rest.
async fn introduced(app: &App, shown: &Shown) -> Result<Caller, Problem> {
    let now = app.clock.now();
    match shown {
        Shown::Nothing => Ok(Caller { principal: nobody(), refused: None }),
        Shown::Unreadable(why) => Err(Problem::identity_header(why)),
        Shown::Certificate(certificate) => {
            let standing = app.vouched().whole(&app.authority, certificate).await?;
            Ok(judge(certificate, Seen::ByProxy, &standing, now))
        }
        Shown::Fingerprint(sha256, sha1) => {
            let by_sha1 = sha1.map(Name::Sha1);
            let Some(name) = sha256.map(Name::Sha256).or(by_sha1) else { return Ok(unknown(None, *sha1)) };
            let Some((certificate, standing)) = app.vouched().told(&app.authority, name).await? else {
                return Ok(unknown(*sha256, *sha1));
            };
            let mut caller = judge(&certificate, Seen::Told, &standing, now);
            if !has_sha1(&certificate.fingerprint) {
                caller.principal.proof = Proof::Named { sha256: *sha256, sha1: *sha1 };
            } else if sha1.is_some_and(|said| said != certificate.fingerprint.sha1) {
                return Err(Problem::identity_header(DISAGREE));
            }
            Ok(caller)
        }
    }
}

/// The holder of a certificate nobody here knows. By SHA-1 alone it owns nothing: two certificates can be made that
/// have the same.
fn unknown(sha256: Option<Sha256>, sha1: Option<Sha1>) -> Caller {
    let stranger = Principal { proof: Proof::Named { sha256, sha1 }, ..nobody() };
    let principal = match sha256 {
        None => stranger,
        Some(sha256) => Principal { tier: Tier::Untrusted, owner: Owner::Certificate(sha256), ..stranger },
    };
    Caller { principal, refused: None }
}

/// A scheme we do not know is a wrong credential, not none.
fn parse(value: &HeaderValue) -> Result<Authorization, Problem> {
    let text = value.to_str().map_err(|_| Problem::bad_token())?;
    let (scheme, rest) = text.split_once(' ').ok_or_else(Problem::bad_token)?;
    let rest = rest.trim();
    match scheme.to_ascii_lowercase().as_str() {
        "bearer" => Ok(Authorization::Bearer(Secret::from_given(rest.to_owned()))),
        "invite" => Ok(Authorization::Invite(Secret::from_given(rest.to_owned()))),
        "basic" => {
            let decoded = BASE64_STANDARD.decode(rest).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            let decoded = decoded.ok_or_else(Problem::bad_token)?;
            let (_, password) = decoded.split_once(':').ok_or_else(Problem::bad_token)?;
            Ok(Authorization::Invite(Secret::from_given(password.to_owned())))
        }
        _ => Err(Problem::bad_token()),
    }
}

fn nobody() -> Principal {
    Principal { tier: Tier::Anonymous, owner: Owner::Anonymous, name: None, proof: Proof::Nothing, address: None }
}

/// A certificate of ours that is over says who someone was, not who someone is: its holder is nobody, and told why
/// where that matters.
fn judge(certificate: &PeerCertificate, seen: Seen, standing: &Standing, now: Timestamp) -> Caller {
    let PeerCertificate { fingerprint, not_after, .. } = *certificate;
    let proof = Proof::Certificate { fingerprint, not_after: Some(not_after), seen };
    // The standing may have been found a while ago on this connection; the dates are looked at now.
    let dated = match standing {
        Standing::Good { .. } | Standing::Expired { .. } | Standing::NotYet { .. } => {
            if now >= certificate.not_after {
                Some(Standing::Expired { not_after: certificate.not_after })
            } else if now < certificate.not_before {
                Some(Standing::NotYet { not_before: certificate.not_before })
            } else {
                None
            }
        }
        Standing::Revoked { .. } => Some(standing.clone()),
        Standing::Unknown => None,
    };
    if let Some(over) = dated {
        let principal = Principal { proof, ..nobody() };
        return Caller { principal, refused: Some(Problem::certificate(&over)) };
    }
    let principal = match standing {
        Standing::Good { client, .. } => Principal {
            tier: if client.admin { Tier::Admin } else { Tier::Trusted },
            owner: Owner::Client(client.id.clone()),
            name: Some(client.name.clone()),
            proof,
            address: None,
        },
        _ => Principal {
            tier: Tier::Untrusted,
            owner: Owner::Certificate(certificate.fingerprint.sha256),
            name: None,
            proof,
            address: None,
        },
    };
    Caller { principal, refused: None }
}

/// Who is asking, on routes that are open to everyone.
#[derive(Clone, Debug)]
pub(super) struct Anyone(pub(super) Principal);

/// Who is asking, on routes where that matters: refuses those whose certificate is over.
#[derive(Clone, Debug)]
pub(super) struct Asking(pub(super) Principal);

/// On a route that was put outside `authenticate` by mistake everybody is nobody.
fn caller(extensions: &Extensions) -> Caller {
    let found = extensions.get::<Caller>().cloned();
    found.unwrap_or_else(|| Caller { principal: nobody(), refused: None })
}

/// Who is asking, whatever became of the certificate that was shown.
pub(super) fn asking(request: &Request) -> Principal {
    caller(request.extensions()).principal
}

impl<S: Sync> FromRequestParts<S> for Anyone {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Ok(Self(caller(&parts.extensions).principal))
    }
}

impl<S: Sync> FromRequestParts<S> for Asking {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Caller { principal, refused } = caller(&parts.extensions);
        match refused {
            Some(problem) => Err(problem),
            None => Ok(Self(principal)),
        }
    }
}

/// The gate in front of closed routes: nobody, and nobody whose certificate is over, gets past it.
pub(super) async fn known(State(app): State<App>, Asking(who): Asking, request: Request, next: Next) -> Response {
    match crate::access::list(&who, app.settings.policy) {
        Ok(_) => next.run(request).await,
        Err(denied) => refusal(&app, denied).into_response(),
    }
}

/// Where the operator has a token, who shows nothing is told what DeadDrop told its users.
pub(super) fn refusal(app: &App, denied: Denied) -> Problem {
    match denied {
        Denied::Unknown if app.token().is_some() => Problem::missing_token(),
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{ClientId, Fingerprint};
    use crate::store::trust::Client;

    fn certificate() -> PeerCertificate {
        PeerCertificate {
            fingerprint: Fingerprint::of(b"certificate"),
            not_before: Timestamp::from_secs(1000),
            not_after: Timestamp::from_secs(2000),
        }
    }

    fn good(admin: bool) -> Standing {
        let client = Client {
            id: ClientId::from_kept("c".into()),
            name: "alice".into(),
            admin,
            created_at: Timestamp::from_secs(0),
        };
        Standing::Good { client, not_after: Timestamp::from_secs(2000) }
    }

    #[test]
    fn the_tier_follows_the_standing() {
        let tier = |standing: &Standing| {
            judge(&certificate(), Seen::Here, standing, Timestamp::from_secs(1500)).principal.tier
        };
        assert_eq!(tier(&good(true)), Tier::Admin);
        assert_eq!(tier(&good(false)), Tier::Trusted);
        assert_eq!(tier(&Standing::Unknown), Tier::Untrusted);
        assert_eq!(tier(&Standing::Revoked { at: Timestamp::from_secs(1) }), Tier::Anonymous);
    }

    #[test]
    fn dates_are_judged_at_the_time_of_the_request() {
        let at = |secs| judge(&certificate(), Seen::Here, &good(true), Timestamp::from_secs(secs));
        assert!(at(1000).refused.is_none() && at(1999).refused.is_none());
        for secs in [999, 2000] {
            let caller = at(secs);
            assert!(caller.refused.is_some() && caller.principal.tier == Tier::Anonymous, "at {secs}");
        }
    }

    #[test]
    fn an_unknown_scheme_is_a_wrong_credential() {
        for value in ["Digest x", "Bearer", "Basic !!!", "Basic aGVsbG8="] {
            assert!(parse(&HeaderValue::from_static(value)).is_err(), "{value}");
        }
        let basic = parse(&HeaderValue::from_static("Basic YW55OnNlY3JldA==")).ok();
        assert!(matches!(basic, Some(Authorization::Invite(s)) if s.reveal() == "secret"));
    }
}
