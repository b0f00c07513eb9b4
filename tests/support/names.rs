//! A name server that knows one name, until it falls silent.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// A running name server; it ends with the process.
pub struct NameServer {
    answers: Arc<AtomicBool>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl NameServer {
    /// Listens on 127.0.0.1:53 of the namespace that this is called in, and answers every
    /// question for an A record with these addresses.
    pub fn start(addresses: &[&str]) -> Self {
        let addresses: Vec<Ipv4Addr> = addresses.iter().map(|a| a.parse().unwrap()).collect();
        let socket = UdpSocket::bind("127.0.0.1:53").unwrap();
        let answers = Arc::new(AtomicBool::new(true));
        let answering = answers.clone();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let asking = asked.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                asking.lock().unwrap().push(name(&buffer[..length]));
                if answering.load(Ordering::Relaxed) {
                    let _ = socket.send_to(&answer(&buffer[..length], &addresses), from);
                }
            }
        });
        Self { answers, asked }
    }

    /// The names it was asked for, each with a dot at its end.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// From now on it answers, or nothing.
    pub fn answer(&self, answers: bool) {
        self.answers.store(answers, Ordering::Relaxed);
    }
}

/// The name that a question is about (RFC 1035, 4.1.2).
fn name(query: &[u8]) -> String {
    let (mut name, mut rest) = (String::new(), &query[12..]);
    while let Some((&length @ 1.., after)) = rest.split_first() {
        let (label, after) = after.split_at(length.into());
        name += &format!("{}.", String::from_utf8_lossy(label));
        rest = after;
    }
    name
}

/// The header and the question again, and for type A a record for each address (RFC 1035, 4.1). What follows
/// the question, such as an OPT record, is left out.
fn answer(query: &[u8], addresses: &[Ipv4Addr]) -> Vec<u8> {
    const HEADER: usize = 12;
    let name = query[HEADER..].iter().position(|byte| *byte == 0).unwrap();
    let question = &query[..HEADER + name + 5];
    let is_a = question.ends_with(&[0, 1, 0, 1]);
    let addresses = if is_a { addresses } else { &[] };
    let mut answer = question.to_vec();
    answer[2..4].copy_from_slice(&[0x81, 0x80]);
    answer[6..12].copy_from_slice(&[0, addresses.len() as u8, 0, 0, 0, 0]);
    for address in addresses {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        answer.extend(address.octets());
    }
    answer
}
