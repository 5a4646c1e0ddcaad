//! `ddrop doctor --through URL`: whether what a client says in the words of a proxy gets through one and is believed.

use anyhow::{Context as _, Result};

use super::{Finding, Level};
use crate::cli::{Context, connect};
use crate::client::look_alike::{Effect, look_alikes};
use crate::client::profile::{Source, parse_server};
use crate::client::{Client, enroll};
use crate::identity::Tier;

/// Sends each look-alike on a connection without a certificate.
pub(super) async fn look(context: &Context, url: &str) -> Result<Vec<Finding>> {
    let server = parse_server(url, Source::Flag("--through"))?.value;
    let profile = context.connection.profile()?;
    let client = Client::anonymous(server.clone(), profile.anchors()?, connect::clock())?;
    let before = client.whoami().await.with_context(|| format!("cannot ask {server} who we are"))?;
    let mut findings = Vec::new();
    if before.tier != Tier::Anonymous {
        let advice = "who shows nothing has to be nobody: the proxy vouches for everyone";
        findings.push(Finding::new(Level::Problem, "anonymous", format!("taken for {}", before.tier), advice));
    }
    // A certificate the server knows shows most; with one it does not know it still says that it was named one.
    let known = profile.identity()?.and_then(|identity| identity.chain.into_iter().next()).map(|leaf| leaf.to_vec());
    let certificate = match known {
        Some(der) => der,
        None => enroll::self_signed(pki::key::Algorithm::P256, "nobody", 1, &*connect::clock())?.1.der().to_vec(),
    };
    for what in look_alikes(&certificate) {
        let effect = client.try_look_alike(&what, &before).await;
        let effect = effect.with_context(|| format!("cannot ask {server} with a look-alike of {}", what.name))?;
        findings.push(match effect {
            Effect::None => Finding::ok(what.name, "not believed"),
            Effect::Refused(status) => Finding::ok(what.name, format!("refused with {status}")),
            Effect::Believed(how) => {
                let advice = format!("the proxy has to leave out what clients say as {}: see deploy/", what.name);
                Finding::new(Level::Problem, what.name, how, advice)
            }
        });
    }
    Ok(findings)
}
