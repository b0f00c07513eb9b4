//! Options of the connection's socket.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};

/// Prepares a connected TCP socket for the tunnel: no Nagle delay, keepalive probes of the
/// kernel, and `TCP_USER_TIMEOUT` (tcp(7)): the longest time sent data may stay
/// unacknowledged before the kernel ends the connection, rounded down to milliseconds.
/// A zero `user_timeout` leaves the kernel's own.
///
/// # Errors
/// The kernel's, for a socket that is not TCP.
pub fn prepare_tunnel(socket: &impl AsFd, user_timeout: Duration) -> io::Result<()> {
    setsockopt(socket, sockopt::TcpNoDelay, &true)?;
    setsockopt(socket, sockopt::KeepAlive, &true)?;
    let user_timeout_ms = u32::try_from(user_timeout.as_millis()).unwrap_or(u32::MAX);
    if user_timeout_ms > 0 {
        setsockopt(socket, sockopt::TcpUserTimeout, &user_timeout_ms)?;
    }
    Ok(())
}

/// Switches off the Nagle delay of a target's socket.
///
/// # Errors
/// The kernel's, for a socket that is not TCP.
pub fn prepare_target(socket: &impl AsFd) -> io::Result<()> {
    Ok(setsockopt(socket, sockopt::TcpNoDelay, &true)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use nix::sys::socket::getsockopt;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn a_tunnel_socket_has_no_delay_and_a_user_timeout() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        prepare_tunnel(&stream, Duration::from_secs(75)).unwrap();
        assert!(getsockopt(&stream, sockopt::TcpNoDelay).unwrap());
        assert!(getsockopt(&stream, sockopt::KeepAlive).unwrap());
        assert_eq!(
            getsockopt(&stream, sockopt::TcpUserTimeout).unwrap(),
            75_000
        );
    }
}
