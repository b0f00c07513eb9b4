//! A gate in front of an SSH server, which can make it fall silent at a chosen stage.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::netns::SERVER;
use crate::support::process::Lines;
use crate::world::{GATE, SSH};

/// Where a new connection comes to a halt.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Stage {
    /// The server accepts and says nothing.
    Ident,
    /// It stops in the middle of its first packet of the key exchange.
    KeyExchange,
    /// It never answers the request for authentication.
    Authentication,
    /// It never answers what is asked for after that, such as a forward.
    Forward,
}

#[derive(Default)]
struct State {
    stage: Option<Stage>,
    stalled: Option<Instant>,
    given_up: Option<Instant>,
}

/// A running gate; it ends with the process.
pub struct Gate(Arc<Mutex<State>>);

/// Held back before it is passed on, so that the server's log is read before its answer.
const DELAY: Duration = Duration::from_millis(100);

impl Gate {
    /// Listens in the namespace that this is called in. `log` is the server's.
    pub fn start(log: Lines) -> Self {
        let listener = TcpListener::bind((SERVER, GATE)).unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect((SERVER, SSH)) else {
                    continue;
                };
                serve(client, server, &shared, &log);
            }
        });
        Self(state)
    }

    /// Stalls connections that are made from now on; `None` lets them pass again.
    pub fn stall(&self, stage: Option<Stage>) {
        self.0.lock().unwrap().stage = stage;
    }

    /// When the first connection came to its halt.
    pub fn stalled(&self) -> Option<Instant> {
        self.0.lock().unwrap().stalled
    }

    /// When the client closed that connection.
    pub fn given_up(&self) -> Option<Instant> {
        self.0.lock().unwrap().given_up
    }
}

fn serve(client: TcpStream, server: TcpStream, state: &Arc<Mutex<State>>, log: &Lines) {
    let mark = log.mark();
    let stage = state.lock().unwrap().stage;
    for to_client in [true, false] {
        let (from, to) = if to_client {
            (server.try_clone().unwrap(), client.try_clone().unwrap())
        } else {
            (client.try_clone().unwrap(), server.try_clone().unwrap())
        };
        let pump = Pump {
            stage,
            to_client,
            mark,
            log: log.clone(),
            state: state.clone(),
        };
        std::thread::spawn(move || pump.run(from, to));
    }
}

struct Pump {
    stage: Option<Stage>,
    to_client: bool,
    mark: usize,
    log: Lines,
    state: Arc<Mutex<State>>,
}

impl Pump {
    fn run(self, mut from: TcpStream, mut to: TcpStream) {
        let mut buffer = [0; 16384];
        let mut passed = 0;
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            if self.stage.is_some() {
                std::thread::sleep(DELAY);
            }
            let allowed = self.allowed(passed, &buffer[..count]);
            // A stalled connection ends when the client ends it, not with the server's session.
            if to.write_all(&buffer[..allowed]).is_err() && self.stage.is_none() {
                break;
            }
            passed += allowed;
            if allowed < count {
                self.state
                    .lock()
                    .unwrap()
                    .stalled
                    .get_or_insert_with(Instant::now);
            }
        }
        if self.to_client && self.stage.is_some() {
            // Whatever the server does, the client hears nothing of it.
            return;
        }
        let mut state = self.state.lock().unwrap();
        if self.stage.is_some() && state.stalled.is_some() {
            state.given_up.get_or_insert_with(Instant::now);
        }
        drop(state);
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }

    /// How much of what arrived is passed on.
    fn allowed(&self, passed: usize, data: &[u8]) -> usize {
        let logged = |text: &str| self.log.all()[self.mark..].iter().any(|l| l.contains(text));
        let halt = match (self.stage, self.to_client) {
            (Some(Stage::Ident), true) => true,
            (Some(Stage::KeyExchange), true) => return half_of_a_packet(passed, data),
            (Some(Stage::Authentication), true) => logged("userauth-request for user"),
            (Some(Stage::Forward), false) => logged("Accepted publickey"),
            _ => false,
        };
        if halt { 0 } else { data.len() }
    }
}

/// The version line, and 100 bytes of the packet after it (RFC 4253, 4.2 and 6).
fn half_of_a_packet(passed: usize, data: &[u8]) -> usize {
    const MORE: usize = 100;
    let line_ends = data.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
    match line_ends {
        Some(end) if passed == 0 => data.len().min(end + MORE),
        _ if passed < MORE => data.len().min(MORE),
        _ => 0,
    }
}
