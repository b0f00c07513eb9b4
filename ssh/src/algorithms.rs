//! Algorithm names and their negotiation (RFC 4253 section 7.1).

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::Error;
use crate::certificate::CERTIFIED;
use crate::wire::{Put, Reader, names};

mod lists;
pub use lists::{List, ListError};

/// `SSH_MSG_KEXINIT` (RFC 4253 section 12).
const MSG_KEXINIT: u8 = 20;

/// Strict key exchange as the client announces it (OpenSSH's `PROTOCOL`, section 1.10).
const STRICT_CLIENT: &str = "kex-strict-c-v00@openssh.com";
/// Strict key exchange as the server announces it.
const STRICT_SERVER: &str = "kex-strict-s-v00@openssh.com";
/// The client can read `SSH_MSG_EXT_INFO` (RFC 8308 section 2.1).
const EXT_INFO_CLIENT: &str = "ext-info-c";
/// Longest part of a server's list kept for an error, in bytes.
const THEIRS: usize = 200;

/// Makes an enum of algorithms with their names on the wire, best first.
macro_rules! algorithms {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $item:ident = $text:literal,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum $name {
            $($(#[$doc])* $item,)*
        }

        impl $name {
            /// Every one of them, best first.
            pub const ALL: &[$name] = &[$($name::$item),*];

            /// The name on the wire.
            pub fn name(self) -> &'static str {
                match self {
                    $($name::$item => $text,)*
                }
            }
        }
    };
}

algorithms! {
    /// A key exchange method.
    Kex {
        /// draft-ietf-sshm-mlkem-hybrid-kex.
        MlKem768X25519 = "mlkem768x25519-sha256",
        /// RFC 8731.
        Curve25519 = "curve25519-sha256",
        /// The same under its first name.
        Curve25519LibSsh = "curve25519-sha256@libssh.org",
        /// RFC 5656.
        EcdhNistp256 = "ecdh-sha2-nistp256",
        /// RFC 5656.
        EcdhNistp384 = "ecdh-sha2-nistp384",
    }
}

algorithms! {
    /// A public key algorithm: a type of key and how it signs.
    PublicKeyAlgorithm {
        /// RFC 8709.
        Ed25519 = "ssh-ed25519",
        /// RFC 5656.
        EcdsaP256 = "ecdsa-sha2-nistp256",
        /// RFC 5656.
        EcdsaP384 = "ecdsa-sha2-nistp384",
        /// RFC 8332.
        RsaSha512 = "rsa-sha2-512",
        /// RFC 8332.
        RsaSha256 = "rsa-sha2-256",
        /// RFC 4253 section 6.6, with SHA-1: host keys only, and only where it is asked for.
        RsaSha1 = "ssh-rsa",
    }
}

impl PublicKeyAlgorithm {
    /// All but SHA-1.
    pub(crate) const SHA2: &[PublicKeyAlgorithm] = PublicKeyAlgorithm::ALL.split_last().unwrap().1;

    /// The name of the key's type, which RSA's algorithms share (RFC 8332 section 3).
    pub fn key_type(self) -> &'static str {
        match self {
            Self::RsaSha512 | Self::RsaSha256 | Self::RsaSha1 => "ssh-rsa",
            other => other.name(),
        }
    }
}

algorithms! {
    /// A cipher.
    Cipher {
        /// OpenSSH's `PROTOCOL.chacha20poly1305`.
        ChaCha20Poly1305 = "chacha20-poly1305@openssh.com",
        /// RFC 5647 with OpenSSH's negotiation.
        Aes256Gcm = "aes256-gcm@openssh.com",
        /// RFC 5647 with OpenSSH's negotiation.
        Aes128Gcm = "aes128-gcm@openssh.com",
        /// RFC 4344 section 4.
        Aes256Ctr = "aes256-ctr",
        /// RFC 4344 section 4.
        Aes192Ctr = "aes192-ctr",
        /// RFC 4344 section 4.
        Aes128Ctr = "aes128-ctr",
    }
}

algorithms! {
    /// A message authentication code, for a cipher that does not authenticate by itself.
    Mac {
        /// RFC 6668, encrypt-then-MAC (OpenSSH's `PROTOCOL`, section 1.5).
        HmacSha256Etm = "hmac-sha2-256-etm@openssh.com",
        /// RFC 6668, encrypt-then-MAC.
        HmacSha512Etm = "hmac-sha2-512-etm@openssh.com",
        /// RFC 6668.
        HmacSha256 = "hmac-sha2-256",
        /// RFC 6668.
        HmacSha512 = "hmac-sha2-512",
    }
}

impl Cipher {
    /// True when a MAC is to be negotiated for it (RFC 5647 section 5.1,
    /// `PROTOCOL.chacha20poly1305`).
    fn needs_mac(self) -> bool {
        matches!(
            self,
            Cipher::Aes256Ctr | Cipher::Aes192Ctr | Cipher::Aes128Ctr
        )
    }
}

/// What the client offers, each list best first. No list may be empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Offer {
    /// Key exchange methods.
    pub kex: Vec<Kex>,
    /// Host key algorithms.
    pub host_keys: Vec<PublicKeyAlgorithm>,
    /// Certificates of these go first ([`crate::certificate`]); not with SHA-1.
    pub certificates: bool,
    /// Ciphers, the same for both directions.
    pub ciphers: Vec<Cipher>,
    /// Message authentication codes, the same for both directions.
    pub macs: Vec<Mac>,
    /// What the user's keys may sign with.
    pub user_keys: Vec<PublicKeyAlgorithm>,
}

impl Default for Offer {
    fn default() -> Self {
        Offer {
            kex: Kex::ALL.to_vec(),
            host_keys: PublicKeyAlgorithm::SHA2.to_vec(),
            certificates: false,
            ciphers: Cipher::ALL.to_vec(),
            macs: Mac::ALL.to_vec(),
            user_keys: PublicKeyAlgorithm::SHA2.to_vec(),
        }
    }
}

impl Offer {
    /// Puts the algorithms whose key type is in `known` first and keeps the order
    /// otherwise, so that a server shows the key that is already pinned. [`CERTIFIED`] among them
    /// asks for certificates.
    pub fn prefer_host_key_types(&mut self, known: &[&str]) {
        self.host_keys
            .sort_by_key(|a| !known.contains(&a.key_type()));
        self.certificates = known.contains(&CERTIFIED);
    }

    /// The names of [`Offer::host_keys`] on the wire, those of certificates first.
    fn host_key_names(&self) -> Vec<String> {
        let plain = self.host_keys.iter().map(|key| key.name().to_string());
        let certified = self.certified().map(|key| [key.name(), CERTIFIED].concat());
        certified.chain(plain).collect()
    }

    fn certified(&self) -> impl Iterator<Item = &PublicKeyAlgorithm> {
        let known = |key: &&PublicKeyAlgorithm| PublicKeyAlgorithm::SHA2.contains(key);
        let offered = self.host_keys.iter().filter(known);
        offered.take(if self.certificates { usize::MAX } else { 0 })
    }
}

/// Appends a whole `SSH_MSG_KEXINIT` payload to `out`.
///
/// `first` says that this is the connection's first key exchange, the only one whose list
/// carries `ext-info-c` and `kex-strict-c-v00@openssh.com`.
pub fn write_kexinit(offer: &Offer, cookie: [u8; 16], first: bool, out: &mut Vec<u8>) {
    out.put_u8(MSG_KEXINIT);
    out.put(&cookie);
    let extra: &[&str] = if first {
        &[EXT_INFO_CLIENT, STRICT_CLIENT]
    } else {
        &[]
    };
    let kex = offer.kex.iter().map(|k| k.name());
    out.put_name_list(kex.chain(extra.iter().copied()));
    out.put_name_list(offer.host_key_names().iter().map(String::as_str));
    for _direction in 0..2 {
        out.put_name_list(offer.ciphers.iter().map(|c| c.name()));
    }
    for _direction in 0..2 {
        out.put_name_list(offer.macs.iter().map(|m| m.name()));
    }
    for _direction in 0..2 {
        out.put_name_list(["none"]);
    }
    // Languages, both ways; no guessed packet follows; reserved.
    out.put_string(b"");
    out.put_string(b"");
    out.put_boolean(false);
    out.put_u32(0);
}

/// What both sides settled on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Negotiated {
    /// Key exchange method.
    pub kex: Kex,
    /// Host key algorithm.
    pub host_key: PublicKeyAlgorithm,
    /// The host key comes in a certificate.
    pub certificate: bool,
    /// Cipher from client to server.
    pub cipher_c2s: Cipher,
    /// Cipher from server to client.
    pub cipher_s2c: Cipher,
    /// MAC from client to server, unless the cipher authenticates by itself.
    pub mac_c2s: Option<Mac>,
    /// MAC from server to client, unless the cipher authenticates by itself.
    pub mac_s2c: Option<Mac>,
    /// The server announced strict key exchange; has a meaning in the first exchange only.
    pub strict: bool,
    /// The server has already sent an exchange packet for another method, which is to be
    /// dropped unread (RFC 4253 section 7).
    pub ignore_guess: bool,
}

/// Settles the algorithms from our offer and the server's whole `SSH_MSG_KEXINIT` payload.
///
/// The first of our names that the server has wins (RFC 4253 section 7.1). All our key
/// exchange methods go with all our host key algorithms, since each of those can sign.
/// Fails with [`Error::NoCommon`] or [`Error::Malformed`].
pub fn negotiate(offer: &Offer, server_kexinit: &[u8]) -> Result<Negotiated, Error> {
    let mut reader = Reader::new(server_kexinit);
    if reader.u8()? != MSG_KEXINIT {
        return Err(Error::Malformed("key exchange proposal"));
    }
    reader.take(16)?;
    let kex_list = reader.name_list()?;
    let host_key_list = reader.name_list()?;
    let cipher_c2s_list = reader.name_list()?;
    let cipher_s2c_list = reader.name_list()?;
    let mac_c2s_list = reader.name_list()?;
    let mac_s2c_list = reader.name_list()?;
    let compressions = [reader.name_list()?, reader.name_list()?];
    reader.name_list()?;
    reader.name_list()?;
    let guessed = reader.boolean()?;
    // Reserved for extension; its value and what may follow it are ignored.
    reader.u32()?;

    let kex = choose(&offer.kex, Kex::name, kex_list, List::Kex)?;
    let certified = offer.certified().copied().find(|key| {
        names(host_key_list).any(|name| name.strip_suffix(CERTIFIED) == Some(key.name()))
    });
    let plain = || {
        let name = PublicKeyAlgorithm::name;
        choose(&offer.host_keys, name, host_key_list, List::HostKey)
    };
    let host_key = certified.map_or_else(plain, Ok)?;
    let cipher = |list| choose(&offer.ciphers, Cipher::name, list, List::Cipher);
    let cipher_c2s = cipher(cipher_c2s_list)?;
    let cipher_s2c = cipher(cipher_s2c_list)?;
    let mac = |cipher: Cipher, list| {
        let macs = cipher.needs_mac().then_some(&offer.macs);
        let chosen = macs.map(|macs| choose(macs, Mac::name, list, List::Mac));
        chosen.transpose()
    };
    let mac_c2s = mac(cipher_c2s, mac_c2s_list)?;
    let mac_s2c = mac(cipher_s2c, mac_s2c_list)?;
    for list in compressions {
        if !names(list).any(|name| name == "none") {
            return Err(no_common(None, list));
        }
    }

    let best = |ours: Option<&str>, theirs: &str| ours == names(theirs).next();
    let right_guess = best(offer.kex.first().map(|k| k.name()), kex_list)
        && best(
            offer.host_key_names().first().map(String::as_str),
            host_key_list,
        );
    Ok(Negotiated {
        kex,
        host_key,
        certificate: certified.is_some(),
        cipher_c2s,
        cipher_s2c,
        mac_c2s,
        mac_s2c,
        strict: names(kex_list).any(|name| name == STRICT_SERVER),
        ignore_guess: guessed && !right_guess,
    })
}

fn choose<T: Copy>(
    ours: &[T],
    name: impl Fn(T) -> &'static str,
    theirs: &str,
    list: List,
) -> Result<T, Error> {
    ours.iter()
        .copied()
        .find(|&item| names(theirs).any(|n| n == name(item)))
        .ok_or_else(|| no_common(Some(list), theirs))
}

/// The list is printable ASCII (checked by the reader), so cutting it is all it needs.
fn no_common(list: Option<List>, theirs: &str) -> Error {
    let all = list.map_or(Vec::new(), List::names);
    let supported = names(theirs).find_map(|name| all.iter().copied().find(|ours| *ours == name));
    let mut cut = String::from(theirs.get(..THEIRS).unwrap_or(theirs));
    if cut.len() < theirs.len() {
        cut.push_str("...");
    }
    if cut.is_empty() {
        cut.push_str("nothing");
    }
    Error::NoCommon {
        list,
        theirs: cut,
        supported,
    }
}
