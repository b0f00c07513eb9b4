//! The channels that this side opens: `direct-tcpip`, a connection that the server makes for us
//! (RFC 4254 section 7.2), and `session` (section 6).

use alloc::vec::Vec;

use super::{Connection, known_to_server, with_channel};
use crate::channel::{Channel, ChannelId, Opening, Program};
use crate::forward::ForwardId;
use crate::limits::{CHANNEL_PACKET, CHANNEL_WINDOW};
use crate::message::{self as msg, printable};
use crate::transport::Transport;
use crate::wire::{Put, Reader};
use crate::{Error, Event};

/// Stands where an inbound channel has its forward; no forward has this number.
const NO_FORWARD: ForwardId = ForwardId(u8::MAX);

impl Connection {
    /// Asks the server to connect to `host` `port`. `None` when every channel number is taken.
    pub(crate) fn open_direct(
        &mut self,
        host: &str,
        port: u16,
        transport: &mut Transport,
    ) -> Result<Option<ChannelId>, Error> {
        let mut fields = Vec::with_capacity(32 + host.len());
        fields.put_string(host.as_bytes());
        fields.put_u32(u32::from(port));
        // Nobody connected to us: there is no originator to name.
        fields.put_string(b"127.0.0.1");
        fields.put_u32(0);
        self.open("direct-tcpip", &fields, transport)
    }

    /// Opens a session channel. `None` when every channel number is taken.
    pub(crate) fn open_session_channel(
        &mut self,
        transport: &mut Transport,
    ) -> Result<Option<ChannelId>, Error> {
        let opened = self.open("session", &[], transport)?;
        if let Some(channel) = opened.and_then(|id| self.get(id)) {
            channel.is_session = true;
        }
        Ok(opened)
    }

    fn open(
        &mut self,
        kind: &str,
        fields: &[u8],
        transport: &mut Transport,
    ) -> Result<Option<ChannelId>, Error> {
        let Some(index) = self.channels.iter().position(Option::is_none) else {
            return Ok(None);
        };
        let mut payload = Vec::with_capacity(64 + fields.len());
        payload.put_u8(msg::CHANNEL_OPEN);
        payload.put_string(kind.as_bytes());
        payload.put_u32(index as u32);
        payload.put_u32(CHANNEL_WINDOW);
        payload.put_u32(CHANNEL_PACKET);
        payload.put(fields);
        transport.send(&payload)?;
        let mut channel = Channel::new(0, NO_FORWARD, 0, 0);
        channel.opening = Opening::AwaitingServer;
        self.channels[index] = Some(channel);
        Ok(Some(ChannelId(index as u8)))
    }

    /// Asks for the program of a session channel, once.
    pub(crate) fn request_program(
        &mut self,
        id: ChannelId,
        program: Program<'_>,
        transport: &mut Transport,
    ) -> Result<(), Error> {
        let usable = |c: &&mut Channel| c.is_session && c.opening == Opening::Open && !c.close_out;
        let Some(channel) = self.get(id).filter(usable).filter(|c| !c.asked) else {
            return Ok(());
        };
        channel.asked = true;
        let mut payload = with_channel(msg::CHANNEL_REQUEST, channel.remote);
        let (request, command) = match program {
            Program::Shell => ("shell", None),
            Program::Exec(command) => ("exec", Some(command)),
        };
        payload.put_string(request.as_bytes());
        payload.put_boolean(true);
        if let Some(command) = command {
            payload.put_string(command.as_bytes());
        }
        transport.send(&payload)
    }

    /// `SSH_MSG_CHANNEL_SUCCESS` and `_FAILURE` (RFC 4254 section 5.4): only for a program that
    /// was asked for.
    pub(super) fn handle_program_answer(
        &mut self,
        message: u8,
        transport: &Transport,
    ) -> Result<Option<Event<'static>>, Error> {
        let mut reader = Reader::new(&transport.inbound.payload()[1..]);
        let unasked = Error::Unexpected {
            message,
            during: "the connection",
        };
        let Ok((id, channel)) = self.channel(&mut reader) else {
            return Err(unasked);
        };
        if !core::mem::take(&mut channel.asked) {
            return Err(unasked);
        }
        reader.finish()?;
        Ok(Some(Event::ProgramAnswered {
            channel: id,
            done: message == msg::CHANNEL_SUCCESS,
        }))
    }

    /// `SSH_MSG_CHANNEL_REQUEST` of the server: the program of a session channel has ended; nothing else is
    /// known here.
    pub(super) fn handle_channel_request(
        &mut self,
        transport: &mut Transport,
    ) -> Result<Option<Event<'static>>, Error> {
        let mut reader = Reader::new(&transport.inbound.payload()[1..]);
        let (id, channel) = self.channel(&mut reader)?;
        known_to_server(channel)?;
        let Channel {
            remote,
            close_out: closing,
            is_session,
            ..
        } = *channel;
        let request = reader.string()?;
        let wants_reply = reader.boolean()?;
        let status = match request {
            b"exit-status" if is_session => Some(Some(reader.u32()?)),
            b"exit-signal" if is_session => Some(None),
            _ => None,
        };
        // An answer behind our close could name a channel that the peer has let go of.
        if wants_reply && !closing {
            transport.send(&with_channel(msg::CHANNEL_FAILURE, remote))?;
        }
        Ok(status.map(|status| Event::Exited {
            channel: id,
            status,
        }))
    }

    /// `SSH_MSG_CHANNEL_OPEN_CONFIRMATION` (RFC 4254 section 5.1): only for an open of ours that
    /// has no answer yet.
    pub(super) fn handle_opened(
        &mut self,
        transport: &mut Transport,
    ) -> Result<Option<Event<'static>>, Error> {
        let mut reader = Reader::new(&transport.inbound.payload()[1..]);
        let id = self.awaiting_server(reader.u32()?, msg::CHANNEL_OPEN_CONFIRMATION)?;
        let (remote, window, packet) = (reader.u32()?, reader.u32()?, reader.u32()?);
        reader.finish()?;
        if packet == 0 {
            return Err(Error::Malformed("packet size of a channel"));
        }
        let mut channel = Channel::new(remote, NO_FORWARD, window, packet);
        channel.opening = Opening::Open;
        let asked = self.channels[id.index()].take();
        channel.is_session = asked.as_ref().is_some_and(|asked| asked.is_session);
        self.channels[id.index()] = Some(channel);
        // The caller did not wait for the answer.
        if asked.is_some_and(|asked| asked.close_out) {
            self.close(id, transport)?;
            return Ok(None);
        }
        Ok(Some(Event::OpenConfirmed { channel: id }))
    }

    /// `SSH_MSG_CHANNEL_OPEN_FAILURE`, under the same condition.
    pub(super) fn handle_not_opened(
        &mut self,
        transport: &Transport,
    ) -> Result<Event<'static>, Error> {
        let mut reader = Reader::new(&transport.inbound.payload()[1..]);
        let id = self.awaiting_server(reader.u32()?, msg::CHANNEL_OPEN_FAILURE)?;
        let reason = reader.u32()?;
        let text = printable(reader.string()?);
        reader.string()?;
        reader.finish()?;
        self.channels[id.index()] = None;
        Ok(Event::OpenFailed {
            channel: id,
            reason,
            text,
        })
    }

    fn awaiting_server(&self, number: u32, message: u8) -> Result<ChannelId, Error> {
        let awaiting = |c: &&Channel| c.opening == Opening::AwaitingServer;
        let channel = self.channels.get(number as usize).and_then(Option::as_ref);
        channel.filter(awaiting).ok_or(Error::Unexpected {
            message,
            during: "the connection",
        })?;
        Ok(ChannelId(number as u8))
    }
}
