//! Host names, addresses and ports: what destinations and forwards have in common.

use core::fmt::Write;
use core::net::{Ipv4Addr, Ipv6Addr};

use heapless::String;

mod services;

/// Longest host name in bytes (RFC 1035, 2.3.4).
pub(crate) const MAX_HOST: usize = 255;
/// Longest label of a name in bytes (RFC 1035, 2.3.4).
const MAX_LABEL: usize = 63;

/// What is wrong with a host.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum HostError {
    Empty,
    TooLong,
    Name,
    Address,
}

/// What is wrong with a port.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum PortError {
    /// Neither digits nor the name of a service.
    Word,
    /// Above 65535.
    Above(u32),
}

/// A port in decimal digits, 0 to 65535, or the name of a service. Signs and spaces are refused.
pub(crate) fn parse_port(text: &str) -> Result<u16, PortError> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits || text.len() > 9 {
        return services::port(text).ok_or(PortError::Word);
    }
    let number: u32 = text.parse().map_err(|_| PortError::Word)?;
    match u16::try_from(number) {
        Ok(_) if text.len() > 5 => Err(PortError::Word),
        port => port.map_err(|_| PortError::Above(number)),
    }
}

/// A name, an IPv4 address or an IPv6 address without brackets (with an optional `%zone`).
/// Addresses come back in canonical form; IPv4 octets are decimal, leading zeros included,
/// where inet_aton(3) would read octal.
pub(crate) fn parse<const N: usize>(text: &str) -> Result<String<N>, HostError> {
    let mut out = String::new();
    if text.is_empty() {
        return Err(HostError::Empty);
    }
    if text.len() > MAX_HOST {
        return Err(HostError::TooLong);
    }
    if text.contains(':') {
        let (address, zone) = match text.split_once('%') {
            Some((address, zone)) => (address, Some(zone)),
            None => (text, None),
        };
        let address: Ipv6Addr = address.parse().map_err(|_| HostError::Address)?;
        write!(out, "{address}").map_err(|_| HostError::TooLong)?;
        if let Some(zone) = zone {
            let fits = !zone.is_empty() && zone.bytes().all(|b| is_name_byte(b) || b == b'.');
            if !fits {
                return Err(HostError::Address);
            }
            write!(out, "%{zone}").map_err(|_| HostError::TooLong)?;
        }
        return Ok(out);
    }
    let relative = text.strip_suffix('.').unwrap_or(text);
    if !relative.split('.').all(is_label) {
        return Err(HostError::Name);
    }
    if text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        let address = parse_ipv4(text).ok_or(HostError::Address)?;
        write!(out, "{address}").map_err(|_| HostError::TooLong)?;
    } else {
        out.push_str(text).map_err(|_| HostError::TooLong)?;
    }
    Ok(out)
}

/// [`crate::destination::Destination::is_near`], for a host in canonical form; an IPv4 address within an
/// IPv6 one counts as itself.
pub(crate) fn is_near(host: &str) -> bool {
    let v4 = |a: Ipv4Addr| {
        a.is_loopback()
            || a.is_link_local()
            || a.is_multicast()
            || a.is_broadcast()
            // "This network", of which 0.0.0.0 is this host (RFC 6890).
            || a.octets()[0] == 0
    };
    if let Ok(address) = host.parse() {
        return v4(address);
    }
    let address = host.split_once('%').map_or(host, |(address, _)| address);
    if let Ok(address) = address.parse::<Ipv6Addr>() {
        return address.is_unicast_link_local()
            || address.is_multicast()
            // ::1 and :: among them.
            || address.to_ipv4().is_some_and(v4);
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    let top = name.rsplit('.').next().unwrap_or_default();
    top.eq_ignore_ascii_case("localhost") || name.eq_ignore_ascii_case("localhost.localdomain")
}

fn is_name_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'-' || b == b'_'
}

fn is_label(label: &str) -> bool {
    !label.is_empty()
        && label.len() <= MAX_LABEL
        && !label.starts_with('-')
        && label.bytes().all(is_name_byte)
}

/// Four decimal octets of one to three digits.
fn parse_ipv4(text: &str) -> Option<Ipv4Addr> {
    let mut octets = [0u8; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        let part = parts.next()?;
        if part.is_empty() || part.len() > 3 {
            return None;
        }
        *octet = part.parse().ok()?;
    }
    parts.next().is_none().then(|| Ipv4Addr::from(octets))
}
