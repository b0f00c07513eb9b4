//! The way through an HTTP proxy: `CONNECT` (RFC 9110 section 9.3.6), without its socket. Bytes of the
//! proxy in, bytes for it and the outcome out.

use std::fmt;

use reachback_core::cause::Cause;
use reachback_core::escape::escaped;
use reachback_core::failure::Failure;

use crate::ended::Ended;
use crate::plan::Server;

/// Most bytes of an answer up to the line without text that ends it, those of answers before it
/// (status 1xx) included.
pub const MOST: usize = 8 * 1024;
/// Bytes of a status line that are kept, to be shown.
const SHOWN: usize = 100;
/// How an answer begins (RFC 9112 section 4).
const BEGINNING: &[u8] = b"HTTP/1.";

/// An HTTP proxy, through which every server of a tunnel is reached.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// `user:password` in base64 (RFC 7617), if it wants a login. A secret.
    pub login: Option<String>,
}

/// Without the secret.
impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} port {}", self.host, self.port)
    }
}

/// One request and its answer.
pub struct Exchange {
    request: Vec<u8>,
    sent: usize,
    /// The status line, as far as it came and is kept.
    status: Vec<u8>,
    /// Its number, once it is whole.
    code: Option<u16>,
    /// Bytes of the answer so far.
    came: usize,
    /// The line under way has no text yet.
    is_blank: bool,
}

impl Exchange {
    /// The request for a connection to this server.
    pub fn new(proxy: &Proxy, server: &Server) -> Exchange {
        let (host, port) = (&server.host, server.port);
        let place = match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        };
        let mut request = format!("CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n");
        if let Some(login) = &proxy.login {
            request += "Proxy-Authorization: Basic ";
            request += login;
            request += "\r\n";
        }
        request += "\r\n";
        Exchange {
            request: request.into_bytes(),
            sent: 0,
            status: Vec::new(),
            code: None,
            came: 0,
            is_blank: true,
        }
    }

    /// What is to be written to the proxy; empty when all of it is.
    pub fn poll_output(&self) -> &[u8] {
        &self.request[self.sent..]
    }

    /// So many bytes of that were written.
    pub fn handle_written(&mut self, n: usize) {
        self.sent += n;
    }

    /// Takes in what the proxy sent; gives how many of these bytes are the answer's, and whether
    /// that was its end: the way is open then, and what follows is the server's.
    ///
    /// # Errors
    /// Why there is no way.
    pub fn handle_input(&mut self, bytes: &[u8]) -> Result<(usize, bool), Ended> {
        for (index, byte) in bytes.iter().enumerate() {
            self.came += 1;
            if self.came > MOST {
                return Err(no_http(format!("its answer is longer than {MOST} bytes")));
            }
            match (byte, self.code) {
                (b'\n', None) => self.code = Some(self.passed()?),
                (_, None) => self.add(*byte, &bytes[index..])?,
                (b'\n', Some(code)) if self.is_blank => match code {
                    // Others follow.
                    100..200 => (self.code, self.status) = (None, Vec::new()),
                    _ => return Ok((index + 1, true)),
                },
                (b'\n', _) => self.is_blank = true,
                (b'\r', _) => {}
                _ => self.is_blank = false,
            }
        }
        Ok((bytes.len(), false))
    }

    /// The proxy has closed the connection.
    pub fn handle_end(&self) -> Ended {
        no_http("it closed the connection without a whole answer".to_owned())
    }

    fn add(&mut self, byte: u8, rest: &[u8]) -> Result<(), Ended> {
        if BEGINNING.get(self.status.len()).is_some_and(|b| *b != byte) {
            let line = rest.split(|byte| *byte == b'\n').next();
            self.status.extend(line.unwrap_or_default());
            return Err(no_http(format!("it said: {}", self.shown())));
        }
        if self.status.len() < SHOWN {
            self.status.push(byte);
        }
        Ok(())
    }

    /// The number of a status line after which something is to be waited for.
    fn passed(&self) -> Result<u16, Ended> {
        let number = |word: &[u8]| match word {
            [a @ b'0'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9'] => {
                let digits = [a, b, c].map(|digit| u16::from(digit - b'0'));
                Some(digits.iter().fold(0, |number, digit| 10 * number + digit))
            }
            _ => None,
        };
        // `HTTP/1.x NNN reason`, where the reason and the blank before it may be missing.
        let mut words = self.status.trim_ascii_end().split(|byte| *byte == b' ');
        let code = words.nth(1).and_then(number);
        let (failure, cause) = match code {
            Some(code @ 100..300) => return Ok(code),
            Some(407) => (Failure::ProxyLogin, Cause::ProxyLogin),
            Some(500..600) => (Failure::Unreachable, Cause::ProxyCannot),
            Some(_) => (Failure::ProxyRefused, Cause::ProxyRefused),
            None => return Err(no_http(format!("it said: {}", self.shown()))),
        };
        let why = format!("the proxy answered {}", self.shown());
        Err(Ended::new(failure, why).because(Some(cause)))
    }

    /// The status line as far as it is kept, safe for a line of the log.
    fn shown(&self) -> String {
        let kept = &self.status[..self.status.len().min(SHOWN)];
        escaped(String::from_utf8_lossy(kept.trim_ascii_end())).to_string()
    }
}

fn no_http(why: String) -> Ended {
    let why = format!("the proxy does not answer as an HTTP proxy does: {why}");
    Ended::new(Failure::ProxyRefused, why).because(Some(Cause::ProxyNoHttp))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn exchange(login: Option<&str>, host: &str) -> Exchange {
        let proxy = Proxy {
            host: "proxy.test".into(),
            port: 3128,
            login: login.map(str::to_owned),
        };
        let server = Server {
            user: "op".into(),
            host: host.into(),
            port: 22,
        };
        Exchange::new(&proxy, &server)
    }

    /// The outcome of an answer that comes in parts of `size` bytes: how many bytes of it are the
    /// proxy's, or why there is no way.
    fn outcome(answer: &[u8], size: usize) -> Result<Option<usize>, Ended> {
        let mut exchange = exchange(None, "hub.test");
        let mut taken = 0;
        for part in answer.chunks(size) {
            let (n, open) = exchange.handle_input(part)?;
            taken += n;
            if open {
                return Ok(Some(taken));
            }
        }
        Ok(None)
    }

    fn refused(answer: &[u8]) -> Ended {
        let whole = outcome(answer, answer.len()).unwrap_err();
        let bytewise = outcome(answer, 1).unwrap_err();
        assert_eq!(
            (whole.failure, whole.cause),
            (bytewise.failure, bytewise.cause)
        );
        whole
    }

    #[test]
    fn the_request_names_the_server_and_the_login() {
        let written =
            |login, host| String::from_utf8(exchange(login, host).poll_output().to_vec()).unwrap();
        assert_eq!(
            written(None, "hub.test"),
            "CONNECT hub.test:22 HTTP/1.1\r\nHost: hub.test:22\r\n\r\n"
        );
        assert_eq!(
            written(Some("dTpw"), "fd00::1"),
            "CONNECT [fd00::1]:22 HTTP/1.1\r\nHost: [fd00::1]:22\r\n\
             Proxy-Authorization: Basic dTpw\r\n\r\n"
        );
        let mut exchange = exchange(None, "hub.test");
        let length = exchange.poll_output().len();
        exchange.handle_written(10);
        assert_eq!(exchange.poll_output().len(), length - 10);
    }

    #[test]
    fn what_follows_the_answer_is_left_to_ssh_however_it_is_cut() {
        for answer in [
            "HTTP/1.1 200 Connection established\r\n\r\n",
            "HTTP/1.0 200\r\n\r\n",
            "HTTP/1.1 299 \nVia: x\n\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nA: \r\nVia: 1.1 x\r\n\r\n",
            "HTTP/1.1 100 Continue\r\nA: b\r\n\r\nHTTP/1.1 103 x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        ] {
            let whole = [answer.as_bytes(), b"SSH-2.0-x\r\n"].concat();
            for size in 1..=whole.len() {
                assert_eq!(
                    outcome(&whole, size),
                    Ok(Some(answer.len())),
                    "{answer} by {size}"
                );
            }
            for cut in 0..answer.len() {
                assert_eq!(
                    outcome(&answer.as_bytes()[..cut], 7),
                    Ok(None),
                    "{answer} to {cut}"
                );
            }
        }
    }

    #[test]
    fn an_answer_that_opens_nothing_says_why() {
        for (line, failure, cause) in [
            (
                "HTTP/1.1 407 Proxy Authentication Required",
                Failure::ProxyLogin,
                Cause::ProxyLogin,
            ),
            (
                "HTTP/1.1 403 Forbidden",
                Failure::ProxyRefused,
                Cause::ProxyRefused,
            ),
            (
                "HTTP/1.1 302 Found",
                Failure::ProxyRefused,
                Cause::ProxyRefused,
            ),
            (
                "HTTP/1.0 502 Bad Gateway",
                Failure::Unreachable,
                Cause::ProxyCannot,
            ),
            ("HTTP/1.1 504", Failure::Unreachable, Cause::ProxyCannot),
        ] {
            // Nothing behind the line is waited for.
            let ended = refused(format!("{line}\r\n").as_bytes());
            assert_eq!(
                (ended.failure, ended.cause),
                (failure, Some(cause)),
                "{line}"
            );
            assert_eq!(ended.reason, format!("the proxy answered {line}"));
        }
    }

    #[test]
    fn what_is_no_http_is_told_of_at_once_safe_for_a_log() {
        for (answer, shown) in [
            (&b"SSH-2.0-OpenSSH_9.6\r\n"[..], "SSH-2.0-OpenSSH_9.6"),
            (b"HTTP/2 200\r\n", "HTTP/2 200"),
            (b"\x15\x03\x01\x00\n", "\\u{15}\\u{3}\\u{1}\\u{0}"),
            (b"HTTP/1.1\n", "HTTP/1.1"),
            (b"HTTP/1.1 2x0 \x1b[2J\n", "HTTP/1.1 2x0 \\u{1b}[2J"),
            (b"HTTP/1.1 0200 OK\n", "HTTP/1.1 0200 OK"),
            (b"HTTP/1.1 +20 OK\n", "HTTP/1.1 +20 OK"),
        ] {
            let ended = refused(answer);
            assert_eq!(ended.cause, Some(Cause::ProxyNoHttp), "{shown}");
            assert!(
                ended.reason.ends_with(&format!(": {shown}")),
                "{}",
                ended.reason
            );
        }
    }

    #[test]
    fn an_answer_without_end_is_cut_off() {
        let line = [b"HTTP/1.1 403 ", &[b'x'; 4000][..], b"\n"].concat();
        assert!(refused(&line).reason.len() < 150);
        let endless = [b"HTTP/1.1 200 OK\r\n", &b"A: b\r\n".repeat(MOST)[..]].concat();
        for endless in [&endless[..], &[b"HTTP/1.1 ", &[b'y'; MOST][..]].concat()] {
            assert_eq!(refused(endless).cause, Some(Cause::ProxyNoHttp));
        }
        let informed = b"HTTP/1.1 100 Continue\r\n\r\n".repeat(MOST / 25 + 1);
        assert_eq!(refused(&informed).cause, Some(Cause::ProxyNoHttp));
    }
}
