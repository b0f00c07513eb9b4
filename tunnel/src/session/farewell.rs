//! What a server means that says goodbye before login (`SSH_MSG_DISCONNECT`, RFC 4253 section 11.1).

use reachback_core::failure::Failure;

const PROTOCOL_ERROR: u32 = 2;
const KEY_EXCHANGE_FAILED: u32 = 3;
const RESERVED: u32 = 4;
const MAC_ERROR: u32 = 5;
const COMPRESSION_ERROR: u32 = 6;
const SERVICE_NOT_AVAILABLE: u32 = 7;
const VERSION_NOT_SUPPORTED: u32 = 8;
const HOST_KEY_NOT_VERIFIABLE: u32 = 9;
const CONNECTION_LOST: u32 = 10;
const TOO_MANY_CONNECTIONS: u32 = 12;
const NO_MORE_AUTH_METHODS: u32 = 14;
const ILLEGAL_USER_NAME: u32 = 15;

/// OpenSSH gives its reason 2 whatever it is; this is said after `MaxAuthTries` refused keys.
const TOO_MANY_TRIES: &str = "Too many authentication failures";

/// What is to be concluded; `authenticating` says that the keys were exchanged.
pub fn before_login(reason: u32, text: &str, authenticating: bool) -> Failure {
    match reason {
        NO_MORE_AUTH_METHODS | ILLEGAL_USER_NAME => Failure::AuthRefused,
        PROTOCOL_ERROR if text.starts_with(TOO_MANY_TRIES) => Failure::AuthRefused,
        SERVICE_NOT_AVAILABLE | CONNECTION_LOST | TOO_MANY_CONNECTIONS => Failure::NotServed,
        _ if authenticating => Failure::GoneAway,
        PROTOCOL_ERROR
        | KEY_EXCHANGE_FAILED
        | RESERVED
        | MAC_ERROR
        | COMPRESSION_ERROR
        | VERSION_NOT_SUPPORTED
        | HOST_KEY_NOT_VERIFIABLE => Failure::Protocol,
        // By application, host not allowed, and what is not known.
        _ => Failure::NotServed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_says_whether_to_come_back_soon() {
        for (reason, text, exchanging, authenticating) in [
            (1, "", Failure::NotServed, Failure::GoneAway),
            (2, "", Failure::Protocol, Failure::GoneAway),
            (3, "", Failure::Protocol, Failure::GoneAway),
            (7, "", Failure::NotServed, Failure::NotServed),
            (11, "", Failure::NotServed, Failure::GoneAway),
            (12, "", Failure::NotServed, Failure::NotServed),
            (14, "", Failure::AuthRefused, Failure::AuthRefused),
            (4_000, "", Failure::NotServed, Failure::GoneAway),
            (
                2,
                "Too many authentication failures for op",
                Failure::AuthRefused,
                Failure::AuthRefused,
            ),
        ] {
            assert_eq!(before_login(reason, text, false), exchanging, "{reason}");
            assert_eq!(before_login(reason, text, true), authenticating, "{reason}");
        }
    }
}
