//! Message numbers (RFC 4250 section 4.1.2) and the few texts they carry.

use alloc::string::String;

use crate::Error;
use crate::limits::PEER_TEXT;
use crate::wire::Reader;

pub(crate) const DISCONNECT: u8 = 1;
pub(crate) const IGNORE: u8 = 2;
pub(crate) const UNIMPLEMENTED: u8 = 3;
pub(crate) const DEBUG: u8 = 4;
pub(crate) const SERVICE_REQUEST: u8 = 5;
pub(crate) const SERVICE_ACCEPT: u8 = 6;
/// RFC 8308.
pub(crate) const EXT_INFO: u8 = 7;
pub(crate) const KEXINIT: u8 = 20;
pub(crate) const NEWKEYS: u8 = 21;
pub(crate) const USERAUTH_REQUEST: u8 = 50;
pub(crate) const USERAUTH_FAILURE: u8 = 51;
pub(crate) const USERAUTH_SUCCESS: u8 = 52;
pub(crate) const USERAUTH_BANNER: u8 = 53;
/// RFC 4252 section 7.
pub(crate) const USERAUTH_PK_OK: u8 = 60;
/// RFC 4252 section 8: the password is to be changed first.
pub(crate) const USERAUTH_PASSWD_CHANGEREQ: u8 = 60;
/// RFC 4256 section 5.
pub(crate) const USERAUTH_INFO_REQUEST: u8 = 60;
pub(crate) const USERAUTH_INFO_RESPONSE: u8 = 61;
pub(crate) const GLOBAL_REQUEST: u8 = 80;
pub(crate) const REQUEST_SUCCESS: u8 = 81;
pub(crate) const REQUEST_FAILURE: u8 = 82;
pub(crate) const CHANNEL_OPEN: u8 = 90;
pub(crate) const CHANNEL_OPEN_CONFIRMATION: u8 = 91;
pub(crate) const CHANNEL_OPEN_FAILURE: u8 = 92;
pub(crate) const CHANNEL_WINDOW_ADJUST: u8 = 93;
pub(crate) const CHANNEL_DATA: u8 = 94;
pub(crate) const CHANNEL_EXTENDED_DATA: u8 = 95;
pub(crate) const CHANNEL_EOF: u8 = 96;
pub(crate) const CHANNEL_CLOSE: u8 = 97;
pub(crate) const CHANNEL_REQUEST: u8 = 98;
pub(crate) const CHANNEL_SUCCESS: u8 = 99;
pub(crate) const CHANNEL_FAILURE: u8 = 100;
/// OpenSSH PROTOCOL section 1.9, `ping@openssh.com`.
pub(crate) const PING: u8 = 192;
pub(crate) const PONG: u8 = 193;

/// A server's text made fit for a log: at most [`PEER_TEXT`] bytes, anything that is not
/// printable escaped. What a server sends is never to be trusted with a terminal.
pub(crate) fn printable(text: &[u8]) -> String {
    let mut out = String::new();
    for c in String::from_utf8_lossy(text).chars() {
        if out.len() >= PEER_TEXT {
            out.push_str("...");
            break;
        }
        if c.is_ascii_graphic() || c == ' ' {
            out.push(c);
        } else {
            out.extend(c.escape_default());
        }
    }
    out
}

/// `SSH_MSG_DISCONNECT` as the error it is (RFC 4253 section 11.1).
pub(crate) fn disconnected(payload: &[u8]) -> Error {
    let mut reader = Reader::new(&payload[1..]);
    let reason = reader.u32().unwrap_or(0);
    let text = printable(reader.string().unwrap_or(b""));
    Error::Disconnected { reason, text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_the_server_cannot_steer_a_terminal_or_fill_a_log() {
        assert_eq!(printable(b"it's \"fine\""), "it's \"fine\"");
        assert_eq!(printable(b"\x1b[2J\r\nroot:"), "\\u{1b}[2J\\r\\nroot:");
        assert_eq!(printable("\u{202e}x".as_bytes()), "\\u{202e}x");
        assert!(printable(&[b'a'; 5000]).len() <= PEER_TEXT + 3);
    }
}
