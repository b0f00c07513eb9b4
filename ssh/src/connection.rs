//! Global requests in order and the channel table (RFC 4254).

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::channel::{Channel, ChannelId, Opening};
use crate::forward::{Belongs, ForwardId, Forwards};
use crate::limits::{ADDRESS, CHANNELS, GLOBAL_REQUESTS, KEEPALIVES, PING};
use crate::message::{self as msg, printable};
use crate::transport::Transport;
use crate::wire::{Put, Reader};
use crate::{Error, Event};

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

/// Header of `SSH_MSG_CHANNEL_DATA` up to the data: number, channel, length.
pub(crate) const DATA_HEADER: usize = 9;

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
        transport: &mut Transport,
    ) -> Result<Option<Event<'static>>, Error> {
        let payload = transport.inbound.payload();
        let mut reader = Reader::new(&payload[1..]);
        match payload[0] {
            msg::GLOBAL_REQUEST => {
                reader.string()?;
                // Nothing that a server can ask is known here (RFC 4254 section 4).
                if reader.boolean()? {
                    transport.send(&[msg::REQUEST_FAILURE])?;
                }
                Ok(None)
            }
            msg::REQUEST_SUCCESS => self.granted(transport).map(Some),
            msg::REQUEST_FAILURE => self.refused(transport).map(Some),
            msg::CHANNEL_OPEN => self.handle_open(transport),
            msg::CHANNEL_WINDOW_ADJUST => {
                let (_, channel) = self.channel(&mut reader)?;
                known_to_server(channel)?;
                channel.granted(reader.u32()?)?;
                reader.finish()?;
                Ok(None)
            }
            msg::CHANNEL_DATA => {
                let (id, channel) = self.channel(&mut reader)?;
                let n = reader.string()?.len();
                reader.finish()?;
                channel.received(n)?;
                if channel.close_out {
                    self.taken(id, n, transport)?;
                    return Ok(None);
                }
                // The payload is lent to the event when it is handed out.
                Ok(Some(Event::ChannelData {
                    channel: id,
                    data: &[],
                }))
            }
            msg::CHANNEL_EXTENDED_DATA => self.handle_extended_data(transport),
            msg::CHANNEL_EOF => {
                let (id, channel) = self.channel(&mut reader)?;
                if channel.opening != Opening::Open || channel.eof_in {
                    return Err(Error::Malformed("order of channel ends"));
                }
                channel.eof_in = true;
                reader.finish()?;
                let told = !channel.close_out;
                Ok(told.then_some(Event::ChannelEof { channel: id }))
            }
            msg::CHANNEL_CLOSE => self.handle_close(transport),
            msg::CHANNEL_REQUEST => {
                let channel = self.channel(&mut reader)?.1;
                known_to_server(channel)?;
                let (remote, closing) = (channel.remote, channel.close_out);
                reader.string()?;
                // An answer behind our close could name a channel that the peer has let go of.
                if reader.boolean()? && !closing {
                    transport.send(&with_channel(msg::CHANNEL_FAILURE, remote))?;
                }
                Ok(None)
            }
            msg::PING => {
                let data = reader.string()?;
                if data.len() <= PING {
                    let mut pong = Vec::with_capacity(5 + data.len());
                    pong.put_u8(msg::PONG);
                    pong.put_string(data);
                    transport.send(&pong)?;
                }
                Ok(None)
            }
            msg::CHANNEL_OPEN_CONFIRMATION => self.handle_opened(transport),
            msg::CHANNEL_OPEN_FAILURE => self.handle_not_opened(transport).map(Some),
            // Answers to what this client never asks.
            message @ (msg::CHANNEL_SUCCESS | msg::CHANNEL_FAILURE) => Err(Error::Unexpected {
                message,
                during: "the connection",
            }),
            _ => transport.unimplemented(),
        }
    }

    fn next_asked(&mut self) -> Result<Asked, Error> {
        let asked = self.asked.pop_front();
        asked.ok_or(Error::Malformed("order of replies"))
    }

    /// `SSH_MSG_REQUEST_SUCCESS`.
    fn granted(&mut self, transport: &Transport) -> Result<Event<'static>, Error> {
        Ok(match self.next_asked()? {
            Asked::Keepalive => Event::KeepaliveAnswered,
            Asked::Forward(forward) => {
                let reply = &transport.inbound.payload()[1..];
                let port = self.forwards.confirmed(forward, reply)?;
                self.announce_waiting(forward);
                Event::ForwardConfirmed { forward, port }
            }
            Asked::Cancel(forward) => {
                self.forwards.remove(forward);
                Event::ForwardCancelled {
                    forward,
                    done: true,
                }
            }
        })
    }

    /// `SSH_MSG_REQUEST_FAILURE`.
    fn refused(&mut self, transport: &mut Transport) -> Result<Event<'static>, Error> {
        Ok(match self.next_asked()? {
            // Any answer proves life: OpenSSH says failure, others success.
            Asked::Keepalive => Event::KeepaliveAnswered,
            Asked::Forward(forward) => {
                self.forwards.remove(forward);
                self.refuse_orphans(forward, transport)?;
                Event::ForwardRefused { forward }
            }
            Asked::Cancel(forward) => {
                self.forwards.kept(forward);
                Event::ForwardCancelled {
                    forward,
                    done: false,
                }
            }
        })
    }

    fn announce_waiting(&mut self, id: ForwardId) {
        let waiting = |c: &&mut Channel| c.forward == id && c.opening == Opening::AwaitingForward;
        for channel in self.channels.iter_mut().flatten().filter(waiting) {
            channel.opening = Opening::Announce;
        }
    }

    /// `SSH_MSG_CHANNEL_OPEN` (RFC 4254 sections 5.1 and 7.2; OpenSSH's PROTOCOL, 2.4): only
    /// `forwarded-tcpip` and its Unix counterpart, and only for a forward of ours.
    fn handle_open(&mut self, transport: &mut Transport) -> Result<Option<Event<'static>>, Error> {
        let mut reader = Reader::new(&transport.inbound.payload()[1..]);
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
        Ok(None)
    }

    /// Data that is not the stream's own has no place in a forward: it is dropped, and its
    /// window granted again.
    fn handle_extended_data(
        &mut self,
        transport: &mut Transport,
    ) -> Result<Option<Event<'static>>, Error> {
        let mut reader = Reader::new(&transport.inbound.payload()[1..]);
        let (id, channel) = self.channel(&mut reader)?;
        reader.u32()?;
        let n = reader.string()?.len();
        reader.finish()?;
        channel.received(n)?;
        self.taken(id, n, transport)?;
        Ok(None)
    }

    fn handle_close(&mut self, transport: &mut Transport) -> Result<Option<Event<'static>>, Error> {
        let mut reader = Reader::new(&transport.inbound.payload()[1..]);
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
        Ok(Some(Event::ChannelClosed { channel: id }))
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
) -> Result<Option<Event<'static>>, Error> {
    let mut payload = with_channel(msg::CHANNEL_OPEN_FAILURE, remote);
    payload.put_u32(refusal as u32);
    payload.put_string(text.as_bytes());
    payload.put_string(b"");
    transport.send(&payload)?;
    Ok(None)
}
