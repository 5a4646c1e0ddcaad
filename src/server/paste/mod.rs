//! FlaskPaste's dialect: its paths, headers and JSON for the same links, owners and limits as everywhere.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::Uri;
use axum::response::Redirect;
use axum::routing::get;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::App;
use super::handlers::{challenge, client};
use super::problem::Problem;
use crate::identity::{Principal, Tier};
use crate::units::{MIB, Ttl};

mod create;
mod info;
mod list;
mod short;
mod show;
mod update;
mod wish;

pub(super) use list::Wanted;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// What holds for pastes.
#[derive(Clone, Debug)]
pub struct Rules {
    /// What FlaskPaste's paths begin with: a slash and a name, once or more.
    pub prefix: String,
    /// Bytes a paste may have if nobody in particular makes it.
    pub max_anonymous: u64,
    /// Bytes another paste may have.
    pub max_known: u64,
    /// How long after its last reading a paste ends that nobody in particular made.
    pub idle_anonymous: Duration,
    /// The same of those with a certificate nobody vouched for.
    pub idle_untrusted: Duration,
    /// The same of clients.
    pub idle_trusted: Duration,
    /// The longest lifetime that can be asked for.
    pub max_expiry: Duration,
    /// Hosts that are this server: no short URL leads there.
    pub own_names: Vec<String>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            prefix: "/paste".to_owned(),
            max_anonymous: 3 * MIB,
            max_known: 50 * MIB,
            idle_anonymous: DAY,
            idle_untrusted: 7 * DAY,
            idle_trusted: 30 * DAY,
            max_expiry: 30 * DAY,
            own_names: Vec::new(),
        }
    }
}

impl Rules {
    /// Bytes a paste of `who` may have.
    pub(super) fn most(&self, who: &Principal) -> u64 {
        if who.tier == Tier::Anonymous { self.max_anonymous } else { self.max_known }
    }

    /// How long after its last reading a paste of `who` ends.
    fn idle(&self, who: &Principal) -> Duration {
        match who.tier {
            Tier::Anonymous => self.idle_anonymous,
            Tier::Untrusted => self.idle_untrusted,
            Tier::Trusted | Tier::Admin => self.idle_trusted,
        }
    }

    /// The lifetime of a paste of `who`, and whether readings begin it anew. `asked`: seconds; more than there may be
    /// become as many as there may be.
    fn lifetime(&self, who: &Principal, asked: Option<Duration>) -> (Ttl, bool) {
        match asked {
            None => (Ttl::For(self.idle(who)), true),
            Some(asked) => (Ttl::For(asked.min(self.max_expiry)), false),
        }
    }
}

/// Memory for content that is taken whole, in KiB.
const JSON_ROOM: u32 = 64 * 1024;

/// What requests for pastes share.
#[derive(Debug)]
pub(super) struct Desk {
    json: Arc<Semaphore>,
}

impl Desk {
    pub(super) fn new() -> Self {
        Self { json: Arc::new(Semaphore::new(JSON_ROOM as usize)) }
    }

    /// Room for so many bytes of JSON, until it is dropped.
    fn json_room(&self, bytes: u64) -> Result<OwnedSemaphorePermit, Problem> {
        let wanted = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
        Arc::clone(&self.json).try_acquire_many_owned(wanted).map_err(|_| {
            Problem::busy("too much content comes as JSON at once").hint("try again, or send it as the body itself")
        })
    }
}

/// Its routes.
pub(super) fn routes(prefix: &str) -> Router<App> {
    let root = Router::new().route("/", get(info::info).post(create::create));
    let within = Router::new()
        .route("/health", get(info::health))
        .route("/challenge", get(challenge::challenge))
        .route("/client", get(client::client))
        .route("/pastes", get(list::list))
        .route("/s", get(short::list).post(short::shorten))
        .route("/s/{id}", get(short::follow).delete(short::delete))
        .route("/s/{id}/info", get(short::info))
        .route("/{id}", get(show::metadata).put(update::update).delete(show::delete))
        .route("/{id}/raw", get(show::raw))
        .merge(root.clone());
    let doubled = Router::new().fallback(once);
    Router::new()
        .nest(prefix, within)
        // What is nested has no path that is the prefix and a slash.
        .nest(&format!("{prefix}/"), root)
        .nest(&format!("{prefix}{prefix}"), doubled)
        .route_layer(DefaultBodyLimit::disable())
}

/// Clients that put together what they know as the server and the path they were answered ask for the prefix twice.
async fn once(State(app): State<App>, uri: Uri) -> Redirect {
    Redirect::permanent(&format!("{}{}", app.settings.pastes.prefix, uri.path()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_so_much_room_and_no_more() {
        let desk = Desk::new();
        let all = u64::from(JSON_ROOM) * 1024;
        let held = desk.json_room(all - 1024).expect("room");
        let last = desk.json_room(1).expect("room");
        assert_eq!(desk.json_room(1).expect_err("full").code(), "busy");
        drop(last);
        assert!(desk.json_room(1).is_ok());
        drop(held);
        assert!(desk.json_room(all).is_ok());
    }
}
