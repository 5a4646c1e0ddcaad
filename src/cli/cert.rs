//! `ddrop cert`: a certificate of one's own, from an invite, or renewed.

use std::ffi::OsString;
use std::io::Read as _;
use std::path::PathBuf;

use ::pki::key::Algorithm;
use anyhow::{Context as _, Result};
use clap::ValueEnum;
use serde_json::json;

use super::{Context, connect, exit, output};
use crate::client::enroll::{self, Configure, Enrolled};
use crate::client::profile::{CERTIFICATE, KEY, Profile, folder};
use crate::client::register::{Registration, register};
use crate::client::{Client, Error};
use crate::token::Invite;

/// What was said.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Kind of key [default: ec]
    #[arg(short, long, value_enum)]
    algorithm: Option<Kind>,
    /// Bits of an RSA key [default: 3072]
    #[arg(short, long, value_name = "BITS", value_parser = clap::value_parser!(u32).range(2048..=4096))]
    bits: Option<u32>,
    /// Curve of an EC key [default: secp384r1; with an invite secp256r1]
    #[arg(short, long, value_enum)]
    curve: Option<Curve>,
    /// Days a self-signed certificate is valid
    #[arg(short, long, value_name = "DAYS", default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
    /// Name in a self-signed certificate [default: the user's]
    #[arg(short, long, value_name = "NAME")]
    name: Option<String>,
    /// Folder to write to [default: the configuration's]
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Replace a key and certificate that are there
    #[arg(long)]
    force: bool,
    /// Print the SHA-1 fingerprint instead of the SHA-256 one
    #[arg(long)]
    sha1: bool,
    /// Enrol with an invite and configure this client; - reads it from standard input, nothing from DD_INVITE
    #[arg(long, value_name = "INVITE", num_args = 0..=1, conflicts_with = "renew")]
    #[expect(clippy::option_option, reason = "how clap tells a flag without a value from none")]
    configure: Option<Option<String>>,
    /// Renew the certificate in use
    #[arg(long)]
    renew: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    Ec,
    Rsa,
    Ed25519,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Curve {
    #[value(alias = "prime256v1", alias = "p256", alias = "P-256")]
    Secp256r1,
    #[value(alias = "p384", alias = "P-384")]
    Secp384r1,
    #[value(alias = "p521", alias = "P-521")]
    Secp521r1,
}

impl Args {
    /// The kind of key that was asked for, if one was.
    fn algorithm(&self) -> Result<Option<Algorithm>> {
        let unfit = |text: &str| Err(exit::Usage(text.to_owned()).into());
        match (self.algorithm, self.bits, self.curve) {
            (Some(Kind::Rsa), _, Some(_)) => unfit("an RSA key has no --curve"),
            (Some(Kind::Ec), Some(_), _) => unfit("an EC key has a --curve and no --bits"),
            (Some(Kind::Ed25519), Some(_), _) | (Some(Kind::Ed25519), _, Some(_)) => {
                unfit("an Ed25519 key has neither --bits nor --curve")
            }
            (None, Some(_), Some(_)) => unfit("--bits is for RSA keys, --curve for EC keys"),
            (Some(Kind::Rsa), bits, None) => Ok(Some(Algorithm::Rsa(bits.unwrap_or(3072)))),
            (None, Some(bits), None) => Ok(Some(Algorithm::Rsa(bits))),
            (Some(Kind::Ed25519), None, None) => Ok(Some(Algorithm::Ed25519)),
            (Some(Kind::Ec), None, None) => Ok(Some(Algorithm::P384)),
            (_, None, Some(Curve::Secp256r1)) => Ok(Some(Algorithm::P256)),
            (_, None, Some(Curve::Secp384r1)) => Ok(Some(Algorithm::P384)),
            (_, None, Some(Curve::Secp521r1)) => Ok(Some(Algorithm::P521)),
            (None, None, None) => Ok(None),
        }
    }

    fn folder(&self) -> Result<PathBuf> {
        match &self.output {
            Some(folder) => Ok(folder.clone()),
            None => Ok(folder(|name| std::env::var_os(name))?),
        }
    }

    fn name(&self) -> String {
        let user = |name: &str| std::env::var(name).ok().filter(|user| !user.is_empty());
        self.name
            .clone()
            .or_else(|| user("USER"))
            .or_else(|| user("LOGNAME"))
            .unwrap_or_else(|| "ddrop client".to_owned())
    }
}

/// Makes, enrols or renews.
pub(super) async fn run(context: &Context, args: Args) -> Result<()> {
    if args.renew {
        return renew(context, &args).await;
    }
    let Some(said) = &args.configure else { return offline(context, &args) };
    match find_invite(said.as_deref(), std::env::var_os("DD_INVITE"))? {
        Some(invite) => enrol(context, &args, &invite).await,
        None => introduce(context, &args).await,
    }
}

/// Where the invite is: on the command line, on standard input, or in the environment, which others cannot see.
fn find_invite(said: Option<&str>, variable: Option<OsString>) -> Result<Option<Invite>> {
    let text = match said {
        Some("-") => {
            let mut text = String::new();
            std::io::stdin().take(64 * 1024).read_to_string(&mut text).context("cannot read the invite")?;
            text
        }
        Some(text) => text.to_owned(),
        None => match variable.filter(|value| !value.is_empty()) {
            Some(value) => value.to_string_lossy().into_owned(),
            None => return Ok(None),
        },
    };
    Ok(Some(text.parse().map_err(|error: crate::token::Error| exit::Usage(error.to_string()))?))
}

fn offline(context: &Context, args: &Args) -> Result<()> {
    let folder = args.folder()?;
    let algorithm = args.algorithm()?.unwrap_or(Algorithm::P384);
    if let (false, Some(path)) =
        (args.force, [KEY, CERTIFICATE].map(|name| folder.join(name)).into_iter().find(|path| path.exists()))
    {
        // Before an RSA key takes its time.
        return Err(Error::Exists(path).into());
    }
    let (key, certificate) = enroll::self_signed(algorithm, &args.name(), args.days, &*connect::clock())?;
    let made = enroll::keep_self_signed(&key, &certificate, &folder, None, args.force)?;
    output::message(&format!(
        "self-signed certificate for '{}' in {}",
        output::printable(&made.facts.subject),
        folder.display()
    ));
    show(context, args, &made, false)
}

async fn enrol(context: &Context, args: &Args, invite: &Invite) -> Result<()> {
    let algorithm = args.algorithm()?.unwrap_or(Algorithm::P256);
    let made = enroll::enroll(invite, algorithm, &args.folder()?, connect::clock()).await.context("cannot enrol")?;
    let server = invite.server.as_str().trim_end_matches('/');
    output::message(&format!("enrolled as '{}' at {server}", output::printable(&made.facts.subject)));
    show(context, args, &made, true)
}

async fn renew(context: &Context, args: &Args) -> Result<()> {
    let profile = context.connection.profile()?;
    let made =
        enroll::renew(&profile, args.algorithm()?, connect::clock()).await.context("cannot renew the certificate")?;
    output::message(&format!("renewed the certificate of '{}'", output::printable(&made.facts.subject)));
    show(context, args, &made, true)
}

/// Without an invite: a certificate nobody knows yet, and what an admin has to do about it.
async fn introduce(context: &Context, args: &Args) -> Result<()> {
    let profile = context.connection.profile()?;
    let server = profile.server()?.clone();
    let anchors = profile.anchors()?;
    let client = Client::anonymous(server.clone(), anchors, connect::clock())?;
    let open = client.pki_status().await.context("cannot ask the server")?.open_registration;
    if open {
        return join(context, args, &profile).await;
    }
    let ca_pem = read_ca(&profile)?;
    let algorithm = args.algorithm()?.unwrap_or(Algorithm::P384);
    let (key, certificate) = enroll::self_signed(algorithm, &args.name(), args.days, &*connect::clock())?;
    let configure = Configure { server: &server, ca_pem: ca_pem.as_deref() };
    let made = enroll::keep_self_signed(&key, &certificate, &args.folder()?, Some(&configure), args.force)?;
    let name = output::printable(&made.facts.subject);
    output::message(&format!("made a self-signed certificate; {server} does not know it yet. An admin has to run:"));
    output::message(&format!("    ddrop pki trust {} {}", made.facts.fingerprint.sha256, quoted(&name)));
    show(context, args, &made, true)
}

/// Without an invite, where anyone may register.
async fn join(context: &Context, args: &Args, profile: &Profile) -> Result<()> {
    let (name, folder, ca_pem) = (args.name(), args.folder()?, read_ca(profile)?);
    let server = profile.server()?;
    let what = Registration {
        name: &name,
        algorithm: args.algorithm()?.unwrap_or(Algorithm::P256),
        folder: &folder,
        configure: Configure { server, ca_pem: ca_pem.as_deref() },
        replace: args.force,
    };
    let progress = output::counting("working for a certificate:");
    let made = register(&what, profile.anchors()?, connect::clock(), progress)
        .await
        .with_context(|| format!("cannot register as '{}' (another name: -n NAME)", output::printable(&name)))?;
    let server = server.as_str().trim_end_matches('/');
    output::message(&format!("registered as '{}' at {server}", output::printable(&made.facts.subject)));
    show(context, args, &made, true)
}

fn read_ca(profile: &Profile) -> Result<Option<Vec<u8>>> {
    let Some(setting) = &profile.ca_cert else { return Ok(None) };
    let path = &setting.value;
    Ok(Some(std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?))
}

/// A word for a shell.
fn quoted(text: &str) -> String {
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.@".contains(c));
    if plain && !text.is_empty() { text.to_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

/// The fingerprint alone is the result.
fn show(context: &Context, args: &Args, made: &Enrolled, configured: bool) -> Result<()> {
    let facts = &made.facts;
    let sha256 = facts.fingerprint.sha256.to_string();
    let sha1 = facts.fingerprint.sha1.to_string();
    if context.json {
        return Ok(output::json(&json!({
            "subject": facts.subject,
            "serial": facts.serial,
            "fingerprint_sha256": sha256,
            "fingerprint_sha1": sha1,
            "not_before": facts.not_before,
            "not_after": facts.not_after,
            "folder": made.folder,
        }))?);
    }
    output::message(&format!("  serial   {}", facts.serial));
    output::message(&format!("  expires  {}", facts.not_after));
    output::message(&format!("  sha1     {sha1}"));
    if configured {
        output::message(&format!("  files    {}", made.folder.display()));
    }
    Ok(output::line(if args.sha1 { &sha1 } else { &sha256 })?)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        args: Args,
    }

    fn parse(words: &str) -> Args {
        Only::try_parse_from(std::iter::once("cert").chain(words.split_whitespace())).expect(words).args
    }

    #[test]
    fn kinds_of_keys() {
        for (words, algorithm) in [
            ("", None),
            ("-a ec", Some(Algorithm::P384)),
            ("-a ec -c secp256r1", Some(Algorithm::P256)),
            ("-c prime256v1", Some(Algorithm::P256)),
            ("-c secp521r1", Some(Algorithm::P521)),
            ("-a rsa", Some(Algorithm::Rsa(3072))),
            ("-a rsa -b 4096", Some(Algorithm::Rsa(4096))),
            ("-b 2048", Some(Algorithm::Rsa(2048))),
            ("-a ed25519", Some(Algorithm::Ed25519)),
        ] {
            assert_eq!(parse(words).algorithm().expect(words), algorithm, "{words}");
        }
        for words in ["-a rsa -c secp256r1", "-a ec -b 2048", "-a ed25519 -b 2048", "-b 2048 -c secp256r1"] {
            assert_eq!(exit::code(&parse(words).algorithm().expect_err(words)), 2, "{words}");
        }
        for words in ["-a rsa -b 1024", "-d 0", "-c secp192r1"] {
            assert!(Only::try_parse_from(std::iter::once("cert").chain(words.split_whitespace())).is_err(), "{words}");
        }
    }

    #[test]
    fn an_invite_comes_from_the_command_line_or_the_environment() {
        let invite = Invite {
            server: "https://host:8443".parse().expect("a URL"),
            root: crate::identity::Sha256([1; 32]),
            web: false,
            secret: crate::token::Secret::random().expect("random bytes"),
        };
        let text = invite.to_string();
        assert!(find_invite(Some(&text), None).expect("read").is_some());
        assert!(find_invite(None, Some(text.into())).expect("read").is_some());
        assert!(find_invite(None, None).expect("read").is_none());
        assert_eq!(exit::code(&find_invite(Some("hello"), None).expect_err("no invite")), 2);
        assert!(matches!(parse("--configure").configure, Some(None)));
        assert!(parse("").configure.is_none());
    }

    #[test]
    fn a_name_is_quoted_for_the_shell() {
        assert_eq!(quoted("alice"), "alice");
        assert_eq!(quoted("it's me; rm"), "'it'\\''s me; rm'");
    }
}
