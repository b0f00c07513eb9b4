//! The simulated server as a real peer on loopback, which floods its client on demand.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;

use nix::poll::{PollFd, PollFlags, poll};
use reachback_sim::server::{Knobs, Server};

/// Bytes of a flood that are sealed before it begins, so that the client is the slower one.
const PREPARED: usize = 24 << 20;
/// Unwritten bytes from which on no more are sealed: the socket never runs dry.
const AHEAD: usize = 256 * 1024;
/// Bytes read at once.
const READ: usize = 64 * 1024;
/// Milliseconds after which a thread with nothing to do looks whether it is to go on.
const PAUSE_MS: u16 = 5;

/// What a server does to flood its client.
#[derive(Clone)]
pub struct Flood {
    /// Done once, before it begins.
    pub begin: fn(&mut Server),
    /// The payload that is sent again and again, once there is one.
    pub payload: fn(&Server) -> Option<Vec<u8>>,
    /// Whether the server reads while it floods.
    pub reads: bool,
}

/// A server that serves one connection in a thread of its own, until it is dropped.
pub struct Simulated {
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    shared: Arc<Shared>,
    thread: Option<thread::JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    flooding: AtomicBool,
    ended: AtomicBool,
    written: AtomicU64,
    lost: AtomicBool,
}

impl Simulated {
    /// Listens; `flood` is what [`Simulated::flood`] begins.
    pub fn start(flood: Flood) -> Simulated {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared::default());
        let thread = thread::spawn({
            let shared = shared.clone();
            move || {
                let stream = listener.accept().unwrap().0;
                stream.set_nonblocking(true).unwrap();
                serve(stream, &flood, &shared);
            }
        });
        Simulated {
            port,
            shared,
            thread: Some(thread),
        }
    }

    /// Floods from now on.
    pub fn flood(&self) {
        self.shared.flooding.store(true, Relaxed);
    }

    /// Bytes that the client's machine took so far.
    pub fn written(&self) -> u64 {
        self.shared.written.load(Relaxed)
    }

    /// The client ended the connection, or broke a rule.
    pub fn is_lost(&self) -> bool {
        self.shared.lost.load(Relaxed)
    }
}

impl Drop for Simulated {
    fn drop(&mut self) {
        self.shared.ended.store(true, Relaxed);
        // A client that never came is still waited for.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(mut stream: TcpStream, flood: &Flood, shared: &Shared) {
    let mut server = Server::new(Knobs {
        keeps_log: false,
        ..Knobs::default()
    });
    let (mut begun, mut ahead) = (false, PREPARED);
    let (mut output, mut written) = (Vec::new(), 0);
    while !shared.ended.load(Relaxed) {
        let flooding = shared.flooding.load(Relaxed);
        let reads = flood.reads || !flooding;
        if reads && !read(&mut stream, &mut server) {
            break;
        }
        if flooding && !begun {
            (flood.begin)(&mut server);
            begun = true;
        }
        output.drain(..std::mem::take(&mut written));
        while flooding && output.len() < ahead {
            let Some(payload) = (flood.payload)(&server) else {
                break;
            };
            (0..64).for_each(|_| server.send(&payload));
            let more = server.take_output();
            if more.is_empty() {
                // Keys are being exchanged, or the client said goodbye.
                break;
            }
            output.extend(more);
        }
        if output.len() >= PREPARED {
            ahead = AHEAD;
        }
        output.extend(server.take_output());
        loop {
            match stream.write(&output[written..]) {
                Ok(0) => break,
                Ok(n) => {
                    written += n;
                    shared.written.fetch_add(n as u64, Relaxed);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return lost(&server, shared),
            }
        }
        let mut wanted = PollFlags::empty();
        wanted.set(PollFlags::POLLIN, reads);
        wanted.set(PollFlags::POLLOUT, written < output.len());
        let _ = poll(&mut [PollFd::new(stream.as_fd(), wanted)], PAUSE_MS);
    }
    lost(&server, shared);
}

fn lost(server: &Server, shared: &Shared) {
    assert_eq!(server.violations, Vec::<String>::new());
    shared.lost.store(true, Relaxed);
}

/// False at the end of the connection.
fn read(stream: &mut TcpStream, server: &mut Server) -> bool {
    let mut bytes = vec![0; READ];
    match stream.read(&mut bytes) {
        Ok(0) => false,
        Ok(n) => {
            server.handle_input(&bytes[..n]);
            true
        }
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    }
}
