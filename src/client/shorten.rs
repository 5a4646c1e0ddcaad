//! Short links to other addresses.

use serde::Serialize;

use super::error::lacks;
use super::transfer::Progress;
use super::work::{Work, for_work};
use super::{Client, Error};
use crate::api;

#[derive(Serialize)]
struct Shorten<'a> {
    url: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<&'a str>,
}

impl Client {
    /// Makes a link to another address; for work where that is asked, as [`Client::upload_for_work`].
    ///
    /// # Errors
    /// As for every deed; also when the server has no short URLs.
    pub async fn shorten(&self, url: &str, ttl: Option<&str>, working: &dyn Progress) -> Result<api::Link, Error> {
        let wish = Shorten { url, ttl };
        let attempt = async |work: Option<&Work>| {
            let request = self.post(&["api", "shorten"]).json(&wish);
            self.json(work.into_iter().fold(request, |request, work| work.shown_in(request))).await
        };
        let made = for_work(!self.is_known(), working, async || self.price().await, attempt).await;
        made.map_err(|error| lacks(error, "short URLs"))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::client::test;
    use crate::client::tls::Anchors;
    use crate::client::transfer::Silent;

    #[tokio::test]
    async fn a_server_without_short_urls_is_told_from_one_that_refuses() {
        for (status, detail, words) in [
            (404, "there is no such path", "this server has no short URLs"),
            (405, "x", "this server has no short URLs"),
            (400, "not an address", "not an address"),
        ] {
            let url = test::http(move |request| match request.uri().path() {
                "/api/challenge" => test::answer(200, r#"{"enabled":false,"difficulty":0}"#),
                path => {
                    assert_eq!(
                        (path, request.body().as_ref()),
                        ("/api/shorten", &br#"{"url":"https://x","ttl":"2h"}"#[..])
                    );
                    let problem = format!(
                        r#"{{"type":"x","title":"x","status":{status},"detail":"{detail}","error":"x","code":"x"}}"#
                    );
                    test::answer(status, problem)
                }
            });
            let client =
                Client::anonymous(url.await, Anchors::Anyone, Arc::new(crate::clock::System)).expect("a client");
            let error = client.shorten("https://x", Some("2h"), &Silent).await.expect_err("refused");
            assert_eq!(error.to_string(), words);
        }
    }
}
