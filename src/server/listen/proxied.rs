//! The PROXY protocol, versions 1 and 2: what a proxy that forwards TCP says of where a connection comes from.

use std::io;
use std::net::IpAddr;

use proxy_header::{ParseConfig, Protocol, ProxyHeader};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// How a header of version 2 begins. One of version 1 is never as short.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes a header of version 1 may have, its end included.
const LONGEST_LINE: usize = 107;
/// Bytes of addresses and extensions a header of version 2 may have. What proxies send stays under 600.
const LARGEST: u16 = 2048;

/// Who opened the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// A client, from here.
    Client(IpAddr),
    /// The proxy itself, for a health check of its own, or it does not say.
    Proxy,
}

/// Reads the header and not one byte more: what follows is TLS.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Origin, Error> {
    let mut head = [0; SIGNATURE.len()];
    stream.read_exact(&mut head).await?;
    let mut whole = head.to_vec();
    let version_2 = &head == SIGNATURE;
    if version_2 {
        let mut fixed = [0; 4];
        stream.read_exact(&mut fixed).await?;
        let [_, _, high, low] = fixed;
        let length = u16::from_be_bytes([high, low]);
        if length > LARGEST {
            return Err(Error::TooLong);
        }
        let mut rest = vec![0; length.into()];
        stream.read_exact(&mut rest).await?;
        whole.extend(fixed);
        whole.extend(rest);
    } else if head.starts_with(b"PROXY ") {
        while !whole.ends_with(b"\r\n") {
            if whole.len() == LONGEST_LINE {
                return Err(Error::TooLong);
            }
            whole.push(stream.read_u8().await?);
        }
    } else {
        return Err(Error::Garbage);
    }
    let expected = ParseConfig { include_tlvs: false, allow_v1: !version_2, allow_v2: version_2 };
    let (header, length) = ProxyHeader::parse(&whole, expected).map_err(|_| Error::Garbage)?;
    if length != whole.len() {
        return Err(Error::Garbage);
    }
    match header.proxied_address() {
        None => Ok(Origin::Proxy),
        Some(addresses) if addresses.protocol == Protocol::Stream => {
            Ok(Origin::Client(addresses.source.ip().to_canonical()))
        }
        Some(_) => Err(Error::Garbage),
    }
}

/// Why there is no header.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// It is something else.
    #[error("the connection does not begin with a header of the PROXY protocol")]
    Garbage,
    /// It does not end where it should.
    #[error("the header of the PROXY protocol is too long")]
    TooLong,
    /// The connection ended within.
    #[error("the connection ended within the header of the PROXY protocol")]
    CutOff(#[from] io::Error),
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proxy_header::{ProxiedAddress, Tlv};

    use super::*;

    /// What it says, and what is left after it.
    async fn said(bytes: &[u8]) -> Result<(Origin, Vec<u8>), Error> {
        let mut stream = bytes;
        let origin = read(&mut stream).await?;
        Ok((origin, stream.to_vec()))
    }

    fn version_2(header: &ProxyHeader<'_>) -> Vec<u8> {
        let mut bytes = vec![0; 4096];
        let length = header.encode_to_slice_v2(&mut bytes).expect("room");
        bytes.truncate(length);
        bytes
    }

    fn client(source: &str, destination: &str) -> ProxyHeader<'static> {
        let address = |text: &str| text.parse().expect("an address");
        ProxyHeader::with_address(ProxiedAddress::stream(address(source), address(destination)))
    }

    fn from(address: &str) -> Origin {
        Origin::Client(address.parse().expect("an address"))
    }

    #[tokio::test]
    async fn both_versions_say_where_a_client_is_and_take_nothing_from_what_follows() {
        let mut extended = client("[2001:db8::7]:1", "[2001:db8::1]:443");
        extended.append_tlv(Tlv::Authority("drop.example.org".into()));
        for (mut bytes, origin) in [
            (b"PROXY TCP4 192.0.2.7 192.0.2.1 5 443\r\n".to_vec(), from("192.0.2.7")),
            (b"PROXY TCP6 2001:db8::7 2001:db8::1 5 443\r\n".to_vec(), from("2001:db8::7")),
            (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 5 443\r\n".to_vec(), from("192.0.2.7")),
            (b"PROXY UNKNOWN\r\n".to_vec(), Origin::Proxy),
            (b"PROXY UNKNOWN ffff:: ffff:: 65535 65535\r\n".to_vec(), Origin::Proxy),
            (version_2(&client("192.0.2.7:1", "192.0.2.1:443")), from("192.0.2.7")),
            (version_2(&extended), from("2001:db8::7")),
            (version_2(&ProxyHeader::with_local()), Origin::Proxy),
        ] {
            bytes.extend(b"\x16\x03\x01 TLS");
            let (told, rest) = said(&bytes).await.expect("a header");
            assert_eq!((told, rest.as_slice()), (origin, &b"\x16\x03\x01 TLS"[..]));
        }
    }

    #[tokio::test]
    async fn garbage_and_what_has_no_end_is_refused() {
        let datagram = ProxyHeader::with_address(ProxiedAddress::datagram(
            "192.0.2.7:1".parse().expect("an address"),
            "192.0.2.1:443".parse().expect("an address"),
        ));
        let mut next_version = version_2(&ProxyHeader::with_local());
        next_version[12] = 0x31;
        let mut short = version_2(&client("192.0.2.7:1", "192.0.2.1:443"));
        short[15] = 4;
        for bytes in [
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 ClientHello".to_vec(),
            b"PROXY TCP4 192.0.2.999 192.0.2.1 5 443\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 192.0.2.1 5 443 6\r\n".to_vec(),
            b"PROXY TCP9 192.0.2.7 192.0.2.1 5 443\r\n".to_vec(),
            b"proxy tcp4 192.0.2.7 192.0.2.1 5 443\r\n".to_vec(),
            version_2(&datagram),
            next_version,
            short,
        ] {
            let told = said(&bytes).await;
            assert!(matches!(told, Err(Error::Garbage)), "{}: {told:?}", String::from_utf8_lossy(&bytes));
        }
        let endless = [b"PROXY UNKNOWN ".to_vec(), vec![b'x'; 4096]].concat();
        assert!(matches!(said(&endless).await, Err(Error::TooLong)));
        let large = [&SIGNATURE[..], &[0x21, 0x11, 0x08, 0x01], &[0; 4096]].concat();
        assert!(matches!(said(&large).await, Err(Error::TooLong)));
    }

    proptest! {
        #[test]
        fn nothing_a_peer_sends_makes_it_fall_over(
            begin in prop_oneof![Just(b"PROXY ".to_vec()), Just([&SIGNATURE[..], &[0x21, 0x11, 0]].concat()), Just(Vec::new())],
            rest in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let bytes = [begin, rest].concat();
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            let told = runtime.block_on(said(&bytes));
            if let Ok((_, left)) = told {
                prop_assert!(bytes.ends_with(&left) && left.len() < bytes.len());
            }
        }
    }
}
