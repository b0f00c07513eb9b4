//! A server that sends any bytes instead of an SSH conversation.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reachback_sim::duo::{NEVER, Seen, client};
use reachback_ssh::limits::{INBOUND_BUFFER, OUTBOUND_BUFFER};

fuzz_target!(|bytes: &[u8]| {
    let mut client = client(NEVER, 1, 0);
    let mut rest = bytes;
    loop {
        let space = client.input_space();
        assert!(space.len() <= INBOUND_BUFFER);
        let n = space.len().min(rest.len()).min(97);
        space[..n].copy_from_slice(&rest[..n]);
        rest = &rest[n..];
        client.handle_input(n, 0);
        loop {
            match client.poll_event() {
                Ok(None) => break,
                Ok(Some(event)) => match Seen::from(event) {
                    // Without the secret of a key exchange nobody proves a key.
                    Seen::HostKey(_) | Seen::Authenticated => panic!("a forged host key"),
                    _ => {}
                },
                Err(_) => return,
            }
        }
        assert!(client.poll_output().len() <= OUTBOUND_BUFFER);
        if n == 0 {
            return;
        }
    }
});
