//! Why a conversation is over.

use std::fmt;
use std::io;
use std::time::Duration;

use reachback_ssh::Error;
use reachback_tunnel::reason;

use crate::logging::escaped;

/// Why a conversation is over.
#[derive(Debug)]
pub enum Broken {
    /// The client gave up, and has told the server why.
    Client(Error),
    /// The server closed the connection; what it said in the place of its identification.
    Closed(String),
    /// The server said nothing for so long.
    Silent(Duration),
    /// The kernel ended it.
    Socket(io::Error),
    /// Who listens has had enough, and says why.
    Enough(String),
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Broken::Client(error) => write!(f, "{}", escaped(error)),
            Broken::Closed(said) => {
                f.write_str("the server closed the connection")?;
                match said.as_str() {
                    "" => Ok(()),
                    said => write!(f, "; it said: {said}"),
                }
            }
            Broken::Silent(span) => write!(f, "the server was silent for {} s", span.as_secs()),
            Broken::Socket(error) => f.write_str(&reason(error)),
            Broken::Enough(why) => f.write_str(why),
        }
    }
}

impl From<Error> for Broken {
    fn from(error: Error) -> Broken {
        Broken::Client(error)
    }
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Broken {
        Broken::Socket(error)
    }
}

impl From<String> for Broken {
    fn from(why: String) -> Broken {
        Broken::Enough(why)
    }
}
