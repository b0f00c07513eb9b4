//! A name server's answer, and a datagram of rtnetlink(7).
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../src/net/resolve/message.rs"]
#[allow(dead_code)]
mod dns;
#[path = "../../src/net/link/message.rs"]
#[allow(dead_code)]
mod rtnetlink;

use dns::{ADDRESSES, Answer, Question, Record};

fuzz_target!(|bytes: &[u8]| {
    rtnetlink::read(bytes, |_| {});
    let Some((&kind, bytes)) = bytes.split_first() else {
        return;
    };
    let record = if kind & 1 == 0 {
        Record::A
    } else {
        Record::Aaaa
    };
    let Some(question) = Question::new(0x1234, "server.example", record) else {
        panic!("a name is a name");
    };
    // An answer begins as its question, but for the flags and the counts.
    let mut answer = question.bytes().to_vec();
    let counts = bytes.len().min(10);
    answer[2..2 + counts].copy_from_slice(&bytes[..counts]);
    answer.extend_from_slice(&bytes[counts..]);
    for datagram in [bytes, &answer[..]] {
        if let Answer::Addresses(addresses) = question.read(datagram) {
            assert!(addresses.len() <= ADDRESSES);
        }
    }
});
