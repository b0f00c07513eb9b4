//! What ends a connection.

use alloc::string::String;
use core::fmt;

use crate::algorithms::List;

/// Why the client gave the connection up. Every variant is final: the connection is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// Bytes that do not parse; the text names the field.
    Malformed(&'static str),
    /// A message that has no place where it came (RFC 4253 section 7.1, strict key exchange).
    Unexpected {
        /// Message number (RFC 4250 section 4.1).
        message: u8,
        /// What the client was doing.
        during: &'static str,
    },
    /// A stated cap was passed; the text names it.
    Limit(&'static str),
    /// No algorithm in common (RFC 4253 section 7.1).
    NoCommon {
        /// Which list; `None` for compression.
        list: Option<List>,
        /// The server's list, cut for a log.
        theirs: String,
        /// A name of the server's that is supported here and was not offered.
        supported: Option<&'static str>,
    },
    /// The server's signature over the exchange hash does not verify.
    BadHostSignature,
    /// A packet failed its authentication tag.
    BadTag,
    /// A cryptographic operation failed; the text names it.
    Crypto(&'static str),
    /// The random source gave nothing.
    Rng,
    /// `SSH_MSG_DISCONNECT` (RFC 4253 section 11.1).
    Disconnected {
        /// Reason code (RFC 4250 section 4.2).
        reason: u32,
        /// The server's text, cut and escaped for a log.
        text: String,
    },
    /// Nothing that this client has lets it in (RFC 4252 section 5.1).
    AuthRefused {
        /// What is missing.
        why: Denial,
        /// Methods the server would go on with, cut and escaped for a log.
        methods: String,
    },
    /// The server showed another host key when the keys were renewed.
    HostKeySwapped,
    /// A key exchange on the living connection did not end in time.
    RekeyTimeout,
}

/// Why a server does not let the client in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// It accepts none of the keys.
    Keys,
    /// It does not take keys.
    NoPublicKey,
    /// It accepted a key, and wants something else besides (partial success).
    SecondFactor,
    /// It accepts an RSA key with SHA-1 signatures only.
    Sha1,
    /// It does not accept the password or the answers (interactive logins only).
    Password,
    /// It takes neither passwords nor answers to prompts (interactive logins only).
    NoPassword,
    /// The password has to be changed first (interactive logins only).
    PasswordExpired,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Malformed(what) => write!(f, "malformed {what} from the server"),
            Error::Unexpected { message, during } => {
                write!(f, "unexpected message {message} during {during}")
            }
            Error::Limit(what) => write!(f, "the server passed the limit on {what}"),
            Error::NoCommon {
                list,
                theirs,
                supported,
            } => no_common(f, *list, theirs, *supported),
            Error::BadHostSignature => f.write_str("the server's host key signature is wrong"),
            Error::BadTag => f.write_str("a packet was corrupted on the way"),
            Error::Crypto(what) => write!(f, "{what} failed"),
            Error::Rng => f.write_str("no random bytes from the kernel"),
            Error::Disconnected { reason, text } => {
                write!(f, "the server disconnected: {text} (reason {reason})")
            }
            Error::AuthRefused { why, methods } => match why {
                Denial::Keys => {
                    write!(
                        f,
                        "the server accepts none of the keys; it would take: {methods}"
                    )
                }
                Denial::NoPublicKey => {
                    write!(
                        f,
                        "the server takes no public keys; it would take: {methods}"
                    )
                }
                Denial::SecondFactor => write!(
                    f,
                    "the server accepted the key and wants a second factor besides: {methods} \
                     (AuthenticationMethods in its sshd_config)"
                ),
                Denial::Password => f.write_str("the server does not accept the password"),
                Denial::NoPassword => write!(
                    f,
                    "the server takes neither the key nor a password; it would take: {methods}"
                ),
                Denial::PasswordExpired => f.write_str(
                    "the password has expired: change it with an ordinary login to the server",
                ),
                Denial::Sha1 => f.write_str(
                    "the server accepts the RSA key only with SHA-1 signatures (ssh-rsa), which \
                     are not made here: allow rsa-sha2-256 there (PubkeyAcceptedAlgorithms in \
                     sshd_config), or use an Ed25519 key",
                ),
            },
            Error::HostKeySwapped => {
                f.write_str("the server changed its host key in mid-connection")
            }
            Error::RekeyTimeout => f.write_str("the server did not finish renewing the keys"),
        }
    }
}

/// What the server offers, and what has to change where.
fn no_common(
    f: &mut fmt::Formatter<'_>,
    list: Option<List>,
    theirs: &str,
    supported: Option<&str>,
) -> fmt::Result {
    let Some(list) = list else {
        return write!(
            f,
            "the server insists on compression ({theirs}): allow 'none' there \
             (Compression in sshd_config)"
        );
    };
    let keyword = list.keyword();
    write!(
        f,
        "no {} in common; the server offers {theirs}",
        list.kind()
    )?;
    match (supported, list.names().get(list.defaults() - 1)) {
        (Some(name), _) => write!(f, "; {keyword} +{name} allows it here"),
        (None, Some(name)) => write!(
            f,
            ", none of which reachback has: allow {name} there ({keyword} in sshd_config)"
        ),
        (None, None) => Ok(()),
    }
}
