//! Global requests in order and the channel table (RFC 4254).

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;

use crate::Error;
use crate::channel::{Channel, ChannelId, Opening};
use crate::forward::{Belongs, ForwardId, Forwards};
use crate::limits::{ADDRESS, CHANNELS, GLOBAL_REQUESTS, KEEPALIVES, PING};
use crate::message::{self as msg, printable};
use crate::transport::Transport;
use crate::wire::{Put, Reader};

mod commands;
mod outbound;

/// Why a channel is refused (RFC 4254 section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Refusal {
    /// `SSH_OPEN_ADMINISTRATIVELY_PROHIBITED`: not asked for.
    Prohibited = 1,
    /// `SSH_OPEN_CONNECT_FAILED`: the target cannot be reached.
    ConnectFailed = 2,
    /// `SSH_OPEN_UNKNOWN_CHANNEL_TYPE`.
    UnknownType = 3,
    /// `SSH_OPEN_RESOURCE_SHORTAGE`: too many channels.
    ResourceShortage = 4,
}

/// A request of ours that wants a reply. Replies carry no name and come in the order of the
/// requests (RFC 4254 section 4).
#[derive(Clone, Copy)]
enum Asked {
    Forward(ForwardId),
    Cancel(ForwardId),
    Keepalive,
}

/// What the connection layer made of a message.
pub(crate) enum Step {
    Handled,
    ForwardConfirmed {
        forward: ForwardId,
        port: u16,
    },
    ForwardRefused {
        forward: ForwardId,
    },
    ForwardCancelled {
        forward: ForwardId,
        done: bool,
    },
    KeepaliveAnswered,
    Data {
        channel: ChannelId,
        range: Range<usize>,
    },
    Eof {
        channel: ChannelId,
    },
    Closed {
        channel: ChannelId,
    },
    DirectOpened {
        channel: ChannelId,
    },
    DirectRefused {
        channel: ChannelId,
        reason: u32,
        text: String,
    },
}

/// Header of `SSH_MSG_CHANNEL_DATA` up to the data: number, channel, length.
const DATA_HEADER: usize = 9;

pub(crate) struct Connection {
    forwards: Forwards,
    asked: VecDeque<Asked>,
    channels: [Option<Channel>; CHANNELS],
}

impl Connection {
    pub(crate) fn new() -> Connection {
        Connection {
            forwards: Forwards::new(),
            asked: VecDeque::with_capacity(GLOBAL_REQUESTS),
            channels: [const { None }; CHANNELS],
        }
    }

    fn ask(
        &mut self,
        asked: Asked,
        payload: &[u8],
        transport: &mut Transport,
    ) -> Result<(), Error> {
        if self.asked.len() >= GLOBAL_REQUESTS {
            return Err(Error::Limit("unanswered requests"));
        }
        transport.send(payload)?;
        self.asked.push_back(asked);
        Ok(())
    }

    pub(crate) fn request_forward(
        &mut self,
        id: ForwardId,
        bind: &str,
        port: u16,
        transport: &mut Transport,
    ) -> Result<(), Error> {
        let payload = self.forwards.request(id, bind, port)?;
        self.ask(Asked::Forward(id), &payload, transport)
    }

    pub(crate) fn request_socket_forward(
        &mut self,
        id: ForwardId,
        path: &str,
        transport: &mut Transport,
    ) -> Result<(), Error> {
        let payload = self.forwards.request_socket(id, path)?;
        self.ask(Asked::Forward(id), &payload, transport)
    }

    pub(crate) fn cancel_forward(
        &mut self,
        id: ForwardId,
        transport: &mut Transport,
    ) -> Result<(), Error> {
        match self.forwards.cancel(id) {
            Some(payload) => self.ask(Asked::Cancel(id), &payload, transport),
            None => Ok(()),
        }
    }

    pub(crate) fn keepalive(&mut self, transport: &mut Transport) -> Result<(), Error> {
        let waiting = self
            .asked
            .iter()
            .filter(|a| matches!(a, Asked::Keepalive))
            .count();
        if waiting >= KEEPALIVES {
            return Ok(());
        }
        let mut payload = Vec::new();
        payload.put_u8(msg::GLOBAL_REQUEST);
        payload.put_string(b"keepalive@openssh.com");
        payload.put_boolean(true);
        self.ask(Asked::Keepalive, &payload, transport)
    }

    pub(crate) fn handle(
        &mut self,
        range: Range<usize>,
        transport: &mut Transport,
    ) -> Result<Step, Error> {
        let payload = transport.inbound.slice(range.clone());
        let mut reader = Reader::new(&payload[1..]);
        match payload[0] {
            msg::GLOBAL_REQUEST => {
                reader.string()?;
                // Nothing that a server can ask is known here (RFC 4254 section 4).
                if reader.boolean()? {
                    transport.send(&[msg::REQUEST_FAILURE])?;
                }
                Ok(Step::Handled)
            }
            msg::REQUEST_SUCCESS => self.answered(Some(reader.rest())),
            msg::REQUEST_FAILURE => self.answered(None),
            msg::CHANNEL_OPEN => self.handle_open(range, transport),
            msg::CHANNEL_WINDOW_ADJUST => {
                let (_, channel) = self.channel(&mut reader)?;
                known_to_server(channel)?;
                channel.granted(reader.u32()?)?;
                reader.finish()?;
                Ok(Step::Handled)
            }
            msg::CHANNEL_DATA => {
                let (id, channel) = self.channel(&mut reader)?;
                let data = reader.string()?;
                reader.finish()?;
                channel.received(data.len())?;
                Ok(Step::Data {
                    channel: id,
                    range: range.end - data.len()..range.end,
                })
            }
            msg::CHANNEL_EXTENDED_DATA => self.handle_extended_data(range, transport),
            msg::CHANNEL_EOF => {
                let (id, channel) = self.channel(&mut reader)?;
                if channel.opening != Opening::Open || channel.eof_in {
                    return Err(Error::Malformed("order of channel ends"));
                }
                channel.eof_in = true;
                reader.finish()?;
                Ok(Step::Eof { channel: id })
            }
            msg::CHANNEL_CLOSE => self.handle_close(range, transport),
            msg::CHANNEL_REQUEST => {
                let channel = self.channel(&mut reader)?.1;
                known_to_server(channel)?;
                let (remote, closing) = (channel.remote, channel.close_out);
                reader.string()?;
                // An answer behind our close could name a channel that the peer has let go of.
                if reader.boolean()? && !closing {
                    transport.send(&with_channel(msg::CHANNEL_FAILURE, remote))?;
                }
                Ok(Step::Handled)
            }
            msg::PING => {
                let data = reader.string()?;
                if data.len() <= PING {
                    let mut pong = Vec::with_capacity(5 + data.len());
                    pong.put_u8(msg::PONG);
                    pong.put_string(data);
                    transport.send(&pong)?;
                }
                Ok(Step::Handled)
            }
            msg::CHANNEL_OPEN_CONFIRMATION => self.handle_opened(range, transport),
            msg::CHANNEL_OPEN_FAILURE => self.handle_not_opened(range, transport),
            // Answers to what this client never asks.
            message @ (msg::CHANNEL_SUCCESS | msg::CHANNEL_FAILURE) => Err(Error::Unexpected {
                message,
                during: "the connection",
            }),
            _ => {
                transport.unimplemented()?;
                Ok(Step::Handled)
            }
        }
    }

    fn answered(&mut self, success: Option<&[u8]>) -> Result<Step, Error> {
        let asked = self
            .asked
            .pop_front()
            .ok_or(Error::Malformed("order of replies"))?;
        match (asked, success) {
            // Any answer proves life: OpenSSH says failure, others success.
            (Asked::Keepalive, _) => Ok(Step::KeepaliveAnswered),
            (Asked::Forward(id), Some(reply)) => {
                let port = self.forwards.confirmed(id, reply)?;
                self.settle_waiting(id, Opening::Announce);
                Ok(Step::ForwardConfirmed { forward: id, port })
            }
            (Asked::Forward(id), None) => {
                self.forwards.remove(id);
                Ok(Step::ForwardRefused { forward: id })
            }
            (Asked::Cancel(id), Some(_)) => {
                self.forwards.remove(id);
                Ok(Step::ForwardCancelled {
                    forward: id,
                    done: true,
                })
            }
            (Asked::Cancel(id), None) => {
                self.forwards.kept(id);
                Ok(Step::ForwardCancelled {
                    forward: id,
                    done: false,
                })
            }
        }
    }

    fn settle_waiting(&mut self, id: ForwardId, to: Opening) {
        let waiting = |c: &&mut Channel| c.forward == id && c.opening == Opening::AwaitingForward;
        for channel in self.channels.iter_mut().flatten().filter(waiting) {
            channel.opening = to;
        }
    }

    /// `SSH_MSG_CHANNEL_OPEN` (RFC 4254 sections 5.1 and 7.2; OpenSSH's PROTOCOL, 2.4): only
    /// `forwarded-tcpip` and its Unix counterpart, and only for a forward of ours.
    fn handle_open(
        &mut self,
        range: Range<usize>,
        transport: &mut Transport,
    ) -> Result<Step, Error> {
        let mut reader = Reader::new(&transport.inbound.slice(range)[1..]);
        let kind = reader.string()?;
        let remote = reader.u32()?;
        let (window, packet) = (reader.u32()?, reader.u32()?);
        let (belongs, originator, originator_port) = match kind {
            b"forwarded-tcpip" => {
                let address = reader.string()?;
                let port = reader.u32()?;
                let originator = reader.string()?;
                let originator_port = reader.u32()?;
                reader.finish()?;
                let belongs = if address.len() > ADDRESS || originator.len() > ADDRESS {
                    Belongs::No
                } else {
                    self.forwards.owner_of(address, port)
                };
                (belongs, originator, originator_port)
            }
            b"forwarded-streamlocal@openssh.com" => {
                let path = reader.string()?;
                // Reserved.
                reader.string()?;
                reader.finish()?;
                (self.forwards.owner_of_socket(path), &b"a socket"[..], 0)
            }
            _ => return refuse(remote, Refusal::UnknownType, "not supported", transport),
        };
        let belongs = if packet == 0 { Belongs::No } else { belongs };
        let (forward, opening) = match belongs {
            Belongs::Now(id) => (id, Opening::Announce),
            Belongs::Later(id) => (id, Opening::AwaitingForward),
            Belongs::No => return refuse(remote, Refusal::Prohibited, "not requested", transport),
        };
        let Some(slot) = self.channels.iter_mut().find(|slot| slot.is_none()) else {
            return refuse(
                remote,
                Refusal::ResourceShortage,
                "too many connections",
                transport,
            );
        };
        let mut channel = Channel::new(remote, forward, window, packet);
        channel.opening = opening;
        channel.originator = printable(originator);
        channel.originator_port = originator_port;
        *slot = Some(channel);
        Ok(Step::Handled)
    }

    /// Data that is not the stream's own has no place in a forward: it is dropped, and its
    /// window granted again.
    fn handle_extended_data(
        &mut self,
        range: Range<usize>,
        transport: &mut Transport,
    ) -> Result<Step, Error> {
        let mut reader = Reader::new(&transport.inbound.slice(range)[1..]);
        let (id, channel) = self.channel(&mut reader)?;
        reader.u32()?;
        let n = reader.string()?.len();
        reader.finish()?;
        channel.received(n)?;
        self.taken(id, n, transport)?;
        Ok(Step::Handled)
    }

    fn handle_close(
        &mut self,
        range: Range<usize>,
        transport: &mut Transport,
    ) -> Result<Step, Error> {
        let mut reader = Reader::new(&transport.inbound.slice(range)[1..]);
        let (id, channel) = self.channel(&mut reader)?;
        let (remote, answered, opening) = (channel.remote, channel.close_out, channel.opening);
        if matches!(
            opening,
            Opening::AwaitingForward
                | Opening::Announce
                | Opening::AwaitingCaller
                | Opening::AwaitingServer
        ) {
            return Err(Error::Malformed("close of a channel that is not open"));
        }
        reader.finish()?;
        if !answered {
            transport.send(&with_channel(msg::CHANNEL_CLOSE, remote))?;
        }
        self.channels[id.index()] = None;
        Ok(Step::Closed { channel: id })
    }

    /// The channel that a message names.
    fn channel(&mut self, reader: &mut Reader<'_>) -> Result<(ChannelId, &mut Channel), Error> {
        let number = reader.u32()? as usize;
        let channel = self.channels.get_mut(number).and_then(Option::as_mut);
        let channel = channel.ok_or(Error::Malformed("channel number"))?;
        Ok((ChannelId(number as u8), channel))
    }

    fn get(&mut self, id: ChannelId) -> Option<&mut Channel> {
        self.channels.get_mut(id.index()).and_then(Option::as_mut)
    }
}

/// A channel that is not open has no number that the server could know: nothing can be said about
/// it (RFC 4254 section 5.1).
fn known_to_server(channel: &Channel) -> Result<(), Error> {
    match channel.opening {
        Opening::Open => Ok(()),
        _ => Err(Error::Malformed("channel number")),
    }
}

fn with_channel(message: u8, remote: u32) -> Vec<u8> {
    let mut payload = Vec::with_capacity(16);
    payload.put_u8(message);
    payload.put_u32(remote);
    payload
}

fn refuse(
    remote: u32,
    refusal: Refusal,
    text: &str,
    transport: &mut Transport,
) -> Result<Step, Error> {
    let mut payload = with_channel(msg::CHANNEL_OPEN_FAILURE, remote);
    payload.put_u32(refusal as u32);
    payload.put_string(text.as_bytes());
    payload.put_string(b"");
    transport.send(&payload)?;
    Ok(Step::Handled)
}
