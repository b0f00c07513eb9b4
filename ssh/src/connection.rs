//! Global requests in order and the channel table (RFC 4254).

use alloc::vec::Vec;

use crate::channel::{Channel, ChannelId, Opening};
use crate::forward::{Forwards, News, Owner};
use crate::limits::{ADDRESS, CHANNELS, PING};
use crate::message::{self as msg, printable};
use crate::transport::Transport;
use crate::wire::{Put, Reader};
use crate::{Error, Event};

mod commands;
mod hostkeys;
mod outbound;
mod requests;

use hostkeys::HostKeys;
use requests::Requests;

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

/// Header of `SSH_MSG_CHANNEL_DATA` up to the data: number, channel, length.
pub(crate) const DATA_HEADER: usize = 9;

pub(crate) struct Connection {
    forwards: Forwards,
    requests: Requests,
    host_keys: HostKeys,
    channels: [Option<Channel>; CHANNELS],
    /// There may be an open that was not announced.
    newcomers: bool,
}

impl Connection {
    pub(crate) fn new() -> Connection {
        Connection {
            forwards: Forwards::new(),
            requests: Requests::new(),
            host_keys: HostKeys::default(),
            channels: [const { None }; CHANNELS],
            newcomers: false,
        }
    }

    pub(crate) fn handle(
        &mut self,
        transport: &mut Transport,
    ) -> Result<Option<Event<'static>>, Error> {
        let payload = transport.inbound.payload();
        let mut reader = Reader::new(&payload[1..]);
        match payload[0] {
            msg::GLOBAL_REQUEST => {
                let announces = reader.string()? == hostkeys::ANNOUNCE;
                // Nothing that a server can ask is granted here (RFC 4254 section 4).
                if reader.boolean()? {
                    transport.send(&[msg::REQUEST_FAILURE])?;
                }
                Ok(announces.then(|| self.announced(transport)).flatten())
            }
            msg::REQUEST_SUCCESS => self.granted(transport),
            msg::REQUEST_FAILURE => self.refused(transport),
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
            msg::CHANNEL_REQUEST => self.handle_channel_request(transport),
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
            message @ (msg::CHANNEL_SUCCESS | msg::CHANNEL_FAILURE) => {
                self.handle_program_answer(message, transport)
            }
            _ => transport.unimplemented(),
        }
    }

    /// `SSH_MSG_CHANNEL_OPEN` (RFC 4254 sections 5.1 and 7.2; OpenSSH's PROTOCOL, 2.4): only
    /// `forwarded-tcpip` and its Unix counterpart, and only for a forward of ours.
    fn handle_open(&mut self, transport: &mut Transport) -> Result<Option<Event<'static>>, Error> {
        let mut reader = Reader::new(&transport.inbound.payload()[1..]);
        let kind = reader.string()?;
        let remote = reader.u32()?;
        let (window, packet) = (reader.u32()?, reader.u32()?);
        let (address, port, originator, originator_port) = match kind {
            b"forwarded-tcpip" => {
                let (address, port) = (reader.string()?, reader.u32()?);
                (address, port, reader.string()?, reader.u32()?)
            }
            b"forwarded-streamlocal@openssh.com" => {
                let path = reader.string()?;
                // Reserved.
                reader.string()?;
                (path, 0, &b"a socket"[..], 0)
            }
            _ => {
                refuse(remote, Refusal::UnknownType, "not supported", transport)?;
                return Ok(None);
            }
        };
        reader.finish()?;
        let absurd = packet == 0 || address.len() > ADDRESS || originator.len() > ADDRESS;
        let owner = match kind {
            _ if absurd => None,
            b"forwarded-tcpip" => self.forwards.owner_of(address, port),
            _ => self.forwards.owner_of_socket(address),
        };
        let address = printable(address);
        let Some(Owner { id, news }) = owner else {
            let refusal = Refusal::Prohibited;
            refuse(remote, refusal, "not requested", transport)?;
            return Ok(Some(Event::OpenRefused {
                refusal,
                address,
                port,
            }));
        };
        let news = news.map(|news| match news {
            News::Unanswered { port } => {
                self.requests.in_use(id);
                Event::ForwardConfirmed {
                    forward: id,
                    port,
                    replied: false,
                }
            }
            News::Renamed => Event::AddressDiffers {
                forward: id,
                address: address.clone(),
            },
        });
        if let Some(slot) = self.channels.iter_mut().find(|slot| slot.is_none()) {
            let mut channel = Channel::new(remote, id, window, packet);
            channel.originator = printable(originator);
            channel.originator_port = originator_port;
            *slot = Some(channel);
            self.newcomers = true;
            return Ok(news);
        }
        let refusal = Refusal::ResourceShortage;
        refuse(remote, refusal, "too many connections", transport)?;
        Ok(news.or(Some(Event::OpenRefused {
            refusal,
            address,
            port,
        })))
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
            Opening::Announce | Opening::AwaitingCaller | Opening::AwaitingServer
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
) -> Result<(), Error> {
    let mut payload = with_channel(msg::CHANNEL_OPEN_FAILURE, remote);
    payload.put_u32(refusal as u32);
    payload.put_string(text.as_bytes());
    payload.put_string(b"");
    transport.send(&payload)
}
