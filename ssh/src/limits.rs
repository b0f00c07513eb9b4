//! Every cap of the client in one place. Bytes unless the name says otherwise.

/// Longest identification line, CR LF included (RFC 4253 section 4.2).
pub const IDENT_LINE: usize = 255;
/// Lines a server may send before its identification line.
pub const PRE_IDENT_LINES: usize = 64;
/// Bytes a server may send before its identification line.
pub const PRE_IDENT_BYTES: usize = 16 * 1024;
/// Largest `packet_length` taken or sent (RFC 4253 section 6.1 asks for 35000 in all).
pub const PACKET_LENGTH: usize = 35_000;
/// Largest `packet_length` taken while logging in: OpenSSH sends its banner in one packet, and
/// takes itself no longer ones. Of the banner, [`PEER_TEXT`] bytes are kept.
pub const LOGIN_PACKET_LENGTH: usize = 256 * 1024;
/// Room for packets read and not yet handled; a full buffer stops the reading.
pub const INBOUND_BUFFER: usize = 64 * 1024;
/// Room for sealed packets not yet written.
pub const OUTBOUND_BUFFER: usize = 80 * 1024;
/// Unwritten bytes from which on no channel data is added. It also bounds how long a small
/// request waits behind a bulk transfer.
pub const OUTBOUND_HIGH: usize = 32 * 1024;
/// Room that must be free for answers before another packet is handled.
pub const CONTROL_RESERVE: usize = 4 * 1024;
/// Control messages that wait for the end of a key exchange; more ends the connection.
pub const HELD_MESSAGES: usize = 32 * 1024;

/// Channel numbers in use at once, those included that wait for the caller's answer and those that
/// this side has closed; more are refused with `SSH_OPEN_RESOURCE_SHORTAGE`. How many are served is
/// the caller's decision.
pub const CHANNELS: usize = 128;
/// Window of a channel as it is opened: what the peer may send before the target has taken it.
pub const CHANNEL_WINDOW: u32 = 64 * 1024;
/// The most that a window is widened to. How much all have together is the caller's decision.
pub const WIDEST_WINDOW: u32 = 2 * 1024 * 1024;
/// Largest data packet taken and sent (RFC 4254 section 5.1).
pub const CHANNEL_PACKET: u32 = 32 * 1024;
/// Forwards on one connection.
pub const FORWARDS: usize = 16;
/// Global requests of ours that wait for a reply; more are refused to the caller.
pub const GLOBAL_REQUESTS: usize = 40;
/// Keepalives without a reply; further ones are not sent until one comes.
pub const KEEPALIVES: usize = 8;

/// User keys tried (sshd's MaxAuthTries is 6).
pub const USER_KEYS: usize = 4;
/// Authentication attempts on one connection.
pub const AUTH_ATTEMPTS: usize = 6;
/// Up to so many signatures refused, it is asked besides whether SHA-1 is the cause: five lines
/// in a server's log would be one too many for fail2ban.
pub const SHA1_QUERY_ATTEMPTS: usize = 3;
/// Passwords, and rounds of prompts, that a server may refuse before an interactive login is given
/// up (ssh's NumberOfPasswordPrompts).
pub const PASSWORD_ATTEMPTS: usize = 3;
/// Rounds of prompts in one login (RFC 4256 section 3.2); more end the connection.
pub const PROMPT_ROUNDS: usize = 16;
/// Prompts in one round; more end the connection.
pub const PROMPTS: usize = 8;
/// Longest password or answer, bytes.
pub const ANSWER: usize = 1024;
/// Payload and padding of a message with a password, at least: how long that is does not show.
pub const SECRET_LENGTH: usize = 256;
/// Banners shown before or during authentication (RFC 4252 section 5.4); more end the connection.
pub const BANNERS: usize = 16;
/// Longest text of a server that is kept for an error or a log.
pub const PEER_TEXT: usize = 256;
/// Longest address in a channel open; a longer one is refused.
pub const ADDRESS: usize = 255;
/// Payload of a `ping@openssh.com` that is answered; a longer one is not.
pub const PING: usize = 1024;

/// Packets under one key (RFC 4344 section 3.1 allows 2^31).
pub const REKEY_PACKETS: u64 = 1 << 31;
/// Milliseconds a renewal of keys may go without a step. While the server's answer may still be
/// queued behind its data, every packet of it is one.
pub const REKEY_DEADLINE_MS: u64 = 60_000;
/// Milliseconds it may take in all.
pub const REKEY_LIMIT_MS: u64 = 600_000;
/// Hasty renewals in a row that a server may begin: each costs far more to answer than to ask for.
pub const HASTY_REKEYS: u32 = 16;
/// A renewal is hasty within this many milliseconds of the last one,
pub const HASTY_REKEY_MS: u64 = 1_000;
/// unless this many bytes went under the keys, in one direction: an OpenSSH server with a small
/// `RekeyLimit` renews after each data packet.
pub const HASTY_REKEY_BYTES: u64 = 32 * 1024;
/// Longest `name-list` read; the longest seen in practice is under 1 KiB.
pub const NAME_LIST: usize = 8 * 1024;
/// Longest host key blob taken; RSA of 8192 bits needs 1,050.
pub const HOST_KEY_BLOB: usize = 2048;
/// Host keys in one announcement (`hostkeys-00@openssh.com`), and their bytes: a request for proofs of
/// all of them fits into [`CONTROL_RESERVE`]. A larger announcement is not looked at.
pub const HOST_KEYS: usize = 16;
/// See [`HOST_KEYS`].
pub const HOST_KEYS_BYTES: usize = 3 * 1024;
/// Longest host key signature blob taken; RSA of 8192 bits needs 1,044.
pub const SIGNATURE_BLOB: usize = 2048;
/// Longest private key text read.
pub const KEY_TEXT: usize = 32 * 1024;
