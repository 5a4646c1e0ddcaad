//! Where connections come in: a TCP port, or a Unix socket that only its owner and group may use.

use std::fs::{Metadata, Permissions};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// Who may connect to a Unix socket: its owner and its group, whatever the umask.
const MODE: u32 = 0o660;

/// An open socket that accepts connections.
#[derive(Debug)]
pub enum Listener {
    /// A TCP port.
    Tcp(TcpListener),
    /// A file on this machine.
    Unix(UnixSocket),
}

/// A connection that was accepted.
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Listener {
    pub(super) async fn accept(&self) -> io::Result<(Stream, Option<IpAddr>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                // Without it small answers may wait 40 ms for the peer's acknowledgement. An error means it is gone.
                let _ = stream.set_nodelay(true);
                Ok((Stream::Tcp(stream), Some(address.ip())))
            }
            Self::Unix(socket) => Ok((Stream::Unix(socket.listener.accept().await?.0), None)),
        }
    }
}

/// A Unix socket; its file goes with it.
#[derive(Debug)]
pub struct UnixSocket {
    listener: UnixListener,
    path: PathBuf,
    own: (u64, u64),
}

impl UnixSocket {
    /// Listens at `path`. A socket that nobody listens on any more is replaced; anything else there is left alone.
    ///
    /// # Errors
    /// When somebody listens there, something else is there, or it cannot be made.
    pub fn bind(path: &Path) -> io::Result<Self> {
        if let Ok(there) = std::fs::symlink_metadata(path) {
            make_way(path, &there)?;
        }
        // Made where nobody else can reach it, so that it never stands open with another mode, then put in its place.
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let private = tempfile::Builder::new().prefix(".ddrop").tempdir_in(folder)?;
        let made = private.path().join("s");
        let listener = UnixListener::bind(&made)?;
        std::fs::set_permissions(&made, Permissions::from_mode(MODE))?;
        let own = identity(&std::fs::symlink_metadata(&made)?);
        std::fs::rename(&made, path)?;
        Ok(Self { listener, path: path.to_owned(), own })
    }
}

fn make_way(path: &Path, there: &Metadata) -> io::Result<()> {
    if !there.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "something that is no socket is there already"));
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "another program listens there")),
    }
}

fn identity(facts: &Metadata) -> (u64, u64) {
    (facts.dev(), facts.ino())
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        // Unless another server has taken its place.
        if std::fs::symlink_metadata(&self.path).is_ok_and(|facts| identity(&facts) == self.own) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dead_socket_is_replaced_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ddrop.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).expect("a socket"));
        let own = UnixSocket::bind(&path).expect("the dead one is replaced");
        let mode = std::fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o7777, MODE);
        let error = UnixSocket::bind(&path).expect_err("it lives");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(UnixStream::connect(&path).await.is_ok(), "the one that lives was not touched");
        drop(own);
        assert!(!path.exists(), "its file went with it");
        std::fs::write(&path, "precious").expect("written");
        assert_eq!(UnixSocket::bind(&path).expect_err("a file").kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&path).expect("there"), b"precious");
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1, "nothing is left lying around");
    }

    #[tokio::test]
    async fn who_was_replaced_does_not_take_the_other_ones_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ddrop.sock");
        let first = UnixSocket::bind(&path).expect("a socket");
        std::fs::remove_file(&path).expect("removed");
        let _second = UnixSocket::bind(&path).expect("a socket");
        drop(first);
        assert!(path.exists());
    }
}
