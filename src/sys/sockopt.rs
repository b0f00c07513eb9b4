//! Options of the connection's socket.

use std::io;
use std::mem;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket, sockopt,
};
use nix::{getsockopt_impl, libc, setsockopt_impl, sockopt_impl};
use reachback_core::ipqos::IpQos;
use reachback_ssh::limits::OUTBOUND_HIGH;
use reachback_tunnel::{Source, Unacknowledged};

/// linux/tcp.h; libc does not have it for Linux.
const TCP_NOTSENT_LOWAT: libc::c_int = 25;
/// How much the kernel may hold of the tunnel's data that it has not sent yet, bytes, until the link's
/// rate is known. What is written later waits behind it, a keystroke or a keepalive behind a download:
/// at 1 Mbit/s this is a quarter of a second, where a full send buffer is half a minute. Data under way
/// (the congestion window) comes on top, so throughput does not suffer.
const NOTSENT_BYTES: u32 = OUTBOUND_HIGH as u32;

sockopt_impl!(
    /// tcp(7), `TCP_NOTSENT_LOWAT`: unsent bytes from which on the socket is not writable.
    NotsentLowat,
    Both,
    libc::IPPROTO_TCP,
    TCP_NOTSENT_LOWAT,
    u32
);

sockopt_impl!(
    /// tcp(7), `TCP_QUICKACK`.
    QuickAck,
    SetOnly,
    libc::IPPROTO_TCP,
    libc::TCP_QUICKACK,
    u32
);

sockopt_impl!(
    /// tcp(7), `TCP_THIN_LINEAR_TIMEOUTS`.
    ThinLinearTimeouts,
    SetOnly,
    libc::IPPROTO_TCP,
    libc::TCP_THIN_LINEAR_TIMEOUTS,
    u32
);

/// Begins a TCP connection from `source`; it is under way when this returns.
///
/// # Errors
/// The kernel's, with what to do about it where it is about the source: none of them is
/// for ever, since interfaces and addresses come and go.
pub fn begin_connect(to: SocketAddr, source: &Source) -> io::Result<TcpStream> {
    let family = match to {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd = socket(family, SockType::Stream, flags, None)?;
    if let IpQos::Byte(byte) = source.qos {
        let byte = libc::c_int::from(byte);
        match family {
            AddressFamily::Inet => setsockopt(&fd, sockopt::Ipv4Tos, &byte)?,
            _ => setsockopt(&fd, sockopt::Ipv6TClass, &byte)?,
        }
    }
    if let Some(name) = &source.interface {
        setsockopt(&fd, sockopt::BindToDevice, &name.into())
            .map_err(|error| no_interface(name, error))?;
    }
    if let Some(address) = source.address {
        bind(
            fd.as_raw_fd(),
            &SockaddrStorage::from(SocketAddr::new(address, 0)),
        )
        .map_err(|error| no_address(address, error))?;
    }
    match connect(fd.as_raw_fd(), &SockaddrStorage::from(to)) {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(fd.into()),
        Err(error) => Err(error.into()),
    }
}

fn no_interface(name: &str, error: Errno) -> io::Error {
    let advice = match error {
        Errno::ENODEV => "there is no such interface yet; see `ip link`",
        Errno::EPERM => "not permitted; run as root or with CAP_NET_RAW",
        other => other.desc(),
    };
    io::Error::other(format!("BindInterface {name}: {advice}"))
}

fn no_address(address: IpAddr, error: Errno) -> io::Error {
    let advice = match error {
        Errno::EADDRNOTAVAIL => "this machine does not have the address yet; see `ip address`",
        other => other.desc(),
    };
    io::Error::other(format!("BindAddress {address}: {advice}"))
}

/// Prepares a connected TCP socket for the tunnel: no Nagle delay, little unsent data in the
/// kernel, its keepalive probes (`TCPKeepAlive`), and retransmissions that do not back off as
/// long as little is under way: on a path that loses packets an idle connection's probe is sent
/// six times in the time of three.
///
/// # Errors
/// The kernel's, for a socket that is not TCP.
pub fn prepare_tunnel(socket: &impl AsFd, keep_alive: bool) -> io::Result<()> {
    setsockopt(socket, sockopt::TcpNoDelay, &true)?;
    setsockopt(socket, sockopt::KeepAlive, &keep_alive)?;
    // Since Linux 2.6.34; without it there is only more delay.
    let _ = setsockopt(socket, ThinLinearTimeouts, &1);
    limit_unsent(socket, NOTSENT_BYTES);
    Ok(())
}

/// The kernel takes no more once so many bytes wait to be sent, since Linux 3.12.
pub fn limit_unsent(socket: &impl AsFd, bytes: u32) {
    let _ = setsockopt(socket, NotsentLowat, &bytes);
}

/// Lets the kernel forget, when the socket is closed, what the peer has not taken: a connection
/// that was given up would go on sending for minutes and take the next one's place on a slow
/// link. The peer gets a reset, if anything.
///
/// # Errors
/// The kernel's.
pub fn discard_on_close(socket: &impl AsFd) -> io::Result<()> {
    let at_once = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    Ok(setsockopt(socket, sockopt::Linger, &at_once)?)
}

/// Sends the acknowledgement that the kernel has put off, if there is one (tcp(7), `TCP_QUICKACK`).
/// It says so once, and sets nothing for later. Where it fails, there is only the delay.
pub fn acknowledge(socket: &impl AsFd) {
    let _ = setsockopt(socket, QuickAck, &1);
}

/// Switches off the Nagle delay of a target's socket.
///
/// # Errors
/// The kernel's, for a socket that is not TCP.
pub fn prepare_target(socket: &impl AsFd) -> io::Result<()> {
    Ok(setsockopt(socket, sockopt::TcpNoDelay, &true)?)
}

/// What the peer has not acknowledged (tcp(7): `SIOCOUTQ`, `TCP_INFO`). Two system calls.
///
/// # Errors
/// The kernel's, for a socket that is not TCP, or where `TCP_INFO` says too little.
pub fn unacknowledged(socket: &impl AsFd) -> io::Result<Unacknowledged> {
    let fd = socket.as_fd().as_raw_fd();
    let mut bytes: libc::c_int = 0;
    // SAFETY: the request writes one int, to a variable that outlives the call.
    Errno::result(unsafe { libc::ioctl(fd, libc::TIOCOUTQ, &mut bytes) })?;
    // SAFETY: every field is an integer, for which zero is a value.
    let mut info: libc::tcp_info = unsafe { mem::zeroed() };
    let mut len = mem::size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: the call writes at most `len` bytes, which is the size of `info`.
    Errno::result(unsafe {
        libc::getsockopt(
            fd,
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut len,
        )
    })?;
    if (len as usize) < mem::offset_of!(libc::tcp_info, tcpi_total_retrans) {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let bytes = usize::try_from(bytes).unwrap_or_default();
    let sacked = (info.tcpi_sacked as usize).saturating_mul(info.tcpi_snd_mss as usize);
    let mut since_ms = info.tcpi_last_ack_recv;
    if bytes > 0 && info.tcpi_unacked == 0 {
        // Its window is closed: it acknowledges probes of the window, and takes nothing.
        since_ms = since_ms.max(info.tcpi_last_data_sent);
    }
    let backoff = u32::from(info.tcpi_backoff).min(31);
    Ok(Unacknowledged {
        bytes,
        sacked: sacked.min(bytes),
        since: Duration::from_millis(since_ms.into()),
        retransmission: Duration::from_micros((info.tcpi_rto >> backoff).into()),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use nix::sys::socket::getsockopt;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn a_tunnel_socket_has_no_delay_and_no_limit_of_the_kernel_on_silence() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        prepare_tunnel(&stream, true).unwrap();
        assert!(getsockopt(&stream, sockopt::TcpNoDelay).unwrap());
        assert!(getsockopt(&stream, sockopt::KeepAlive).unwrap());
        assert_eq!(getsockopt(&stream, NotsentLowat).unwrap(), 32 * 1024);
        assert_eq!(getsockopt(&stream, sockopt::TcpUserTimeout).unwrap(), 0);
        prepare_tunnel(&stream, false).unwrap();
        assert!(!getsockopt(&stream, sockopt::KeepAlive).unwrap());
    }

    #[test]
    fn the_kernel_says_what_the_peer_has_not_taken() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (peer, _) = listener.accept().unwrap();
        stream.write_all(b"taken").unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(5);
        while unacknowledged(&stream).unwrap().bytes > 0 {
            assert!(std::time::Instant::now() < deadline, "never acknowledged");
        }
        let told = unacknowledged(&stream).unwrap();
        assert!(told.since < Duration::from_secs(5), "{told:?}");
        let retransmission = Duration::from_millis(1)..Duration::from_secs(5);
        assert!(retransmission.contains(&told.retransmission), "{told:?}");
        // A peer that reads nothing closes its window; what is beyond it stays here.
        stream.set_nonblocking(true).unwrap();
        while stream.write(&[0; 65536]).is_ok() {}
        assert!(unacknowledged(&stream).unwrap().bytes > 0);
        drop(peer);
    }

    #[test]
    fn what_was_not_taken_is_discarded_with_the_socket() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        while stream.write(&[0; 65536]).is_ok() {}
        discard_on_close(&stream).unwrap();
        drop(stream);
        let error = peer.read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    #[test]
    fn what_is_no_tcp_socket_says_nothing() {
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        assert!(unacknowledged(&one).is_err());
    }

    fn from(source: &Source) -> io::Result<TcpStream> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        begin_connect(listener.local_addr().unwrap(), source)
    }

    #[test]
    fn a_connection_comes_from_the_address_asked_for_and_is_marked() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let source = Source {
            address: Some("127.0.0.9".parse().unwrap()),
            interface: None,
            qos: IpQos::Byte(0x48),
        };
        let stream = begin_connect(listener.local_addr().unwrap(), &source).unwrap();
        let (_, peer) = listener.accept().unwrap();
        assert_eq!(Some(peer.ip()), source.address);
        assert_eq!(getsockopt(&stream, sockopt::Ipv4Tos).unwrap(), 0x48);
        assert_eq!(stream.peer_addr().unwrap(), listener.local_addr().unwrap());
    }

    #[test]
    fn an_ipv6_connection_is_marked_by_its_traffic_class() {
        let Ok(listener) = TcpListener::bind("[::1]:0") else {
            return;
        };
        let source = Source {
            qos: IpQos::Byte(0xb8),
            ..Source::default()
        };
        let stream = begin_connect(listener.local_addr().unwrap(), &source).unwrap();
        assert_eq!(getsockopt(&stream, sockopt::Ipv6TClass).unwrap(), 0xb8);
    }

    #[test]
    fn a_source_that_is_not_there_yet_is_named() {
        let address = Source {
            address: Some("192.0.2.1".parse().unwrap()),
            ..Source::default()
        };
        let error = from(&address).unwrap_err().to_string();
        assert!(error.starts_with("BindAddress 192.0.2.1: this machine"));
        let interface = Source {
            interface: Some("nosuchlink0".to_owned()),
            ..Source::default()
        };
        let error = from(&interface).unwrap_err().to_string();
        assert!(error.starts_with("BindInterface nosuchlink0: "), "{error}");
    }

    #[test]
    fn a_connection_leaves_by_the_interface_asked_for() {
        let source = Source {
            interface: Some("lo".to_owned()),
            ..Source::default()
        };
        match from(&source) {
            Ok(stream) => {
                let name = getsockopt(&stream, sockopt::BindToDevice).unwrap();
                assert!(name.to_string_lossy().starts_with("lo"));
            }
            // Before Linux 5.7 this takes CAP_NET_RAW.
            Err(error) => assert!(error.to_string().contains("CAP_NET_RAW"), "{error}"),
        }
    }
}
