//! Ports for programs that have to be told which one to listen on.
#![allow(unreachable_pub, reason = "each test binary uses its part of it")]
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use tokio::net::TcpSocket;

/// A port of 127.0.0.1 that the kernel gives to nobody who asks for any, until this is dropped. Who asks for this very
/// one gets it, by `SO_REUSEADDR`, which servers set: nothing listens here.
pub struct Port {
    pub number: u16,
    _kept: TcpSocket,
}

impl Port {
    pub fn keep() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_reuseaddr(true).expect("set");
        socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
        Self { number: socket.local_addr().expect("bound").port(), _kept: socket }
    }
}
