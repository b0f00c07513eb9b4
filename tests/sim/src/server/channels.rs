//! Channels that the server opens to the client, and what RFC 4254 lets the client do on them.

use std::collections::{BTreeMap, VecDeque};

use reachback_ssh::wire::{Put, Reader};

use super::Knobs;
use super::numbers::*;

/// First number given to a channel: not one that the client would use itself.
const FIRST: u32 = 100;

/// One channel, from the server's side.
#[derive(Debug, Default)]
pub struct Channel {
    /// The client's number, once it confirmed.
    pub remote: Option<u32>,
    /// The reason of RFC 4254 section 5.1, when the client refused.
    pub refused: Option<u32>,
    /// What the client sent and nobody took, while data is kept.
    pub received: Vec<u8>,
    /// How much the client sent.
    pub received_bytes: u64,
    /// The client sent its end.
    pub eof_received: bool,
    /// The client sent its close.
    pub close_received: bool,
    /// Ours went out.
    pub close_sent: bool,
    /// Extra window granted by the client and not yet used.
    pub out_window: u32,
    /// Sum of all windows that the client granted.
    pub granted: u64,
    /// Bytes of ours that went out.
    pub sent_bytes: u64,
    /// The client opened it.
    pub is_direct: bool,
    /// The programs that the client asked for on it.
    pub programs: Vec<String>,
    /// The client opened it as a session channel.
    pub is_session: bool,
    out_packet: u32,
    in_window: u32,
    queue: VecDeque<u8>,
    eof_wanted: bool,
    eof_sent: bool,
    close_wanted: bool,
}

impl Channel {
    /// True once both sides closed, or the client refused.
    pub fn is_over(&self) -> bool {
        self.refused.is_some() || (self.close_received && self.close_sent)
    }

    /// Bytes that wait for the client's window.
    pub fn queued(&self) -> usize {
        self.queue.len()
    }
}

/// What a client says that opens a `direct-tcpip` channel (RFC 4254 section 7.2), or a `session`
/// (section 6.1), which has no host.
#[derive(Debug)]
pub(crate) struct DirectOpen {
    pub(crate) is_session: bool,
    pub(crate) remote: u32,
    pub(crate) window: u32,
    pub(crate) packet: u32,
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl DirectOpen {
    /// Reads the message; none if it is of another kind.
    pub(crate) fn parse(payload: &[u8]) -> Option<DirectOpen> {
        let mut reader = Reader::new(payload.get(1..)?);
        let is_session = match reader.string().ok()? {
            b"direct-tcpip" => false,
            b"session" => true,
            _ => return None,
        };
        Some(DirectOpen {
            is_session,
            remote: reader.u32().ok()?,
            window: reader.u32().ok()?,
            packet: reader.u32().ok()?,
            host: reader.text().unwrap_or_default().to_owned(),
            port: reader.u32().unwrap_or_default() as u16,
        })
    }
}

/// All channels, by the server's number.
#[derive(Debug)]
pub(crate) struct Channels {
    pub(crate) table: BTreeMap<u32, Channel>,
    next: u32,
}

impl Default for Channels {
    fn default() -> Channels {
        Channels {
            table: BTreeMap::new(),
            next: FIRST,
        }
    }
}

impl Channels {
    /// A channel that the client opens; it is answered later. Gives the server's number.
    pub(crate) fn opened_by_client(&mut self, message: DirectOpen, knobs: &Knobs) -> u32 {
        let number = self.next;
        self.next += 1;
        let channel = Channel {
            remote: Some(message.remote),
            in_window: knobs.window,
            out_window: message.window,
            out_packet: message.packet,
            granted: u64::from(message.window),
            is_direct: !message.is_session,
            is_session: message.is_session,
            ..Channel::default()
        };
        self.table.insert(number, channel);
        number
    }

    /// A new channel and the message that opens it.
    pub(crate) fn open(&mut self, knobs: &Knobs, bind: &str, port: u32) -> (u32, Vec<u8>) {
        let number = self.next;
        self.next += 1;
        let channel = Channel {
            in_window: knobs.window,
            ..Channel::default()
        };
        self.table.insert(number, channel);
        let bind = knobs.calls_it.unwrap_or(bind);
        let open = open_message(b"forwarded-tcpip", number, knobs, bind, port);
        (number, open)
    }

    pub(crate) fn write(&mut self, number: u32, data: &[u8]) {
        if let Some(channel) = self.table.get_mut(&number) {
            channel.queue.extend(data);
        }
    }

    pub(crate) fn finish(&mut self, number: u32) {
        if let Some(channel) = self.table.get_mut(&number) {
            channel.eof_wanted = true;
        }
    }

    pub(crate) fn close(&mut self, number: u32) {
        if let Some(channel) = self.table.get_mut(&number) {
            channel.close_wanted = true;
        }
    }

    /// The next message that windows and wishes allow.
    pub(crate) fn poll(&mut self) -> Option<Vec<u8>> {
        for channel in self.table.values_mut() {
            let Some(remote) = channel.remote.filter(|_| !channel.close_sent) else {
                continue;
            };
            let room = channel.out_window.min(channel.out_packet) as usize;
            let n = room.min(channel.queue.len());
            if n > 0 && !channel.eof_sent {
                let data: Vec<u8> = channel.queue.drain(..n).collect();
                channel.out_window -= n as u32;
                channel.sent_bytes += n as u64;
                let mut message = with_channel(CHANNEL_DATA, remote);
                message.put_string(&data);
                return Some(message);
            }
            let drained = channel.queue.is_empty();
            if drained && channel.eof_wanted && !channel.eof_sent {
                channel.eof_sent = true;
                return Some(with_channel(CHANNEL_EOF, remote));
            }
            if drained && channel.close_wanted {
                channel.close_sent = true;
                return Some(with_channel(CHANNEL_CLOSE, remote));
            }
        }
        None
    }

    /// A message of the client about a channel. Gives the answer, and an error when the client
    /// broke the protocol.
    pub(crate) fn handle(
        &mut self,
        payload: &[u8],
        knobs: &Knobs,
    ) -> Result<Option<Vec<u8>>, String> {
        let mut reader = Reader::new(&payload[1..]);
        let malformed = |_| format!("message {} does not parse", payload[0]);
        let number = reader.u32().map_err(malformed)?;
        let Some(channel) = self.table.get_mut(&number) else {
            return Err(format!(
                "message {} for channel {number}, which is not there",
                payload[0]
            ));
        };
        if channel.is_over() {
            return Err(format!("message {} for a channel that is over", payload[0]));
        }
        if channel.close_received {
            return Err(format!("message {} after the client's close", payload[0]));
        }
        let opening = matches!(payload[0], CHANNEL_OPEN_CONFIRMATION | CHANNEL_OPEN_FAILURE);
        if opening == channel.remote.is_some() {
            return Err(format!("message {} out of place", payload[0]));
        }
        match payload[0] {
            CHANNEL_OPEN_CONFIRMATION => {
                channel.remote = Some(reader.u32().map_err(malformed)?);
                channel.out_window = reader.u32().map_err(malformed)?;
                channel.granted = u64::from(channel.out_window);
                channel.out_packet = reader.u32().map_err(malformed)?;
            }
            CHANNEL_OPEN_FAILURE => channel.refused = Some(reader.u32().map_err(malformed)?),
            CHANNEL_WINDOW_ADJUST => {
                let more = reader.u32().map_err(malformed)?;
                channel.granted += u64::from(more);
                channel.out_window = channel
                    .out_window
                    .checked_add(more)
                    .ok_or("the client's window passes 2^32 - 1")?;
            }
            CHANNEL_DATA => {
                let data = reader.string().map_err(malformed)?;
                return channel.take(data, knobs);
            }
            CHANNEL_EOF if channel.eof_received => return Err("a second EOF".into()),
            CHANNEL_EOF => channel.eof_received = true,
            CHANNEL_CLOSE => {
                channel.close_received = true;
                if knobs.answers_close && !channel.close_sent {
                    channel.close_sent = true;
                    return Ok(Some(with_channel(
                        CHANNEL_CLOSE,
                        channel.remote.unwrap_or_default(),
                    )));
                }
            }
            CHANNEL_FAILURE | CHANNEL_SUCCESS => {}
            CHANNEL_REQUEST if channel.is_session => {
                let program = reader.string().map_err(malformed)?.to_vec();
                if program == b"shell" && knobs.prints_after_shell {
                    channel.queue.extend(knobs.prints.unwrap_or_default());
                }
                channel
                    .programs
                    .push(String::from_utf8_lossy(&program).into_owned());
                let remote = channel.remote.unwrap_or_default();
                return Ok(Some(with_channel(CHANNEL_SUCCESS, remote)));
            }
            other => return Err(format!("message {other} on a channel")),
        }
        Ok(None)
    }
}

impl Channel {
    fn take(&mut self, data: &[u8], knobs: &Knobs) -> Result<Option<Vec<u8>>, String> {
        let n = data.len() as u32;
        if self.eof_received {
            return Err("data after EOF".into());
        }
        if n > self.in_window {
            return Err(format!("{n} bytes into a window of {}", self.in_window));
        }
        if n > knobs.packet {
            return Err(format!("{n} bytes in one packet of {}", knobs.packet));
        }
        self.in_window -= n;
        self.received_bytes += u64::from(n);
        if knobs.keeps_log || knobs.keeps_data {
            self.received.extend_from_slice(data);
        }
        if !knobs.grants || self.in_window > knobs.window / 2 || self.close_sent {
            return Ok(None);
        }
        let more = knobs.window - self.in_window;
        self.in_window = knobs.window;
        let mut adjust = with_channel(CHANNEL_WINDOW_ADJUST, self.remote.unwrap_or_default());
        adjust.put_u32(more);
        Ok(Some(adjust))
    }
}

/// A message that begins with a channel's number.
pub fn with_channel(message: u8, number: u32) -> Vec<u8> {
    let mut payload = vec![message];
    payload.put_u32(number);
    payload
}

/// `SSH_MSG_CHANNEL_OPEN` with the fields of `forwarded-tcpip` (RFC 4254 section 7.2).
pub fn open_message(kind: &[u8], number: u32, knobs: &Knobs, bind: &str, port: u32) -> Vec<u8> {
    let mut payload = vec![CHANNEL_OPEN];
    payload.put_string(kind);
    payload.put_u32(number);
    payload.put_u32(knobs.window);
    payload.put_u32(knobs.packet);
    payload.put_string(bind.as_bytes());
    payload.put_u32(port);
    payload.put_string(b"192.0.2.7");
    payload.put_u32(50_000);
    payload
}
