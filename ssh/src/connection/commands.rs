//! What the caller does with channels.

use alloc::vec::Vec;

use super::{Connection, DATA_HEADER, Refusal, refuse, with_channel};
use crate::channel::{Channel, ChannelId, Opening};
use crate::limits::{CHANNEL_PACKET, CHANNEL_WINDOW};
use crate::message as msg;
use crate::transport::Transport;
use crate::wire::Put;
use crate::{Error, Event};

impl Connection {
    /// The next inbound open for the caller to judge.
    pub(crate) fn announce(&mut self) -> Option<Event<'static>> {
        if !self.newcomers {
            return None;
        }
        let due = |c: &Option<Channel>| c.as_ref().is_some_and(|c| c.opening == Opening::Announce);
        let index = self.channels.iter().position(due);
        self.newcomers = index.is_some();
        let index = index?;
        let channel = self.channels[index].as_mut()?;
        channel.opening = Opening::AwaitingCaller;
        Some(Event::ChannelOpened {
            channel: ChannelId(index as u8),
            forward: channel.forward,
            originator: core::mem::take(&mut channel.originator),
            originator_port: channel.originator_port,
        })
    }

    pub(crate) fn accept(&mut self, id: ChannelId, transport: &mut Transport) -> Result<(), Error> {
        let Some(channel) = self
            .get(id)
            .filter(|c| c.opening == Opening::AwaitingCaller)
        else {
            return Ok(());
        };
        channel.opening = Opening::Open;
        let mut payload = Vec::with_capacity(17);
        payload.put_u8(msg::CHANNEL_OPEN_CONFIRMATION);
        payload.put_u32(channel.remote);
        payload.put_u32(u32::from(id.0));
        payload.put_u32(CHANNEL_WINDOW);
        payload.put_u32(CHANNEL_PACKET);
        transport.send(&payload)
    }

    pub(crate) fn refuse(
        &mut self,
        id: ChannelId,
        refusal: Refusal,
        text: &str,
        transport: &mut Transport,
    ) -> Result<(), Error> {
        let Some(channel) = self
            .get(id)
            .filter(|c| c.opening == Opening::AwaitingCaller)
        else {
            return self.close(id, transport);
        };
        let remote = channel.remote;
        self.channels[id.index()] = None;
        refuse(remote, refusal, text, transport)
    }

    pub(crate) fn taken(
        &mut self,
        id: ChannelId,
        n: usize,
        transport: &mut Transport,
    ) -> Result<(), Error> {
        let Some(channel) = self.get(id) else {
            return Ok(());
        };
        let remote = channel.remote;
        let Some(grant) = channel.taken(n) else {
            return Ok(());
        };
        let mut payload = with_channel(msg::CHANNEL_WINDOW_ADJUST, remote);
        payload.put_u32(grant);
        transport.send(&payload)
    }

    /// What the peer may send before the target has taken it.
    pub(crate) fn window(&self, id: ChannelId) -> usize {
        let channel = self.channels.get(id.index()).and_then(Option::as_ref);
        channel.map_or(0, |channel| channel.window as usize)
    }

    pub(crate) fn widen(&mut self, id: ChannelId, most: usize) {
        if let Some(channel) = self.get(id) {
            channel.widen(u32::try_from(most).unwrap_or(u32::MAX));
        }
    }

    /// Where the next data packet of a channel is built, of at most `most` bytes; `None` while it
    /// may not be sent.
    pub(crate) fn data_space<'t>(
        &mut self,
        id: ChannelId,
        most: usize,
        transport: &'t mut Transport,
    ) -> Result<Option<&'t mut [u8]>, Error> {
        if !transport.may_send() || !transport.outbound.takes_data() {
            return Ok(None);
        }
        let Some(channel) = self.get(id) else {
            return Ok(None);
        };
        let space = channel.may_send().min(most);
        if space == 0 {
            return Ok(None);
        }
        let mut header = with_channel(msg::CHANNEL_DATA, channel.remote);
        header.put_u32(0);
        transport.outbound.data_space(&header, space).map(Some)
    }

    /// True while [`Connection::data_space`] would give room.
    pub(crate) fn takes_data(&self, id: ChannelId, transport: &Transport) -> bool {
        transport.may_send() && transport.outbound.takes_data() && self.peer_takes_data(id)
    }

    /// True while the peer's window has room.
    pub(crate) fn peer_takes_data(&self, id: ChannelId) -> bool {
        let channel = self.channels.get(id.index()).and_then(Option::as_ref);
        channel.is_some_and(|channel| channel.may_send() > 0)
    }

    pub(crate) fn data_filled(
        &mut self,
        id: ChannelId,
        n: usize,
        transport: &mut Transport,
    ) -> Result<(), Error> {
        if let Some(channel) = self.get(id) {
            channel.sent(n);
        }
        transport
            .outbound
            .commit_data(DATA_HEADER, n, &mut *transport.rng)
    }

    pub(crate) fn eof(&mut self, id: ChannelId, transport: &mut Transport) -> Result<(), Error> {
        match self
            .get(id)
            .filter(|c| c.opening == Opening::Open && !c.eof_out && !c.close_out)
        {
            Some(channel) => {
                channel.eof_out = true;
                transport.send(&with_channel(msg::CHANNEL_EOF, channel.remote))
            }
            None => Ok(()),
        }
    }

    pub(crate) fn close(&mut self, id: ChannelId, transport: &mut Transport) -> Result<(), Error> {
        match self.get(id).filter(|c| !c.close_out) {
            // To be closed as soon as its number is known.
            Some(channel) if channel.opening == Opening::AwaitingServer => {
                channel.close_out = true;
                Ok(())
            }
            Some(channel) if channel.opening == Opening::Open => {
                channel.close_out = true;
                transport.send(&with_channel(msg::CHANNEL_CLOSE, channel.remote))
            }
            _ => Ok(()),
        }
    }
}
