//! F22: every way to be taken for somebody else by what a proxy says of its clients, tried on every way in: on our own
//! listeners, and through each file of deploy/ in the real program.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};

use super::deployed::{ALL, Deployed, Kind, SECRET, Wish, names};
use super::ports::Port;
use super::{Server, User, words};

/// How long an answer may take. What is cut off by design ends sooner.
const PATIENCE: Duration = Duration::from_secs(30);
/// Requests under way at once, so that those that wait for their end do so together.
const AT_ONCE: usize = 16;

/// A place where nobody is.
const ELSEWHERE: &str = "X-Forwarded-For: 192.0.2.9\r\nForwarded: for=192.0.2.9\r\n";

/// A way in.
#[derive(Clone, Copy, Debug)]
enum Front {
    /// The listener with TLS, alone.
    Direct,
    /// The listener with TLS, with one for proxies beside it, whose secret is known to whoever tries.
    Beside,
    /// The listener for proxies, without the secret.
    Socket,
    /// The listener for proxies, with the secret, from where no proxy is.
    Untrusted,
    /// Through a proxy.
    Through(Kind),
}

impl Front {
    fn all() -> Vec<Self> {
        let own = [Self::Direct, Self::Beside, Self::Socket, Self::Untrusted];
        own.into_iter().chain(ALL.map(Self::Through)).collect()
    }

    /// What is said in each request to be taken for a proxy.
    fn secrets(self) -> Vec<String> {
        let guesses = ["", "X-Proxy-Secret: guess\r\n", "X-Proxy-Secret: \r\nX_Proxy_Secret: guess\r\n"];
        match self {
            Self::Beside | Self::Untrusted => vec![format!("X-Proxy-Secret: {SECRET}\r\n")],
            Self::Socket => {
                let twice = format!("X-Proxy-Secret: {SECRET}\r\n").repeat(2);
                guesses.map(str::to_owned).into_iter().chain([twice]).collect()
            }
            Self::Direct | Self::Through(_) => guesses[..2].iter().map(|guess| (*guess).to_owned()).collect(),
        }
    }
}

/// What is tried, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Word {
    Plain,
    Twice,
    Joined,
    OddCase,
    Underscores,
    Spaces,
    OverLong,
    Trailers,
    ConnectionRemoves,
    Upgrade,
    PseudoHeaders,
    ClTe,
    TeCl,
}

const WORDS: [Word; 13] = [
    Word::Plain,
    Word::Twice,
    Word::Joined,
    Word::OddCase,
    Word::Underscores,
    Word::Spaces,
    Word::OverLong,
    Word::Trailers,
    Word::ConnectionRemoves,
    Word::Upgrade,
    Word::PseudoHeaders,
    Word::ClTe,
    Word::TeCl,
];

/// Bytes by which someone might be taken for the admin.
struct Trick {
    word: Word,
    h2: bool,
    bytes: Vec<u8>,
}

/// All of them, by each name a certificate has, with this said before.
fn tricks(admin: &User, secret: &str) -> Vec<Trick> {
    let mut all = Vec::new();
    for (name, value) in names(admin) {
        let headers = headers(name, &value).into_iter().map(|(word, header)| {
            let head = format!("GET /api/whoami HTTP/1.1\r\nHost: localhost\r\n{secret}{header}");
            let end = if header.contains("Connection:") { "" } else { "Connection: close\r\n" };
            (word, format!("{head}{ELSEWHERE}{end}\r\n"))
        });
        let whole = headers.chain(bodies(name, &value, secret));
        all.extend(whole.map(|(word, text)| Trick { word, h2: false, bytes: text.into_bytes() }));
        let frames = frames(&name.to_lowercase(), &value, secret);
        all.extend(frames.into_iter().map(|(word, bytes)| Trick { word, h2: true, bytes }));
    }
    all
}

/// In the header of a request.
fn headers(name: &str, value: &str) -> Vec<(Word, String)> {
    use Word::{ConnectionRemoves, Joined, OddCase, OverLong, Plain, Spaces, Twice, Underscores, Upgrade};
    let (lower, upper) = (name.to_lowercase(), name.to_uppercase());
    let mixed: String = name
        .char_indices()
        .map(|(at, c)| if at % 2 == 0 { c.to_ascii_lowercase() } else { c.to_ascii_uppercase() })
        .collect();
    vec![
        (Plain, format!("{name}: {value}\r\n")),
        (Twice, format!("{name}: {value}\r\n").repeat(2)),
        (Twice, format!("{name}: \r\n{name}: {value}\r\n")),
        (Twice, format!("{name}: {value}\r\nX-Other: a\r\n{lower}: {value}\r\n")),
        (Joined, format!("{name}: {value}, {value}\r\n")),
        (Joined, format!("{name}: {value},\r\n")),
        (OddCase, format!("{lower}: {value}\r\n")),
        (OddCase, format!("{upper}: {value}\r\n")),
        (OddCase, format!("{mixed}: {value}\r\n")),
        (Underscores, format!("{}: {value}\r\n", name.replace('-', "_"))),
        (Underscores, format!("{}: {value}\r\n", name.replacen('-', "_", 1))),
        (Underscores, format!("{}: {value}\r\n", upper.replace('-', "_"))),
        (Spaces, format!("{name} : {value}\r\n")),
        (Spaces, format!("{name}\t: {value}\r\n")),
        (Spaces, format!(" {name}: {value}\r\n")),
        (Spaces, format!("X-Other: a\r\n {name}: {value}\r\n")),
        (Spaces, format!("X-Other: a\n{name}: {value}\r\n")),
        (Spaces, format!("X-Other: a\r{name}: {value}\r\n")),
        (Spaces, format!("X-Other: a\r\n\t\r\n{name}: {value}\r\n")),
        (Spaces, format!("{name}\0: {value}\r\n")),
        (Spaces, format!("{name}:\x0b{value}\r\n")),
        (OverLong, format!("{name}: {value}{}\r\n", "A".repeat(30_000))),
        (OverLong, format!("X-Other: {}\r\n{name}: {value}\r\n", "a".repeat(7_000))),
        (OverLong, format!("{}{name}: {value}\r\n", "X-Other: a\r\n".repeat(90))),
        (ConnectionRemoves, format!("Connection: close, X-Proxy-Secret, {name}\r\n{name}: {value}\r\n")),
        (
            ConnectionRemoves,
            format!("Connection: close, X-Forwarded-For, Client-Cert, X-SSL-Client-Cert\r\n{name}: {value}\r\n"),
        ),
        (ConnectionRemoves, format!("Proxy-Connection: close, {name}\r\nConnection: close\r\n{name}: {value}\r\n")),
        (
            Upgrade,
            format!(
                "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\
                 Connection: Upgrade, HTTP2-Settings, close\r\n{name}: {value}\r\n"
            ),
        ),
    ]
}

/// In and after the body of a request.
fn bodies(name: &str, value: &str, secret: &str) -> Vec<(Word, String)> {
    let (head, last) =
        ("HTTP/1.1\r\nHost: localhost\r\n", "GET /api/whoami HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let trailers = format!(
        "POST /api/links {head}Connection: close\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\n\
         Trailer: {name}, X-Proxy-Secret\r\n\r\n2\r\n{{}}\r\n0\r\n{secret}{name}: {value}\r\n\r\n"
    );
    // One program's body is another one's next request; and those that try to hide one of the two lengths.
    let smuggled = format!("GET /api/links {head}{secret}{name}: {value}\r\nX-Left: ");
    let chunk = format!("{:x}\r\n{smuggled}\r\n0\r\n\r\n", smuggled.len());
    let (after, long) = (format!("0\r\n\r\n{smuggled}"), smuggled.len() + 5);
    let lengths = [
        (Word::ClTe, format!("Content-Length: {long}\r\nTransfer-Encoding: chunked"), &after),
        (Word::ClTe, format!("Transfer-Encoding: chunked\r\nContent-Length: {long}"), &after),
        (Word::ClTe, format!("Content-Length: {long}\r\nTransfer-Encoding:\x0bchunked"), &after),
        (Word::ClTe, "Content-Length: 0\r\nContent-Length: 50".to_owned(), &smuggled),
        (Word::ClTe, "Content-Length: 0, 50".to_owned(), &smuggled),
        (Word::ClTe, "Content-Length: +0".to_owned(), &smuggled),
        (Word::TeCl, "Content-Length: 4\r\nTransfer-Encoding: chunked".to_owned(), &chunk),
        (Word::TeCl, "Transfer-Encoding: xchunked\r\nContent-Length: 4".to_owned(), &chunk),
        (Word::TeCl, "Transfer-Encoding : chunked\r\nContent-Length: 4".to_owned(), &chunk),
        (Word::TeCl, "Transfer-Encoding: identity, chunked\r\nContent-Length: 4".to_owned(), &chunk),
        (
            Word::TeCl,
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\nContent-Length: 4".to_owned(),
            &chunk,
        ),
    ];
    let smuggling = lengths
        .into_iter()
        .map(|(word, lengths, body)| (word, format!("POST /api/upload {head}{lengths}\r\n\r\n{body}\r\n\r\n{last}")));
    std::iter::once((Word::Trailers, trailers)).chain(smuggling).collect()
}

/// A header field of HTTP/2 in as many words (RFC 7541 section 6.2.2), in no table.
fn field(block: &mut Vec<u8>, name: &str, value: &str) {
    block.push(0);
    for text in [name, value] {
        let length = text.len();
        if length < 127 {
            block.push(u8::try_from(length).expect("short"));
        } else {
            block.push(127);
            let mut left = length - 127;
            while left >= 128 {
                block.push(u8::try_from(left % 128).expect("small") | 128);
                left /= 128;
            }
            block.push(u8::try_from(left).expect("small"));
        }
        block.extend(text.as_bytes());
    }
}

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    [&length[1..], &[kind, flags, 0, 0, 0, stream], payload].concat()
}

/// In frames of HTTP/2, by hand, since no library sends such.
fn frames(name: &str, value: &str, secret: &str) -> Vec<(Word, Vec<u8>)> {
    use Word::{ClTe, ConnectionRemoves, OddCase, Plain, PseudoHeaders, Spaces, TeCl, Trailers, Twice, Underscores};
    const END: u8 = 1;
    const HEADERS: u8 = 4;
    let said: Vec<(&str, &str)> = secret.lines().filter_map(|line| line.split_once(": ")).collect();
    let said: Vec<(String, &str)> = said.into_iter().map(|(name, value)| (name.to_lowercase(), value)).collect();
    let block = |pseudo: &[(&str, &str)], fields: &[(&str, &str)]| {
        let mut block = Vec::new();
        pseudo.iter().for_each(|(name, value)| field(&mut block, name, value));
        said.iter().for_each(|(name, value)| field(&mut block, name, value));
        field(&mut block, "x-forwarded-for", "192.0.2.9");
        fields.iter().for_each(|(name, value)| field(&mut block, name, value));
        block
    };
    let begin = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, 0, 0, &[])].concat();
    let get = [(":method", "GET"), (":scheme", "https"), (":path", "/api/whoami"), (":authority", "localhost")];
    let post = [(":method", "POST"), (":scheme", "https"), (":path", "/api/links"), (":authority", "localhost")];
    let with = |at: usize, value| {
        let mut pseudo = get;
        pseudo.iter_mut().skip(at).take(1).for_each(|pair| pair.1 = value);
        pseudo
    };
    let asked = |block: Vec<u8>| [&begin[..], &frame(1, END | HEADERS, 1, &block)].concat();
    let (injected, upper, under) =
        (format!("localhost\r\n{name}: {value}"), name.to_uppercase(), name.replace('-', "_"));
    let (path, method) =
        (format!("/api/whoami HTTP/1.1\r\n{name}: {value}\r\nX: "), format!("GET /\r\n{name}: {value}"));
    let (pseudo, colon, in_name) = (format!(":{name}"), format!("{name}:"), format!("x-other: a\r\n{name}"));
    let mut all: Vec<_> = [
        (Plain, block(&get, &[(name, value)])),
        (Twice, block(&get, &[(name, value), (name, value)])),
        (OddCase, block(&get, &[(&upper, value)])),
        (Underscores, block(&get, &[(&under, value)])),
        (Spaces, block(&get, &[(&format!("{name} "), value)])),
        (Spaces, block(&get, &[(&format!(" {name}"), value)])),
        (ConnectionRemoves, block(&get, &[("connection", name), (name, value)])),
        (ConnectionRemoves, block(&get, &[("te", "trailers"), ("connection", "x-proxy-secret"), (name, value)])),
        (PseudoHeaders, block(&get, &[(&pseudo, value)])),
        (PseudoHeaders, block(&get, &[(&colon, value)])),
        (PseudoHeaders, block(&[&get[..], &[(&pseudo, value)]].concat(), &[])),
        (PseudoHeaders, block(&get, &[(name, value), (":authority", "localhost")])),
        (PseudoHeaders, block(&[&get[..], &[(":authority", "elsewhere")]].concat(), &[(name, value)])),
        (PseudoHeaders, block(&[&get[..], &[(":protocol", "websocket")]].concat(), &[(name, value)])),
        // Where a proxy speaks HTTP/1.1 to us, a line end in HTTP/2 would become one there.
        (PseudoHeaders, block(&with(3, &injected), &[])),
        (PseudoHeaders, block(&with(2, &path), &[])),
        (PseudoHeaders, block(&with(0, &method), &[])),
        (PseudoHeaders, block(&get, &[("x-other", &format!("a\r\n{name}: {value}"))])),
        (PseudoHeaders, block(&get, &[("x-other", &format!("a\n{name}: {value}"))])),
        (PseudoHeaders, block(&get, &[(&in_name, value)])),
    ]
    .map(|(word, block)| (word, asked(block)))
    .into();
    // With a body: what is after its end, and lengths that are not those of the frames.
    let mut trailers = Vec::new();
    field(&mut trailers, name, value);
    let after = [
        &begin[..],
        &frame(1, HEADERS, 1, &block(&post, &[("te", "trailers"), ("trailer", name)])),
        &frame(0, 0, 1, b"{}"),
        &frame(1, END | HEADERS, 1, &trailers),
    ];
    all.push((Trailers, after.concat()));
    let smuggled = format!("0\r\n\r\nGET /api/links HTTP/1.1\r\nHost: localhost\r\n{secret}{name}: {value}\r\n\r\n");
    for (word, length) in [(ClTe, ("content-length", "0")), (TeCl, ("transfer-encoding", "chunked"))] {
        let request = frame(1, HEADERS, 1, &block(&post, &[length]));
        all.push((word, [&begin[..], &request, &frame(0, END, 1, smuggled.as_bytes())].concat()));
    }
    all
}

/// Where bytes go.
enum Wire {
    Tls(u16, Arc<rustls::ClientConfig>),
    Tcp(u16),
    Unix(PathBuf),
}

impl Wire {
    fn tls(port: u16, root: &Path) -> Self {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(root).expect("a certificate")).expect("a root");
        let config = rustls::ClientConfig::builder_with_provider(Arc::new(ddrop::tls::provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self::Tls(port, Arc::new(config))
    }

    /// What comes back until it ends, or until an answer over HTTP/2 has.
    fn ask(&self, trick: &Trick) -> String {
        match self {
            Self::Tls(port, config) => {
                let mut config = rustls::ClientConfig::clone(config);
                config.alpn_protocols = vec![if trick.h2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
                let name = ServerName::try_from("localhost").expect("a name");
                let session = rustls::ClientConnection::new(Arc::new(config), name).expect("a session");
                exchange(rustls::StreamOwned::new(session, tcp(*port)), trick)
            }
            Self::Tcp(port) => exchange(tcp(*port), trick),
            Self::Unix(path) => {
                let stream = UnixStream::connect(path).expect("connected");
                stream.set_read_timeout(Some(PATIENCE)).expect("set");
                exchange(stream, trick)
            }
        }
    }
}

fn tcp(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    stream
}

fn exchange(mut stream: impl Read + Write, trick: &Trick) -> String {
    // Who is cut off while still speaking may have been answered all the same.
    let _ = stream.write_all(&trick.bytes).and_then(|()| stream.flush());
    let (mut got, mut piece) = (Vec::new(), [0; 16 * 1024]);
    let end = loop {
        match stream.read(&mut piece) {
            Ok(0) => break String::new(),
            Ok(length) => got.extend(piece.get(..length).unwrap_or_default()),
            Err(error) => break format!("\n[{error}]"),
        }
        if trick.h2 && has_ended(&got) {
            break String::new();
        }
    };
    String::from_utf8_lossy(&got).into_owned() + &end
}

/// Whether the one stream of an HTTP/2 connection, or all of it, has come to its end.
fn has_ended(mut got: &[u8]) -> bool {
    while let [a, b, c, kind, flags, _, _, _, _, rest @ ..] = got {
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        let Some(next) = rest.get(length..) else { return false };
        if matches!((*kind, flags & 1), (0 | 1, 1) | (3 | 7, _)) {
            return true;
        }
        got = next;
    }
    false
}

/// What an answer amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// It was answered, as nobody's.
    Nobody,
    /// It was refused, or cut off.
    Refused,
}

/// Whatever is neither told to be nobody nor refused is somebody.
fn outcome(answer: &str, h2: bool) -> Result<Outcome, String> {
    let found = ["\"admin\"", "\"proxy-", "\"links\"", "192.0.2.9", "\"untrusted\"", "HTTP/1.1 429"];
    if let Some(words) = found.iter().find(|words| answer.contains(**words)) {
        return Err(format!("it has {words}"));
    }
    if h2 {
        return Ok(if answer.contains("\"anonymous\"") { Outcome::Nobody } else { Outcome::Refused });
    }
    let mut outcome = Outcome::Refused;
    for one in answer.split("HTTP/1.1 ").skip(1) {
        match one.as_bytes().first() {
            Some(b'2') if one.contains("\"anonymous\"") => outcome = Outcome::Nobody,
            Some(b'4' | b'5') => {}
            _ => return Err("an answer is neither nobody's nor a refusal".to_owned()),
        }
    }
    Ok(outcome)
}

/// A way in that is open, and what is behind it.
struct Open {
    wire: Wire,
    admin: User,
    what: What,
}

enum What {
    Deployed(Box<Deployed>),
    Own(Server, tempfile::TempDir),
}

/// Limits are not what is asked about, and would hide what is. Nobody reads the log, which would fill its pipe.
const WITHOUT_LIMITS: [&str; 3] = ["--rate-limit-requests=0", "--rate-limit-misses=0", "--log=error"];

fn open(front: Front) -> Open {
    let Front::Through(kind) = front else { return own(front) };
    through(kind, &[])
}

fn through(kind: Kind, wishes: &[(&str, &str)]) -> Open {
    let places: &[(&str, &str)] = match kind {
        Kind::Passthrough => &[("gt 128", "gt 100000"), ("gt 200", "gt 100000")],
        Kind::Header => &[("gt 400", "gt 100000")],
        Kind::Nginx => {
            &[("rate=20r/s", "rate=10000r/s"), ("burst=100", "burst=10000"), ("connections 64", "connections 999")]
        }
        Kind::Caddy => &[],
    };
    let places = [places, wishes].concat();
    let deployed = Deployed::start_with(kind, Wish { places: &places, flags: &WITHOUT_LIMITS, past: None });
    let wire = Wire::tls(deployed.port, &deployed.at("root.crt"));
    let admin = User { home: tempfile::tempdir().expect("a folder") };
    std::fs::create_dir(admin.home.path().join("ddrop")).expect("made");
    std::fs::copy(deployed.admin.file("client.crt"), admin.file("client.crt")).expect("copied");
    Open { wire, admin, what: What::Deployed(Box::new(deployed)) }
}

fn own(front: Front) -> Open {
    let folder = tempfile::tempdir().expect("a folder");
    let (storage, socket, kept) = (folder.path().join("storage"), folder.path().join("http.sock"), Port::keep());
    let port = kept.number;
    let plain = match front {
        Front::Untrusted => vec![format!("--proxy-listen=127.0.0.1:{port}"), "--trusted-proxies=192.0.2.1".to_owned()],
        Front::Beside | Front::Socket => vec![format!("--proxy-listen=unix:{}", socket.display())],
        Front::Direct | Front::Through(_) => Vec::new(),
    };
    let secret = format!("--proxy-secret={SECRET}");
    let secret = if plain.is_empty() { Vec::new() } else { vec![secret.as_str()] };
    let flags = [&WITHOUT_LIMITS[..], &plain.iter().map(String::as_str).collect::<Vec<_>>(), &secret].concat();
    let server = Server::start(&storage, &flags);
    let admin = User::enrolled(&server);
    let tls = server.url.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let wire = match front {
        Front::Untrusted => Wire::Tcp(port),
        Front::Socket => Wire::Unix(socket),
        Front::Direct | Front::Beside | Front::Through(_) => Wire::tls(tls, &admin.file("ca.crt")),
    };
    Open { wire, admin, what: What::Own(server, folder) }
}

#[test]
fn nobody_is_taken_for_somebody_else_on_any_way_in() {
    for front in Front::all() {
        let open = open(front);
        let mut seen: BTreeMap<(Word, bool), Vec<Outcome>> = BTreeMap::new();
        let tricks: Vec<Trick> = front.secrets().iter().flat_map(|secret| tricks(&open.admin, secret)).collect();
        for group in tricks.chunks(AT_ONCE) {
            let answers: Vec<String> = std::thread::scope(|scope| {
                let asking: Vec<_> = group.iter().map(|trick| scope.spawn(|| open.wire.ask(trick))).collect();
                asking.into_iter().map(|one| one.join().expect("asked")).collect()
            });
            for (trick, answer) in group.iter().zip(answers) {
                let what = String::from_utf8_lossy(&trick.bytes);
                let outcome = outcome(&answer, trick.h2)
                    .unwrap_or_else(|why| panic!("{front:?}, {:?}: {why}: {what:?}: {answer}", trick.word));
                seen.entry((trick.word, trick.h2)).or_default().push(outcome);
            }
            // What is left on the connections between proxy and server is nobody else's.
            let next = Trick { word: Word::Plain, h2: false, bytes: NOBODYS.into() };
            for _ in 0..3 {
                let answer = open.wire.ask(&next);
                assert!(answer.contains("\"anonymous\"") && answer.contains("\"none\""), "{front:?}: {answer}");
            }
        }
        for word in WORDS {
            assert!(seen.keys().any(|(tried, _)| *tried == word), "{front:?}: {word:?} was not tried");
        }
        // A way in that refuses everything would pass as well, and show nothing.
        for h2 in [false, true] {
            let plain = seen.get(&(Word::Plain, h2)).expect("tried");
            let through = plain.iter().all(|one| *one == Outcome::Nobody);
            assert!(through, "{front:?}: not answered at all, HTTP/2: {h2}: {plain:?}");
        }
        open.still_knows_who_is_who(front);
    }
}

#[test]
fn a_proxy_that_hands_on_what_clients_say_is_noticed() {
    // Where the file of deploy/ leaves it out, the same words are somebody, or refused as a proxy's that will not do.
    let Open { wire, admin, what } = through(Kind::Nginx, &[("proxy_set_header X-SSL-Client-SHA256 \"\";", "")]);
    let tricks = tricks(&admin, "");
    let believed = |trick: &&Trick| outcome(&wire.ask(trick), trick.h2).is_err_and(|why| why.contains("\"admin\""));
    let found: Vec<_> =
        tricks.iter().filter(|trick| trick.word == Word::Plain).filter(believed).map(|one| one.h2).collect();
    assert_eq!(found, [false, true], "by that name, over either HTTP");
    if let What::Deployed(deployed) = what {
        deployed.stop();
    }
}

const NOBODYS: &str = "GET /api/whoami HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

impl Open {
    /// The same words count where they should, so that the test would notice.
    fn still_knows_who_is_who(self, front: Front) {
        let (name, value) = names(&self.admin).swap_remove(0);
        let said = format!("Connection: close\r\nX-Proxy-Secret: {SECRET}\r\n{name}: {value}\r\n\r\n");
        let proven = NOBODYS.replace("Connection: close\r\n\r\n", &said);
        let proven = Trick { word: Word::Plain, h2: false, bytes: proven.into() };
        match (front, &self.what) {
            (Front::Socket, _) => assert!(self.wire.ask(&proven).contains("\"admin\"")),
            (Front::Beside, What::Own(_, folder)) => {
                // Both at once: the one hears what the other does not.
                let beside = Wire::Unix(folder.path().join("http.sock"));
                for _ in 0..3 {
                    assert!(beside.ask(&proven).contains("\"admin\""));
                    assert!(self.wire.ask(&proven).contains("\"anonymous\""));
                }
                let me = words(&self.admin.run(&["whoami", "--json"]));
                assert!(me.contains("\"admin\"") && me.contains("\"certificate\""), "{me}");
            }
            (Front::Through(kind), What::Deployed(deployed)) => {
                if kind != Kind::Passthrough {
                    let behind = Wire::Unix(deployed.at("http.sock"));
                    assert!(behind.ask(&proven).contains("\"admin\""), "{kind:?}");
                }
                let me = words(&deployed.admin.run(&["whoami", "--json"]));
                assert!(me.contains("\"admin\""), "{kind:?}: {me}");
                let doctor = deployed.admin.run(&["doctor", "--through", &deployed.url("")]);
                assert!(doctor.status.success() && words(&doctor).contains("not believed"), "{}", words(&doctor));
            }
            _ => {}
        }
        match self.what {
            What::Deployed(deployed) => deployed.stop(),
            What::Own(server, _) => server.stop(),
        }
    }
}

#[test]
fn who_has_a_certificate_stays_who_that_says() {
    for kind in ALL {
        let deployed = Deployed::start(kind);
        let bob = deployed.invited("bob");
        for (name, value) in &names(&deployed.admin) {
            for version in ["--http1.1", "--http2"] {
                let (header, url) = (format!("{name}: {value}"), deployed.url("/api/whoami"));
                let elsewhere = ["-H", "X-Forwarded-For: 192.0.2.9", "-H", "Forwarded: for=192.0.2.9"];
                let arguments = [&[version, "-H", &header][..], &elsewhere, &[&url]].concat();
                let me = deployed.curl_as(&bob, &arguments);
                assert!(me.contains("\"bob\"") && me.contains("\"address\":\"127.0.0.1\""), "{kind:?} {name}: {me}");
                let me = words(&deployed.curl(&arguments));
                assert!(me.contains("\"anonymous\"") && !me.contains("192.0.2.9"), "{kind:?} {name}: {me}");
            }
        }
        deployed.stop();
    }
}
