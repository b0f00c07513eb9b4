//! Whether a forward's target answers. The status command looks, not the owner: a look takes
//! time, and the owner has none to give away.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use mio::net::UnixStream;
use reachback_core::forward::{ForwardSpec, Target};

use crate::sys::file;

/// How long a target may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// What a look showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It accepts connections.
    Answers,
    /// It does not; why.
    Silent(String),
    /// It has a name that would have to be looked up first.
    NotAsked,
}

/// Connects and hangs up. `localhost` is 127.0.0.1 and then ::1, as for the tunnel itself.
pub fn look(spec: &ForwardSpec) -> Answer {
    let (host, port) = match &spec.target {
        Target::Tcp { host, port } => (host, *port),
        // Non-blocking: one whose queue is full would hold us up (unix(7)).
        Target::Unix(path) => {
            return match UnixStream::connect(path.as_str()) {
                Ok(_) => Answer::Answers,
                Err(error) => Answer::Silent(file::reason(&error)),
            };
        }
    };
    let name = host.as_str();
    let addresses = if name.eq_ignore_ascii_case("localhost") {
        vec![
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(Ipv6Addr::LOCALHOST),
        ]
    } else {
        match name.parse() {
            Ok(address) => vec![address],
            Err(_) => return Answer::NotAsked,
        }
    };
    let mut why = None;
    for address in addresses {
        match TcpStream::connect_timeout(&SocketAddr::new(address, port), PATIENCE) {
            Ok(_) => return Answer::Answers,
            // The first is the one that people mean.
            Err(error) => {
                why.get_or_insert_with(|| file::reason(&error));
            }
        }
    }
    Answer::Silent(why.unwrap_or_default())
}
