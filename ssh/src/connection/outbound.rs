//! The one kind of channel that this side opens: `direct-tcpip`, a connection that the server
//! makes for us (RFC 4254 section 7.2).

use alloc::vec::Vec;

use super::Connection;
use crate::channel::{Channel, ChannelId, Opening};
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
        let Some(index) = self.channels.iter().position(Option::is_none) else {
            return Ok(None);
        };
        let mut payload = Vec::with_capacity(96 + host.len());
        payload.put_u8(msg::CHANNEL_OPEN);
        payload.put_string(b"direct-tcpip");
        payload.put_u32(index as u32);
        payload.put_u32(CHANNEL_WINDOW);
        payload.put_u32(CHANNEL_PACKET);
        payload.put_string(host.as_bytes());
        payload.put_u32(u32::from(port));
        // Nobody connected to us: there is no originator to name.
        payload.put_string(b"127.0.0.1");
        payload.put_u32(0);
        transport.send(&payload)?;
        let mut channel = Channel::new(0, NO_FORWARD, 0, 0);
        channel.opening = Opening::AwaitingServer;
        self.channels[index] = Some(channel);
        Ok(Some(ChannelId(index as u8)))
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
        let asked = self.channels[id.index()].replace(channel);
        // The caller did not wait for the answer.
        if asked.is_some_and(|asked| asked.close_out) {
            self.close(id, transport)?;
            return Ok(None);
        }
        Ok(Some(Event::DirectOpened { channel: id }))
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
        Ok(Event::DirectRefused {
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
