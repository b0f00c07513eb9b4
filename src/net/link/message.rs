//! rtnetlink(7) messages to changes. Everything is read by slice, and what does not fit the
//! format is left out: the kernel writes these, but a length is a length.

use std::net::IpAddr;

use nix::libc;

/// `IFLA_`, `IFA_` and `RTA_` attributes looked at in one message.
const ATTRIBUTES: usize = 64;
/// Messages looked at in one datagram.
const MESSAGES: usize = 256;
const HEADER_BYTES: usize = 16;

/// A default route: what distinguishes one from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// `AF_INET` or `AF_INET6`.
    pub family: u8,
    /// Outgoing interface; 0 for several.
    pub interface: u32,
    /// Next hop, if it has one.
    pub gateway: Option<IpAddr>,
}

/// What one message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The interface is up and has a carrier.
    LinkUp(u32),
    /// The interface is down, has no carrier, or is gone.
    LinkDown(u32),
    /// The interface has this address and may use it.
    AddressAdded(u32, IpAddr),
    /// The interface has this address no longer.
    AddressRemoved(u32, IpAddr),
    /// There is this default route.
    RouteAdded(Route),
    /// There is this default route no longer.
    RouteRemoved(Route),
}

/// Hands each change that a datagram tells to `tell`, in order.
pub fn read(datagram: &[u8], mut tell: impl FnMut(Change)) {
    let mut rest = datagram;
    for _ in 0..MESSAGES {
        let (Some(length), Some(kind)) = (u32_at(rest, 0), u16_at(rest, 4)) else {
            return;
        };
        let Some(body) = usize::try_from(length)
            .ok()
            .and_then(|length| rest.get(HEADER_BYTES..length))
        else {
            return;
        };
        let change = match kind {
            libc::RTM_NEWLINK => link(body, true),
            libc::RTM_DELLINK => link(body, false),
            libc::RTM_NEWADDR => address(body, true),
            libc::RTM_DELADDR => address(body, false),
            libc::RTM_NEWROUTE => default_route(body).map(Change::RouteAdded),
            libc::RTM_DELROUTE => default_route(body).map(Change::RouteRemoved),
            _ => None,
        };
        change.into_iter().for_each(&mut tell);
        rest = rest
            .get(aligned(HEADER_BYTES + body.len())..)
            .unwrap_or_default();
    }
}

/// `struct ifinfomsg`: family, pad, type (2 bytes), index, flags, change (4 bytes each).
fn link(body: &[u8], exists: bool) -> Option<Change> {
    let index = u32_at(body, 4)?;
    let flags = u32_at(body, 8)? as i32;
    if flags & libc::IFF_LOOPBACK != 0 {
        return None;
    }
    let up = libc::IFF_UP | libc::IFF_LOWER_UP;
    Some(if exists && flags & up == up {
        Change::LinkUp(index)
    } else {
        Change::LinkDown(index)
    })
}

/// `struct ifaddrmsg`: family, prefix length, flags, scope (1 byte each), index (4 bytes).
fn address(body: &[u8], exists: bool) -> Option<Change> {
    let (family, short_flags) = (*body.first()?, *body.get(2)?);
    let index = u32_at(body, 4)?;
    let mut flags = u32::from(short_flags);
    let (mut local, mut address) = (None, None);
    for (kind, value) in attributes(body.get(8..)?) {
        match kind {
            // With a point-to-point link IFA_ADDRESS is the other end's.
            libc::IFA_LOCAL => local = ip(family, value),
            libc::IFA_ADDRESS => address = ip(family, value),
            libc::IFA_FLAGS => flags = u32_at(value, 0)?,
            _ => {}
        }
    }
    let address = local.or(address)?;
    if address.is_loopback() {
        return None;
    }
    let unusable = libc::IFA_F_TENTATIVE | libc::IFA_F_DADFAILED;
    match (exists, flags & unusable == 0) {
        (true, true) => Some(Change::AddressAdded(index, address)),
        // Told again once duplicate address detection is through (RFC 4862, 5.4).
        (true, false) => None,
        (false, _) => Some(Change::AddressRemoved(index, address)),
    }
}

/// `struct rtmsg`: family, destination's and source's prefix lengths, tos, table, protocol,
/// scope, type (1 byte each), flags (4 bytes).
fn default_route(body: &[u8]) -> Option<Route> {
    let [family, to_bits, from_bits, _, table, _, _, kind, ..] = *body else {
        return None;
    };
    let flags = u32_at(body, 8)?;
    if to_bits != 0
        || from_bits != 0
        || kind != libc::RTN_UNICAST
        || table == libc::RT_TABLE_LOCAL
        || flags & libc::RTM_F_CLONED != 0
        || !matches!(i32::from(family), libc::AF_INET | libc::AF_INET6)
    {
        return None;
    }
    let mut route = Route {
        family,
        interface: 0,
        gateway: None,
    };
    for (kind, value) in attributes(body.get(12..)?) {
        match kind {
            libc::RTA_OIF => route.interface = u32_at(value, 0)?,
            libc::RTA_GATEWAY => route.gateway = ip(family, value),
            _ => {}
        }
    }
    Some(route)
}

/// `struct rtattr` after `struct rtattr`: length with header, type, value, padding.
fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    let next = move || {
        let length = usize::from(u16_at(rest, 0)?);
        let kind = u16_at(rest, 2)?;
        let value = rest.get(4..length)?;
        rest = rest.get(aligned(length)..).unwrap_or_default();
        Some((kind, value))
    };
    std::iter::from_fn(next).take(ATTRIBUTES)
}

fn ip(family: u8, bytes: &[u8]) -> Option<IpAddr> {
    match i32::from(family) {
        libc::AF_INET => Some(IpAddr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        libc::AF_INET6 => Some(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?)),
        _ => None,
    }
}

/// `NLMSG_ALIGN` and `RTA_ALIGN`.
fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..at + 2)?;
    Some(u16::from_ne_bytes(bytes.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}
