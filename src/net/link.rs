//! The machine's own network: links, addresses and default routes that come and go
//! (rtnetlink(7)), so that nobody waits for a timer when the cable is back.

mod known;
mod message;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{IpAddr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recvfrom, socket,
};
use reachback_core::time::Instant;

use crate::sys::file::reason;
use known::Known;
use message::Change;

/// Room for one datagram, bytes; what the kernel tells unasked is below a page (netlink(7)).
/// One that fills it was cut and counts as missed.
const DATAGRAM_BYTES: usize = 8 * 1024;
/// Datagrams read in one turn, so that a storm cannot hold the loop.
const DATAGRAMS_PER_TURN: usize = 64;
/// Removed addresses told of one turn; with more, all that are not there count as removed.
const REMOVED_PER_TURN: usize = 16;
/// How much news is passed on at once: a link brings up to four, itself, an address of each
/// family, and a route.
const BURST: u8 = 4;
/// How long it takes for one more to be allowed.
const REFILL: Duration = Duration::from_secs(5);

/// What a turn of reading brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// Something came by which a server may be in reach again.
    pub came: bool,
    /// Addresses that are gone.
    pub removed: Vec<IpAddr>,
    /// Something was missed: any address may be gone.
    pub missed: bool,
    /// There is more to read at once.
    pub more: bool,
}

/// A netlink socket and what it has told so far.
#[derive(Debug)]
pub struct Monitor {
    fd: OwnedFd,
    known: Known,
}

impl Monitor {
    /// Opens the socket, non-blocking, for links, IPv4 and IPv6 addresses and routes.
    ///
    /// # Errors
    /// The kernel's: no netlink, or not permitted.
    pub fn open() -> io::Result<Monitor> {
        let fd = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkRoute,
        )?;
        let groups = libc::RTMGRP_LINK
            | libc::RTMGRP_IPV4_IFADDR
            | libc::RTMGRP_IPV4_ROUTE
            | libc::RTMGRP_IPV6_IFADDR
            | libc::RTMGRP_IPV6_ROUTE;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, groups as u32))?;
        Ok(Monitor {
            fd,
            known: Known::default(),
        })
    }

    /// Reads what there is, within the bound of one turn. Call it until [`News::more`] is
    /// false: readiness is edge-triggered.
    pub fn read(&mut self) -> News {
        let mut news = News::default();
        let mut buffer = [0; DATAGRAM_BYTES];
        for _ in 0..DATAGRAMS_PER_TURN {
            match recvfrom::<NetlinkAddr>(self.fd.as_raw_fd(), &mut buffer) {
                // Only the kernel has port 0; nobody else is believed.
                Ok((_, Some(from))) if from.pid() != 0 => {}
                Ok((length, _)) if length < buffer.len() => {
                    news.add(&buffer[..length], &mut self.known);
                }
                Ok(_) => news.miss(&mut self.known),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return news,
                // ENOBUFS, the socket's queue was full (netlink(7)), and whatever else.
                Err(error) => {
                    log::debug!("link events were missed: {}", error.desc());
                    news.miss(&mut self.known);
                    if error != Errno::ENOBUFS {
                        return news;
                    }
                }
            }
        }
        news.more = true;
        news
    }
}

impl AsRawFd for Monitor {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl News {
    fn add(&mut self, datagram: &[u8], known: &mut Known) {
        message::read(datagram, |change| {
            self.came |= known.take_in(change);
            match change {
                Change::AddressAdded(_, address) => self.removed.retain(|gone| *gone != address),
                Change::AddressRemoved(_, address) if self.removed.len() < REMOVED_PER_TURN => {
                    self.removed.push(address);
                }
                Change::AddressRemoved(..) => self.missed = true,
                _ => {}
            }
        });
    }

    fn miss(&mut self, known: &mut Known) {
        known.forget();
        self.came = true;
        self.missed = true;
    }
}

/// The monitor on the poll, and the pace at which its news is passed on. Where the kernel gives
/// no such socket there is no news, and timers do their work.
#[derive(Debug)]
pub struct Watch {
    monitor: Option<Monitor>,
    allowance: Allowance,
    readable: bool,
}

impl Watch {
    /// Opens the socket and watches it under `token`.
    pub fn open(registry: &Registry, token: Token, now: Instant) -> Watch {
        let opened = Monitor::open().and_then(|monitor| {
            let fd = monitor.as_raw_fd();
            registry.register(&mut SourceFd(&fd), token, Interest::READABLE)?;
            Ok(monitor)
        });
        if let Err(error) = &opened {
            log::debug!("no link events, only timers: {}", reason(error));
        }
        Watch {
            monitor: opened.ok(),
            allowance: Allowance::new(now),
            readable: true,
        }
    }

    /// The socket is ready.
    pub fn handle_ready(&mut self) {
        self.readable = true;
    }

    /// What there is to tell in this turn. [`News::came`] keeps to the pace of [`Allowance`];
    /// removed addresses are told at once.
    pub fn drive(&mut self, now: Instant) -> News {
        let mut news = match &mut self.monitor {
            Some(monitor) if self.readable => monitor.read(),
            _ => News::default(),
        };
        self.readable = news.more;
        if news.came {
            self.allowance.note();
        }
        news.came = self.allowance.take(now);
        news
    }

    /// When [`Watch::drive`] has news that was held back.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.allowance.poll_timeout()
    }
}

/// Whether this machine has an address: whether a socket may be bound to it. True where that
/// cannot be told.
pub fn is_local(address: IpAddr) -> bool {
    match UdpSocket::bind((address, 0)) {
        Err(error) => error.kind() != io::ErrorKind::AddrNotAvailable,
        Ok(_) => true,
    }
}

/// Passes news on at once, but no more than four in a row and then one in 5 s: an interface
/// that flaps must not keep a tunnel from coming up. What is held back is passed on late,
/// as one.
#[derive(Clone, Debug)]
pub struct Allowance {
    left: u8,
    refilled: Instant,
    held_back: bool,
}

impl Allowance {
    /// With nothing used up.
    pub fn new(now: Instant) -> Allowance {
        Allowance {
            left: BURST,
            refilled: now,
            held_back: false,
        }
    }

    /// There is news.
    pub fn note(&mut self) {
        self.held_back = true;
    }

    /// Whether news is to be passed on now.
    pub fn take(&mut self, now: Instant) -> bool {
        while self.left < BURST && self.refilled + REFILL <= now {
            self.left += 1;
            self.refilled = self.refilled + REFILL;
        }
        if self.left == BURST {
            self.refilled = now;
        }
        let pass = self.held_back && self.left > 0;
        if pass {
            self.left -= 1;
            self.held_back = false;
        }
        pass
    }

    /// When [`Allowance::take`] says yes next, as far as is known.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match (self.held_back, self.left) {
            (false, _) => None,
            (true, 0) => Some(self.refilled + REFILL),
            (true, _) => Some(self.refilled),
        }
    }
}
