//! hosts(5) and resolv.conf(5), read afresh for each attempt: on a controller the modem's
//! scripts rewrite them while we run.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::sys::file;

/// Largest hosts or resolv.conf file read, bytes; a larger one counts as missing.
const FILE_BYTES: usize = 256 * 1024;
/// Name servers used, as resolv.conf(5) limits them.
const SERVERS: usize = 3;
/// Search domains used, as resolv.conf(5) limits them.
const SEARCH: usize = 6;

/// Where name resolution finds its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// hosts(5).
    pub hosts: PathBuf,
    /// resolv.conf(5).
    pub resolv_conf: PathBuf,
    /// Port of the name servers: 53, another one in tests.
    pub server_port: u16,
}

impl Default for Paths {
    fn default() -> Self {
        Paths {
            hosts: "/etc/hosts".into(),
            resolv_conf: "/etc/resolv.conf".into(),
            server_port: 53,
        }
    }
}

/// What resolv.conf(5) says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvConf {
    /// Name servers in order, at most three; the local machine when the file names none.
    pub servers: Vec<SocketAddr>,
    /// Search domains in order.
    pub search: Vec<String>,
    /// How long one server may take for one question; 1 to 30 seconds.
    pub timeout: Duration,
    /// How often every server is asked; 1 to 5.
    pub attempts: u8,
}

fn read(path: &Path) -> String {
    match file::read_bounded(path, FILE_BYTES) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => {
            if error.kind() != std::io::ErrorKind::NotFound {
                log::warn!("cannot read {}: {}", path.display(), file::reason(&error));
            }
            String::new()
        }
    }
}

impl ResolvConf {
    /// Reads the file; one that is missing or unreadable is an empty one.
    pub fn load(paths: &Paths) -> Self {
        Self::parse(&read(&paths.resolv_conf), paths.server_port)
    }

    fn parse(text: &str, port: u16) -> Self {
        let mut conf = ResolvConf {
            servers: Vec::new(),
            search: Vec::new(),
            timeout: Duration::from_secs(5),
            attempts: 2,
        };
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let server = words.next().and_then(|word| server(word, port));
                    if let Some(server) = server.filter(|_| conf.servers.len() < SERVERS) {
                        conf.servers.push(server);
                    }
                }
                // The last line of either kind counts.
                Some("search" | "domain") => {
                    conf.search = words.take(SEARCH).map(str::to_owned).collect();
                }
                Some("options") => words.for_each(|word| conf.option(word)),
                _ => {}
            }
        }
        if conf.servers.is_empty() {
            conf.servers
                .push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port));
        }
        conf
    }

    fn option(&mut self, word: &str) {
        match word.split_once(':') {
            Some(("timeout", value)) => {
                if let Ok(seconds) = value.parse::<u64>() {
                    self.timeout = Duration::from_secs(seconds.clamp(1, 30));
                }
            }
            Some(("attempts", value)) => {
                if let Ok(attempts) = value.parse::<u8>() {
                    self.attempts = attempts.clamp(1, 5);
                }
            }
            _ => {}
        }
    }

    /// The full names to ask for, in order: a name with a dot is asked for as it is; one
    /// without is tried in every search domain first.
    pub fn candidates(&self, name: &str) -> Vec<String> {
        let mut names = Vec::new();
        if !name.contains('.') {
            let fits = |full: &String| full.len() <= 253;
            let full = |domain: &String| format!("{name}.{}", domain.trim_matches('.'));
            names.extend(self.search.iter().map(full).filter(fits));
        }
        names.push(name.trim_end_matches('.').to_owned());
        names
    }
}

/// An address with an optional zone (`fe80::1%eth0`).
fn server(word: &str, port: u16) -> Option<SocketAddr> {
    let Some((address, zone)) = word.split_once('%') else {
        return Some(SocketAddr::new(word.parse().ok()?, port));
    };
    let address: Ipv6Addr = address.parse().ok()?;
    let scope = match zone.parse() {
        Ok(number) => number,
        Err(_) => nix::net::if_::if_nametoindex(zone).ok()?,
    };
    Some(SocketAddrV6::new(address, port, 0, scope).into())
}

/// The addresses that the hosts file gives `name`, in the file's order.
pub fn hosts_addresses(paths: &Paths, name: &str) -> Vec<IpAddr> {
    addresses_in(&read(&paths.hosts), name)
}

fn addresses_in(text: &str, name: &str) -> Vec<IpAddr> {
    let name = name.trim_end_matches('.');
    let mut addresses = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let Some(Ok(address)) = words.next().map(str::parse::<IpAddr>) else {
            continue;
        };
        if words.any(|word| word.eq_ignore_ascii_case(name)) && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    addresses
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn resolv_conf_gives_three_servers_the_search_list_and_bounded_options() {
        let text = "# made by the modem\nnameserver 10.0.0.1\nnameserver ::1\nnameserver bad\n\
                    nameserver 10.0.0.3\nnameserver 10.0.0.4\nsearch a.example b.example\n\
                    options timeout:99 attempts:0 rotate timeout:x\n";
        let conf = ResolvConf::parse(text, 53);
        let servers: Vec<String> = conf.servers.iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["10.0.0.1:53", "[::1]:53", "10.0.0.3:53"]);
        assert_eq!(conf.search, ["a.example", "b.example"]);
        assert_eq!(conf.timeout, Duration::from_secs(30));
        assert_eq!(conf.attempts, 1);
    }

    #[test]
    fn an_empty_resolv_conf_asks_the_local_machine() {
        let conf = ResolvConf::parse("", 53);
        assert_eq!(conf.servers, ["127.0.0.1:53".parse().unwrap()]);
        assert_eq!((conf.timeout, conf.attempts), (Duration::from_secs(5), 2));
    }

    #[test]
    fn a_link_local_server_keeps_its_zone() {
        assert_eq!(
            server("fe80::1%3", 53).unwrap().to_string(),
            "[fe80::1%3]:53"
        );
        assert!(server("fe80::1%lo", 53).is_some());
        assert_eq!(server("fe80::1%nosuchlink0", 53), None);
    }

    #[test]
    fn only_a_name_without_dots_is_searched() {
        let conf = ResolvConf::parse("search a.example. b.example", 53);
        assert_eq!(
            conf.candidates("hub"),
            ["hub.a.example", "hub.b.example", "hub"]
        );
        assert_eq!(conf.candidates("hub.example"), ["hub.example"]);
        assert_eq!(conf.candidates("hub."), ["hub"]);
    }

    #[test]
    fn hosts_names_are_found_in_any_case_and_not_in_comments() {
        let text = "10.0.0.1 hub.example Hub\n#10.0.0.2 hub\n10.0.0.3 other # hub\nfd00::1\thub\n";
        let found = addresses_in(text, "HUB.");
        assert_eq!(
            found,
            [
                "10.0.0.1".parse::<IpAddr>().unwrap(),
                "fd00::1".parse().unwrap()
            ]
        );
    }
}
