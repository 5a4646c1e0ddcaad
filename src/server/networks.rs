//! Networks, as an operator names them.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

/// Addresses that have something in common: what the operator decided about them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// What only this machine can reach.
    pub fn loopback() -> Self {
        let local = |address: [u8; 4], bits| IpNet::new(IpAddr::from(address), bits);
        let six = IpNet::new(IpAddr::from(std::net::Ipv6Addr::LOCALHOST), 128);
        Self([local([127, 0, 0, 0], 8), six].into_iter().flatten().collect())
    }

    /// Whether an address is in one of them. An IPv4 address in IPv6's clothes is an IPv4 address.
    pub fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Whether one of them is everything there is.
    pub fn are_everything(&self) -> bool {
        self.0.iter().any(|network| network.prefix_len() == 0)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromStr for Networks {
    type Err = Error;

    /// Reads addresses and networks, with commas between: `10.0.0.1, 10.1.0.0/16, fd00::/8`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
        let networks = words.map(network).collect::<Result<Vec<_>, _>>()?;
        if networks.is_empty() { Err(Error(text.to_owned())) } else { Ok(Self(networks)) }
    }
}

fn network(word: &str) -> Result<IpNet, Error> {
    let network = match word.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => word.parse::<IpNet>().map_err(|_| Error(word.to_owned()))?,
    };
    // It would never match: such addresses are looked at as what they are.
    if network.addr().to_canonical() != network.addr() {
        return Err(Error(word.to_owned()));
    }
    Ok(network.trunc())
}

impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&words.join(","))
    }
}

/// What is no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is neither an address nor a network such as 10.0.0.0/8 or fd00::/8")]
pub struct Error(String);

#[cfg(test)]
mod tests {
    use super::*;

    fn contain(networks: &str, address: &str) -> bool {
        let networks: Networks = networks.parse().expect("networks");
        networks.contain(address.parse().expect("an address"))
    }

    #[test]
    fn addresses_and_networks_are_told_apart_from_what_is_outside() {
        assert!(contain("10.0.0.0/8", "10.255.0.1") && !contain("10.0.0.0/8", "11.0.0.1"));
        assert!(contain("192.0.2.7", "192.0.2.7") && !contain("192.0.2.7", "192.0.2.8"));
        assert!(contain("fd00::/8, ::1", "::1") && !contain("fd00::/8", "fe80::1"));
        assert!(contain("10.0.0.0/8", "::ffff:10.0.0.1"), "the same address in other clothes");
        assert!(contain("10.1.2.3/8", "10.9.9.9"), "bits of the host do not narrow a network");
        assert!(Networks::loopback().contain("127.8.8.8".parse().expect("an address")));
        assert!(!Networks::default().contain("127.0.0.1".parse().expect("an address")));
    }

    #[test]
    fn what_is_no_network_is_named() {
        for wrong in ["", " , ", "10.0.0.0/33", "10.0.0", "proxy.example", "::ffff:10.0.0.0/104", "10.0.0.0/8;::1"] {
            assert!(wrong.parse::<Networks>().is_err(), "{wrong}");
        }
        let both: Networks = "10.0.0.1, 0.0.0.0/0".parse().expect("networks");
        assert!(both.are_everything());
        assert_eq!(both.to_string(), "10.0.0.1/32,0.0.0.0/0");
    }
}
