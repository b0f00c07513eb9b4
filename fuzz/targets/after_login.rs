//! A server that is who it says, and sends any messages after login, while connections that it
//! opened are being served. Its own conduct is not judged; the client's is.
#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use reachback_sim::duo::{Chunks, Duo, OnOpen, Seen};
use reachback_sim::server::Knobs;
use reachback_ssh::Program;
use reachback_ssh::limits::CHANNELS;

/// The longest message, bytes: its length is one byte of the input.
const MESSAGE_BYTES: usize = 255;

/// The channels that there are, as the client's events tell it.
#[derive(Default)]
struct Open {
    channels: BTreeSet<usize>,
    read: usize,
}

impl Open {
    fn judge(&mut self, duo: &Duo) {
        for seen in &duo.seen[self.read..] {
            match seen {
                Seen::Opened { channel, forward } => {
                    assert_eq!(*forward, 0, "a channel of a forward that was not asked for");
                    assert!(duo.on_open == OnOpen::Refuse || self.channels.insert(*channel));
                }
                Seen::OpenConfirmed { channel } => assert!(self.channels.insert(*channel)),
                Seen::Data { channel, .. } | Seen::Eof { channel } => {
                    assert!(self.channels.contains(channel), "{channel} is not open");
                }
                Seen::Closed { channel } => assert!(self.channels.remove(channel)),
                _ => {}
            }
        }
        assert!(self.channels.len() <= CHANNELS);
        self.read = duo.seen.len();
    }
}

fuzz_target!(|input: &[u8]| {
    let mut duo = Duo::new(Knobs::default(), Chunks::Whole);
    duo.run();
    assert!(duo.is_up());
    let mut open = Open::default();
    let mut rest = input;
    let mut sessions = Vec::new();
    while let Some((&what, tail)) = rest.split_first() {
        rest = tail;
        match what {
            0 => duo.on_open = OnOpen::Echo,
            1 => duo.on_open = OnOpen::Wait,
            2 => duo.on_open = OnOpen::Refuse,
            3 => {
                duo.server.open("localhost", 1111);
            }
            4 => duo.targets_take = !duo.targets_take,
            5 => duo.server_reads = !duo.server_reads,
            6 => duo.pass(60_000),
            7 => {
                let asked = duo.client.keepalive();
                duo.check(asked);
            }
            8 => {
                let asked = duo.client.open_direct("localhost", 1111);
                duo.check(asked);
            }
            9 => {
                if let Ok(Some(id)) = duo.client.open_session_channel() {
                    sessions.push(id);
                }
            }
            10 => {
                for id in &sessions {
                    let asked = duo.client.request_program(*id, Program::Exec("true"));
                    duo.check(asked);
                }
            }
            _ => {
                let length = usize::from(what).min(rest.len()).min(MESSAGE_BYTES);
                let (message, tail) = rest.split_at(length);
                rest = tail;
                if !message.is_empty() {
                    duo.server.send_now(message);
                }
            }
        }
        duo.run();
        open.judge(&duo);
        if duo.error.is_some() {
            return;
        }
    }
});
