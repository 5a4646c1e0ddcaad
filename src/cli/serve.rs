//! `ddrop serve`: the server.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use arc_swap::ArcSwapOption;
use clap::{Arg, ArgAction, ArgMatches, Command, FromArgMatches};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use url::Url;

use super::{output, supervisor};
use crate::authority::{self, Actor, Authority, InviteFor};
use crate::clock::{self, Clock};
use crate::config::{self, Place, Plain, SETTINGS, Said, Serve, reachable};
use crate::server::{
    App, Door, Doors, Listener, Parts, Pastes, PlainDoor, Proxies, Running, Settings, Showing, Source, UnixSocket,
};
use crate::store::{self, Store};
use crate::tls::Terminator;
use crate::token;

/// How long the first admin's invite holds.
const FIRST_INVITE: Duration = Duration::from_secs(24 * 3600);

/// Characters a proxy's secret has at least.
const SHORTEST_SECRET: usize = 16;

/// What was said on the command line.
#[derive(Clone, Debug)]
pub struct Args {
    flags: Said,
    config: Option<PathBuf>,
    check: bool,
}

impl clap::Args for Args {
    fn augment_args(command: Command) -> Command {
        // As in DeadDrop `-h` is the host here, so help is `--help` alone.
        let help = Arg::new("help").long("help").action(ArgAction::Help).help("Print help");
        let config = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .help("TOML file with settings, named as the variables without DD_, in lower case");
        let check = Arg::new("check")
            .long("check")
            .action(ArgAction::SetTrue)
            .help("Print the settings in force and where each was said, and exit");
        let command = command.disable_help_flag(true).arg(help).arg(config).arg(check);
        SETTINGS.iter().fold(command, |command, setting| command.arg(flag(setting)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn flag(setting: &'static config::Setting) -> Arg {
    let default = setting.default.map(|text| format!(" [default: {text}]")).unwrap_or_default();
    let help = format!("{}{default} [{}]", setting.help, setting.variable());
    let arg = Arg::new(setting.key).long(setting.flag()).value_name(setting.value).help(help);
    match setting.key {
        "host" => arg.short('h'),
        "port" => arg.short('p'),
        "storage_path" => arg.short('s').alias("storage"),
        _ if setting.value == "BOOL" => arg.num_args(0..=1).default_missing_value("true").require_equals(true),
        _ => arg,
    }
}

impl FromArgMatches for Args {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let said = |setting: &'static config::Setting| {
            matches.get_one::<String>(setting.key).map(|value| (setting.key, value.clone()))
        };
        Ok(Self {
            flags: SETTINGS.iter().filter_map(said).collect(),
            config: matches.get_one("config").cloned(),
            check: matches.get_flag("check"),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Runs the server until it is told to stop.
pub async fn run(args: Args) -> Result<ExitCode> {
    let variables = std::env::vars_os();
    let (environment, slips) = config::read_environment(variables.filter_map(utf8));
    for (name, meant) in slips {
        output::warning(&format!("{name} is not a setting: did you mean DD_{}?", meant.to_ascii_uppercase()));
    }
    let file = args.config.map(|path| config::read_file(&path).map(|said| (path, said))).transpose()?;
    let (mut flags, handed) = (args.flags, supervisor::socket()?);
    if let Some((_, address)) = &handed {
        // Where it listens has been decided, and what depends on it has to see that.
        flags.insert("host", address.ip().to_string());
        flags.insert("port", address.port().to_string());
    }
    let settings = Serve::from_said(flags, environment, file)?;
    if args.check {
        return check(&settings);
    }
    log_to_stderr(&settings.log)?;
    serve(settings, handed.map(|(listener, _)| listener)).await
}

fn utf8((name, value): (OsString, OsString)) -> Option<(String, String)> {
    Some((name.into_string().ok()?, value.into_string().ok()?))
}

fn check(settings: &Serve) -> Result<ExitCode> {
    settings.token.read()?;
    if settings.fronts.tls {
        settings.place.address()?;
    }
    if let Some(plain) = &settings.fronts.plain {
        proxy_secret(&plain.secret)?;
        if let Place::Tcp(..) = plain.place {
            plain.place.address()?;
        }
    }
    for (setting, value, source) in &settings.in_force {
        output::line(&format!("{}={value}  # {source}", setting.variable()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn log_to_stderr(filter: &str) -> Result<()> {
    use std::io::IsTerminal as _;
    use tracing_subscriber::EnvFilter;
    use tracing_subscriber::filter::{LevelFilter, Targets};
    use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
    use tracing_subscriber::util::SubscriberInitExt as _;
    let filter = EnvFilter::try_new(filter)
        .with_context(|| format!("DD_LOG is '{filter}': it has to be a level such as info"))?;
    // What passes through them, secrets too, some libraries write down at `trace`.
    let careful = Targets::new().with_default(LevelFilter::DEBUG).with_target("ddrop", LevelFilter::TRACE);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = if std::io::stderr().is_terminal() {
        lines.with_ansi(std::env::var_os("NO_COLOR").is_none()).boxed()
    } else {
        lines.json().flatten_event(true).with_current_span(true).with_span_list(false).boxed()
    };
    let log = tracing_subscriber::registry().with(lines).with(filter).with(careful);
    log.try_init().map_err(|error| anyhow::anyhow!("cannot start the log: {error}"))
}

/// A listening socket: the one that was handed over, or one of our own.
async fn listen(place: &Place, handed: Option<std::net::TcpListener>) -> Result<TcpListener> {
    if let Some(listener) = handed {
        return Ok(TcpListener::from_std(listener)?);
    }
    let address = place.address()?;
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}: is the port in use? Choose another with -p"))
}

async fn serve(settings: Serve, mut handed: Option<std::net::TcpListener>) -> Result<ExitCode> {
    raise_file_limit();
    // From here on they are kept until they are asked for; before, one would end the process on the spot.
    let signals = Signals::new()?;
    // Before anything is made on disk: a port in use is the most common mistake of all.
    let listener = if settings.fronts.tls { Some(listen(&settings.place, handed.take()).await?) } else { None };
    let plain = match &settings.fronts.plain {
        Some(plain) => Some(plain_door(plain, handed).await?),
        None => None,
    };
    let scrapes = match settings.metrics {
        Some(address) => Some(
            TcpListener::bind(address)
                .await
                .with_context(|| format!("cannot listen on {address} for DD_METRICS_ADDR: is the port in use?"))?,
        ),
        None => None,
    };
    let clock: Arc<dyn Clock> = Arc::new(clock::System);
    let (app, source) = open(&settings, &clock).await?;
    let showing = Showing::new(source, Arc::clone(&app.authority), clock);
    let tls = Terminator::new(showing.load().await?, settings.client_certificate)?;
    let here = listener.as_ref().map(|listener| Ok::<_, std::io::Error>(reachable("https", listener.local_addr()?)));
    let here = here.transpose()?;
    // Where clients come: by the proxy, if there is one in front.
    let fronted = settings.fronts.forwarders.is_some() || !settings.fronts.tls;
    let own = here.as_deref().filter(|_| !fronted).map(str::parse).transpose()?;
    let server: Option<Url> = settings.fronts.public_url.clone().or_else(|| own.clone());
    if let Some(url) = own.as_ref().or(server.as_ref()) {
        remember_where(&settings.storage_path, url)?;
    }
    let places: Vec<_> = here.into_iter().chain(plain.as_ref().map(|(_, here)| here.clone())).collect();
    let proxies = plain.as_ref().map(|(door, _)| Arc::clone(&door.proxies));
    let journal = supervisor::journal();
    let invite = if journal { None } else { invite_first_admin(&app, server.as_ref()).await? };
    let forwarders = settings.fronts.forwarders.clone();
    let door = Door { listener, tls: tls.clone(), showing: showing.clone(), forwarders };
    let running = Running::start(app.clone(), Doors { tls: door, plain: plain.map(|(door, _)| door) });
    if let Some(listener) = scrapes {
        tracing::info!(address = %listener.local_addr()?, "metrics are told to whoever connects here");
        running.answer_scrapes(app.clone(), listener);
    }
    if let Some(line) = invite {
        output::message("no client is enrolled yet; this makes you the admin (one use, 24 hours):\n");
        output::message(&format!("    {line}\n"));
    }
    if journal && !app.authority.has_clients().await? {
        // More people read a journal than may be admin.
        let storage = settings.storage_path.display();
        output::message(&format!("no client is enrolled yet: ddrop pki invite NAME --admin -s {storage}"));
    }
    for place in &places {
        output::message(&format!("listening on {place}"));
    }
    let here = places.join(" and ");
    supervisor::ready(&here);
    // Also while it drains: it ends with the process.
    tokio::spawn(supervisor::signs_of_life());
    signals.until_told_to_stop(&settings, &app, proxies.as_deref(), (&tls, &showing), &here).await;
    supervisor::stopping();
    tracing::info!("stopping: running transfers may finish");
    if !running.stop().await {
        tracing::warn!("some transfers were cut off: they took longer than DD_DRAIN_TIMEOUT_SECONDS");
    }
    Ok(ExitCode::SUCCESS)
}

/// Where a proxy comes in, and the words for that place.
async fn plain_door(plain: &Plain, handed: Option<std::net::TcpListener>) -> Result<(PlainDoor, String)> {
    let secret = proxy_secret(&plain.secret)?;
    let (listener, here) = match &plain.place {
        Place::Unix(path) => {
            let cannot = || format!("cannot listen on {}", path.display());
            (Listener::Unix(UnixSocket::bind(path).with_context(cannot)?), plain.place.to_string())
        }
        Place::Tcp(..) => {
            let listener = listen(&plain.place, handed).await?;
            let here = reachable("http", listener.local_addr()?);
            (Listener::Tcp(listener), here)
        }
    };
    if let Some(risk) = plain.risk() {
        tracing::warn!("{risk}");
    }
    let proxies = Arc::new(Proxies::new(plain.networks.clone(), plain.anywhere, secret));
    Ok((PlainDoor { listener, proxies }, here))
}

/// Whoever guesses it may say to be anyone.
fn proxy_secret(from: &config::Token) -> Result<Option<token::Secret>> {
    let secret = from.read()?;
    if secret.as_ref().is_some_and(|secret| secret.reveal().len() < SHORTEST_SECRET) {
        bail!("DD_PROXY_SECRET has less than {SHORTEST_SECRET} characters: make one with openssl rand -hex 32");
    }
    Ok(secret)
}

async fn open(settings: &Serve, clock: &Arc<dyn Clock>) -> Result<(App, Source)> {
    let store = Store::open(
        store::Config {
            path: settings.storage_path.clone(),
            max_file_size: settings.max_file_size,
            max_storage: settings.max_storage,
        },
        Arc::clone(clock),
    )
    .await
    .with_context(|| format!("cannot open the storage folder {}", settings.storage_path.display()))?;
    let authority = Authority::open(
        authority::Config {
            path: settings.storage_path.join("pki"),
            server_names: settings.server_names.clone(),
            optional_names: settings.optional_names.clone(),
            permitted_names: settings.permitted_names.clone(),
            public_url: settings.fronts.public_url.as_ref().map(|url| url.as_str().trim_end_matches('/').to_owned()),
            passphrase_file: settings.ca_passphrase_file.clone(),
            client_lifetime: settings.client_lifetime,
        },
        store.trust(),
        Arc::clone(clock),
    )
    .await
    .context("cannot open the certificate authority")?;
    let token = settings.token.read()?;
    let app = App::new(Parts {
        store,
        authority: Arc::new(authority),
        clock: Arc::clone(clock),
        settings: Settings {
            public_url: settings.fronts.public_url.clone(),
            url_prefix: settings.fronts.url_prefix.clone(),
            policy: settings.policy,
            lifetimes: settings.lifetimes,
            max_file_size: settings.max_file_size,
            max_links: settings.max_links,
            cleanup_interval: settings.cleanup_interval,
            drain: settings.drain,
            limits: settings.limits,
            // What a proxy shows is its own affair.
            web_pki: settings.tls_files.is_some() || !settings.fronts.tls,
            open_registration: settings.open_registration,
            register_difficulty: settings.register_difficulty,
            abuse: settings.abuse.clone(),
            pastes: Pastes {
                own_names: settings.server_names.iter().chain(&settings.optional_names).cloned().collect(),
                ..settings.pastes.clone()
            },
        },
        token: ArcSwapOption::from(token.map(Arc::new)),
    })
    .await?;
    let source = match &settings.tls_files {
        Some((certificate, key)) => Source::Files(certificate.clone(), key.clone()),
        None => Source::Own,
    };
    Ok((app, source))
}

/// As long as no client is enrolled, each start makes an invite for the first admin: the one of the start before may
/// have been lost with its terminal. `server`: where clients come, if that is known. Answers the line to paste.
async fn invite_first_admin(app: &App, server: Option<&Url>) -> Result<Option<String>> {
    if app.authority.has_clients().await? {
        return Ok(None);
    }
    let Some(server) = server.cloned() else {
        return Ok(Some("ddrop pki invite admin --admin -s STORAGE --url https://WHERE-THE-PROXY-IS".to_owned()));
    };
    let by = Actor { name: "operator".to_owned(), address: None };
    let what = InviteFor { name: "admin".to_owned(), admin: true, existing: false, ttl: FIRST_INVITE };
    let made = app.authority.invite(&by, what).await?;
    let root = app.authority.root_fingerprint();
    let invite = token::Invite { server, root, web: app.settings.web_pki, secret: made.secret };
    Ok(Some(format!("ddrop cert --configure {invite}")))
}

/// For `ddrop pki invite -s STORAGE`, which has to say where the server is.
fn remember_where(storage: &Path, here: &Url) -> Result<()> {
    let path = storage.join("listening");
    std::fs::write(&path, format!("{}\n", here.as_str().trim_end_matches('/')))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// A connection and a file are a descriptor each; the soft limit of many systems is 1024.
fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}

/// What the server is told while it runs.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn until_told_to_stop(
        mut self,
        settings: &Serve,
        app: &App,
        proxies: Option<&Proxies>,
        (tls, showing): (&Terminator, &Showing),
        here: &str,
    ) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => {
                    supervisor::reloading();
                    match settings.token.read() {
                        Ok(token) => app.token.store(token.map(Arc::new)),
                        Err(error) => {
                            tracing::error!(%error, "the token cannot be read again; the old one stays in use");
                        }
                    }
                    if let (Some(proxies), Some(plain)) = (proxies, &settings.fronts.plain) {
                        match proxy_secret(&plain.secret) {
                            Ok(secret) => proxies.secret.store(secret.map(Arc::new)),
                            Err(error) => {
                                tracing::error!(%error, "the proxies' secret cannot be read again; the old one stays in use");
                            }
                        }
                    }
                    showing.reload(tls).await;
                    supervisor::ready(here);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Args, clap::Error> {
        let command = <Args as clap::Args>::augment_args(Command::new("serve"));
        let matches = command.try_get_matches_from(std::iter::once(&"serve").chain(words))?;
        Args::from_arg_matches(&matches)
    }

    #[test]
    fn every_setting_is_a_flag() {
        let args = parse(&["-h", "127.0.0.1", "-p", "0", "-s", "x", "--max-file-size-mb", "5", "--allow-anon"]);
        let flags = args.expect("flags").flags;
        let value = |key: &str| flags.get(key).map(String::as_str);
        assert_eq!((value("host"), value("port"), value("storage_path")), (Some("127.0.0.1"), Some("0"), Some("x")));
        assert_eq!((value("max_file_size_mb"), value("allow_anon")), (Some("5"), Some("true")));
        assert!(parse(&["--no-such-flag"]).is_err());
        for setting in SETTINGS {
            assert!(parse(&[&format!("--{}={}", setting.flag(), "x")]).is_ok(), "{}", setting.key);
        }
    }
}
