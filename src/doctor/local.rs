//! What can be looked at without the server.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use mio::net::UdpSocket;
use nix::sys::statvfs::statvfs;
use reachback_core::calendar::Utc;
use reachback_core::cause::Cause;
use reachback_ssh::userkey::UserKey;
use reachback_tunnel::reason;

use super::BESIDES;
use super::report::Report;
use crate::cli::Settings;
use crate::exit::{self, Exit};
use crate::hostkey;
use crate::net::resolve;
use crate::status::amount;
use crate::sys::clock;

/// 2025-01-01: no clock that was ever set is before it.
const EARLIEST: u64 = 1_735_689_600;
/// Room for a line of known_hosts, bytes: two blocks of a file system.
const LINE: u64 = 8192;

/// The keys, and where they are.
#[inline(never)]
pub fn key(keys: Result<&[(PathBuf, UserKey)], &Exit>, report: &mut Report) {
    report.begin(format_args!("key"));
    match keys {
        Err(exit) => report.exit(exit),
        Ok(keys) => {
            let mut shown = String::new();
            for (file, key) in keys {
                if !shown.is_empty() {
                    shown.push_str("; ");
                }
                let (kind, print) = (key.key_type(), key.fingerprint());
                shown += &format!("{kind} {print} {}", file.display());
            }
            report.right(format_args!("{shown}"));
        }
    }
}

/// By which of its addresses this machine would reach the server, or a name server where there is a
/// name to be looked up. Nothing is sent (udp(7)). True if it would.
#[inline(never)]
pub fn route(host: &str, own: Option<IpAddr>, report: &mut Report) -> bool {
    let (addresses, what) = resolve::needed(host);
    let mut last = None;
    for to in addresses {
        match source(to, own) {
            Ok(from) => {
                report.right(format_args!("to {what}{} from {}", to.ip(), from.ip()));
                return true;
            }
            Err(error) => last = Some((to, error)),
        }
    }
    if let Some((to, error)) = last {
        let text = format_args!("{what}{}: {}", to.ip(), reason(&error));
        report.fail_for(exit::UNAVAILABLE, text, Cause::NoRoute);
    }
    false
}

fn source(to: SocketAddr, own: Option<IpAddr>) -> std::io::Result<SocketAddr> {
    let any = match to {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let own = own.filter(|own| own.is_ipv4() == to.is_ipv4());
    let socket = UdpSocket::bind(SocketAddr::new(own.unwrap_or(any), 0))?;
    socket.connect(to)?;
    socket.local_addr()
}

/// A clock that was never set makes the log's times useless; SSH does not need it.
#[inline(never)]
pub fn clock(report: &mut Report) {
    report.begin(format_args!("clock"));
    let now = clock::wall_s();
    let shown = Utc::from_unix_s(now);
    match now < EARLIEST {
        false => report.right(format_args!("{shown}")),
        true => report.fail(
            BESIDES,
            format_args!("{shown}: it was never set; the log's times are wrong"),
            format_args!("set it, or start the NTP client"),
        ),
    }
}

/// Whether a new host key could be kept; no matter where the server's is pinned already.
#[inline(never)]
pub fn room(settings: &Settings, pinned: bool, report: &mut Report) {
    report.begin(format_args!("known_hosts"));
    let files = settings.known_hosts_files();
    let Some(first) = files.first() else {
        return report.right(format_args!("in memory only, as configured"));
    };
    let (shown, free) = (first.display(), free(first));
    let why = match hostkey::writable(first) {
        Ok(()) if free >= LINE => {
            return report.right(format_args!("{shown}, {} free", amount(free)));
        }
        Ok(()) => "the file system is full".to_owned(),
        Err(error) => reason(&error),
    };
    if pinned || !settings.accept_new {
        return report.right(format_args!("{shown}: {why}; nothing is to be written"));
    }
    report.fail(
        BESIDES,
        format_args!("{shown}: {why}"),
        format_args!("make room, chown it, or name another with -o UserKnownHostsFile"),
    );
}

/// Bytes that are free where a file is or would be made; without end where nobody says.
fn free(file: &Path) -> u64 {
    let found = file
        .ancestors()
        .skip(1)
        .find_map(|above| statvfs(above).ok());
    found.map_or(u64::MAX, |found| {
        // 32 bits wide on some targets.
        #[allow(clippy::useless_conversion)]
        let (blocks, size) = (
            u64::from(found.blocks_available()),
            u64::from(found.fragment_size()),
        );
        blocks.saturating_mul(size)
    })
}
