//! What one client may take from the heap, whatever the server does. Alone in its process: the
//! count is of everything that is allocated in it.
#![allow(clippy::unwrap_used)]

use peak_alloc::PeakAlloc;
use reachback_sim::duo::{Chunks, Duo, NEVER, OnOpen, client};
use reachback_sim::server::numbers::*;
use reachback_sim::server::{Knobs, Stall};
use reachback_ssh::Rekey;
use reachback_ssh::limits::{
    CHANNELS, HELD_MESSAGES, INBOUND_BUFFER, OUTBOUND_BUFFER, PACKET_LENGTH,
};
use reachback_ssh::wire::Put;

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// The two buffers, what is held in an exchange of keys with one copy while it is let go, an
/// exchange under way, and one message that is being handled.
const CAP: usize = INBOUND_BUFFER + OUTBOUND_BUFFER + 2 * HELD_MESSAGES + 24 * 1024 + PACKET_LENGTH;

/// Heap in use while `work` runs, over what was in use before.
fn most<T>(work: impl FnOnce() -> T) -> (T, usize) {
    HEAP.reset_peak_usage();
    let before = HEAP.current_usage();
    let result = work();
    (result, HEAP.peak_usage().saturating_sub(before))
}

/// Lets the client alone handle what the server has made, so that only its own memory counts.
fn swallow(duo: &mut Duo) -> usize {
    let bytes = duo.server.take_output();
    let mut rest = &bytes[..];
    let (_, peak) = most(|| {
        while !rest.is_empty() {
            let space = duo.client.input_space();
            let n = space.len().min(rest.len());
            space[..n].copy_from_slice(&rest[..n]);
            rest = &rest[n..];
            duo.client.handle_input(n, 0);
            while let Ok(Some(_)) = duo.client.poll_event() {}
            let written = duo.client.poll_output().len();
            duo.client.handle_written(written);
            if n == 0 && written == 0 {
                // It is over, and nobody asks what still comes.
                break;
            }
        }
    });
    peak
}

#[test]
fn a_client_stays_under_its_cap_whatever_the_server_does() {
    let (fresh, new) = most(|| client(NEVER, 1, 0));
    assert!(new <= CAP, "a new client takes {new} bytes");
    assert!(new >= INBOUND_BUFFER + OUTBOUND_BUFFER, "the count counts");
    drop(fresh);

    // What a client adds to that while it works.
    let spare = CAP - new;
    let knobs = || Knobs {
        keeps_log: false,
        ..Knobs::default()
    };
    let rekey = Rekey {
        bytes: u64::MAX,
        interval_ms: 1_000,
    };
    let check = |what: &str, mut duo: Duo| {
        let peak = swallow(&mut duo);
        assert!(peak <= spare, "{what}: {peak} bytes more, {spare} to spare");
    };

    let mut duo = Duo::new(knobs(), Chunks::Whole);
    duo.on_open = OnOpen::Wait;
    duo.run();
    for _ in 0..10 * CHANNELS {
        duo.server.open("localhost", 1111);
        let origin = "o".repeat(20_000);
        duo.server.open(&origin, 1111);
    }
    check("opens", duo);

    let mut duo = Duo::new(knobs(), Chunks::Whole);
    duo.run();
    let mut request = vec![GLOBAL_REQUEST];
    request.put_string(&vec![b'r'; 30_000]);
    request.put_boolean(true);
    for _ in 0..2_000 {
        duo.server.send(&request[..]);
    }
    check("requests", duo);

    let mut duo = Duo::with_rekey(knobs(), Chunks::Whole, rekey);
    duo.run();
    duo.server.knobs.stall = Some(Stall::KexInit);
    duo.pass(1_000);
    for _ in 0..20_000 {
        duo.server.send(&[255]);
    }
    check("unknown messages in an exchange of keys", duo);

    let mut duo = Duo::new(knobs(), Chunks::Whole);
    duo.run();
    for _ in 0..500 {
        let mut info = vec![EXT_INFO];
        info.put_u32(1);
        info.put_string(b"server-sig-algs");
        info.put_string(&vec![b'a'; 30_000]);
        duo.server.send(&info);
        let mut farewell = vec![USERAUTH_BANNER];
        farewell.put_string(&vec![b'b'; 30_000]);
        duo.server.send(&farewell);
    }
    check("long texts", duo);

    let mut duo = Duo::new(
        Knobs {
            stall: Some(Stall::Ident),
            ..knobs()
        },
        Chunks::Whole,
    );
    duo.server.send_raw(&[b'l'; 1 << 20]);
    check("a line without end", duo);
}
