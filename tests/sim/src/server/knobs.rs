//! What a server does, and every way in which it can misbehave.

use reachback_ssh::algorithms::{Cipher, Mac};
use reachback_ssh::ident::CLIENT_IDENT;

/// Where a server falls silent for good. It goes on reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stall {
    /// Never says who it is.
    Ident,
    /// Identifies itself and sends no `SSH_MSG_KEXINIT`.
    KexInit,
    /// Does not answer the client's half of the exchange.
    KexReply,
    /// Proves its host key and never takes the keys into use.
    NewKeys,
    /// Does not grant the authentication service.
    Service,
    /// Does not answer an authentication request.
    Authentication,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Granted.
    Yes,
    /// Refused.
    No,
    /// No answer, ever.
    Silence,
    /// The driver answers: [`super::Server::asked`], [`super::Server::answer_forward`].
    Ask,
}

/// The reply to a request for proofs of host keys, of the session's identifier and the keys.
pub type Proves = fn(&[u8], &[&[u8]]) -> Vec<u8>;

/// A server's behaviour. [`Knobs::default`] is a decent one.
///
/// The payloads of the four insertions are sent once, at the next exchange of keys.
#[derive(Clone, Debug)]
pub struct Knobs {
    /// Sent as they are before the identification line.
    pub pre_ident: Vec<u8>,
    /// The identification line with its line end.
    pub ident: Vec<u8>,
    /// Seed of the Ed25519 host key.
    pub host_key: u8,
    /// What it shows in the place of that key; then it offers certificates first.
    pub certificate: Option<Vec<u8>>,
    /// Announces strict key exchange and keeps to it.
    pub strict: bool,
    /// Resets the sequence number of what it sends, in a strict exchange.
    pub resets_sequence: bool,
    /// Sends `SSH_MSG_EXT_INFO` behind its first `SSH_MSG_NEWKEYS`.
    pub ext_info: bool,
    /// Falls silent there.
    pub stall: Option<Stall>,
    /// Payloads before `SSH_MSG_KEXINIT`.
    pub before_kexinit: Vec<Vec<u8>>,
    /// Payloads behind `SSH_MSG_KEXINIT`.
    pub after_kexinit: Vec<Vec<u8>>,
    /// Payloads between the reply and `SSH_MSG_NEWKEYS`.
    pub before_newkeys: Vec<Vec<u8>>,
    /// Payloads behind `SSH_MSG_NEWKEYS`, under the new keys.
    pub after_newkeys: Vec<Vec<u8>>,
    /// Says `first_kex_packet_follows` and sends a packet for a wrong guess.
    pub wrong_guess: bool,
    /// Spoils the signature over the exchange hash.
    pub bad_signature: bool,
    /// Sends an all-zero public key, which leads to an all-zero secret.
    pub zero_share: bool,
    /// Key exchange methods offered; only curve25519-sha256 can be carried out.
    pub kex_list: &'static str,
    /// The one cipher it offers.
    pub cipher: Cipher,
    /// The one MAC it offers.
    pub mac: Mac,
    /// Authentication with a key and its signature.
    pub auth: Answer,
    /// Authentication with `none`.
    pub auth_none: Answer,
    /// Whether a key would do, without a signature.
    pub auth_query: Answer,
    /// `keyboard-interactive`: [`Answer::Ask`] leaves the rounds to the driver.
    pub keyboard: Answer,
    /// The password that it accepts.
    pub password: Option<&'static str>,
    /// Wants another password first, whatever is given.
    pub password_expired: bool,
    /// Methods named after a failure.
    pub auth_methods: &'static [&'static str],
    /// A failure with a key is said to be a partial success.
    pub partial: bool,
    /// Text sent before the first answer to an authentication request.
    pub banner: Option<Vec<u8>>,
    /// `tcpip-forward`.
    pub forward: Answer,
    /// Names this address for every listener when it opens a channel.
    pub calls_it: Option<&'static str>,
    /// `cancel-tcpip-forward`.
    pub cancel: Answer,
    /// Says the port in the reply for a fixed port, too.
    pub echo_port: bool,
    /// `direct-tcpip` channels of the client.
    pub direct: Answer,
    /// Opens session channels, and prints this on them; without it none may be asked for.
    pub prints: Option<&'static [u8]>,
    /// Prints it only once a shell was asked for.
    pub prints_after_shell: bool,
    /// `keepalive@openssh.com`; OpenSSH says [`Answer::No`].
    pub keepalive: Answer,
    /// `hostkeys-prove-00@openssh.com`.
    pub proves: Option<Proves>,
    /// First port given for port 0.
    pub first_free_port: u16,
    /// Window and largest packet granted to the client on each channel.
    pub window: u32,
    /// Largest packet that it takes.
    pub packet: u32,
    /// Grants window again for what it received.
    pub grants: bool,
    /// Answers a close with a close.
    pub answers_close: bool,
    /// Keeps every payload in [`super::Server::log`], and channel data.
    pub keeps_log: bool,
    /// Keeps channel data until it is taken ([`super::Server::take_received`]).
    pub keeps_data: bool,
}

impl Default for Knobs {
    fn default() -> Knobs {
        Knobs {
            pre_ident: Vec::new(),
            ident: b"SSH-2.0-Sim_1.0\r\n".to_vec(),
            host_key: 1,
            certificate: None,
            strict: true,
            resets_sequence: true,
            ext_info: true,
            stall: None,
            before_kexinit: Vec::new(),
            after_kexinit: Vec::new(),
            before_newkeys: Vec::new(),
            after_newkeys: Vec::new(),
            wrong_guess: false,
            bad_signature: false,
            zero_share: false,
            kex_list: "curve25519-sha256",
            cipher: Cipher::ChaCha20Poly1305,
            mac: Mac::HmacSha256,
            auth: Answer::Yes,
            auth_none: Answer::No,
            auth_query: Answer::No,
            keyboard: Answer::No,
            password: None,
            password_expired: false,
            auth_methods: &["publickey", "password"],
            partial: false,
            banner: None,
            forward: Answer::Yes,
            calls_it: None,
            cancel: Answer::Yes,
            echo_port: false,
            direct: Answer::Silence,
            prints: None,
            prints_after_shell: false,
            keepalive: Answer::No,
            proves: None,
            first_free_port: 40_000,
            window: 256 * 1024,
            packet: 32 * 1024,
            grants: true,
            answers_close: true,
            keeps_log: true,
            keeps_data: false,
        }
    }
}

/// What the client calls itself, for checking that it does.
pub fn client_ident() -> &'static [u8] {
    CLIENT_IDENT.as_bytes()
}
