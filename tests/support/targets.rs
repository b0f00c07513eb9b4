//! The services that forwards lead to, and the people who use them.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use ring::digest::{Context, SHA256};

use super::{patience, wait_until};

/// A TCP service on loopback; each connection is handled in its own thread.
pub struct Target {
    /// Where it listens.
    pub address: SocketAddr,
    stop: Arc<AtomicBool>,
    hits: Arc<AtomicUsize>,
    /// Of a stuck target: the connections, and how many it has ever held.
    held: Arc<Mutex<(Vec<TcpStream>, usize)>>,
}

impl Target {
    /// Serves with `handle` on a free port.
    pub fn start(handle: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), handle)
    }

    /// Serves with `handle` on this listener.
    pub fn on(listener: TcpListener, handle: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let address = listener.local_addr().unwrap();
        let (stop, hits) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicUsize::new(0)),
        );
        let held = Arc::default();
        let (stopped, counted, handle) = (stop.clone(), hits.clone(), Arc::new(handle));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                counted.fetch_add(1, Ordering::Relaxed);
                let handle = handle.clone();
                std::thread::spawn(move || handle(stream));
            }
        });
        Self {
            address,
            stop,
            hits,
            held,
        }
    }

    /// Sends back what it gets, and EOF after EOF.
    pub fn echo() -> Self {
        Self::start(echo)
    }

    /// Answers one HTTP request with `body`.
    pub fn http(body: &'static str) -> Self {
        Self::start(move |stream| respond(stream, body))
    }

    /// The same on this listener.
    pub fn http_on(listener: TcpListener, body: &'static str) -> Self {
        Self::on(listener, move |stream| respond(stream, body))
    }

    /// Sends `count` bytes of the pattern, then EOF.
    pub fn source(count: usize) -> Self {
        Self::start(move |mut stream| {
            let _ = send_pattern(&mut stream, count);
            let _ = stream.shutdown(Shutdown::Write);
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        })
    }

    /// Reads to EOF, then answers with the SHA-256 of what came, in hex.
    pub fn digest() -> Self {
        Self::start(|mut stream| {
            let (_, digest) = receive(&mut stream);
            let _ = stream.write_all(digest.as_bytes());
        })
    }

    /// Accepts and then neither reads, writes nor closes while it exists.
    pub fn stuck() -> Self {
        let held = Arc::new(Mutex::new((Vec::new(), 0)));
        let keep = held.clone();
        let mut target = Self::start(move |stream| {
            let mut held = keep.lock().unwrap();
            held.0.push(stream);
            held.1 += 1;
        });
        target.held = held;
        target
    }

    /// How many connections it has had.
    pub fn hits(&self) -> usize {
        self.hits.load(Ordering::Relaxed)
    }

    /// Closes the connections that a stuck target holds.
    pub fn release(&self) {
        // One that was counted may not be held yet.
        wait_until("it holds all that came", patience(), || {
            self.held.lock().unwrap().1 == self.hits()
        });
        self.held.lock().unwrap().0.clear();
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
    }
}

fn echo(mut stream: TcpStream) {
    let Ok(mut reader) = stream.try_clone() else {
        return;
    };
    let _ = std::io::copy(&mut reader, &mut stream);
    let _ = stream.shutdown(Shutdown::Write);
}

fn respond(mut stream: TcpStream, body: &str) {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => request.push(byte[0]),
            _ => return,
        }
    }
    let head = format!("HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    let _ = stream.write_all(format!("{head}{body}").as_bytes());
    let _ = stream.shutdown(Shutdown::Write);
}

/// Connects to the server's side of a forward.
pub fn dial(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(patience())).unwrap();
    stream.set_write_timeout(Some(patience())).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Fills a connection to a target that does not read, until nothing more is taken for half a
/// second.
pub fn fill(port: u16) -> TcpStream {
    let mut stream = dial(port);
    let brief = std::time::Duration::from_millis(500);
    stream.set_write_timeout(Some(brief)).unwrap();
    while stream.write(&[0; BLOCK]).is_ok() {}
    stream
}

/// Sends `data` and EOF, and returns all that comes back.
pub fn exchange(port: u16, data: &[u8]) -> Vec<u8> {
    let mut stream = dial(port);
    stream.write_all(data).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    stream
        .read_to_end(&mut answer)
        .expect("an answer and its end");
    answer
}

/// Fetches a page as an HTTP client does and returns its body.
pub fn fetch(port: u16) -> String {
    let mut stream = dial(port);
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .expect("an answer and its end");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an HTTP answer");
    assert!(head.starts_with("HTTP/1.0 200 "), "{head}");
    body.to_owned()
}

const BLOCK: usize = 64 * 1024;

/// A block of the pattern: noise that differs from block to block.
fn block(index: usize) -> [u8; BLOCK] {
    let mut bytes = [0; BLOCK];
    let mut state = 0x9E37_79B9_7F4A_7C15_u64 ^ (index as u64 + 1);
    for eight in bytes.chunks_exact_mut(8) {
        // xorshift64 (Marsaglia 2003)
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        eight.copy_from_slice(&state.to_le_bytes());
    }
    bytes
}

/// Writes `count` bytes of the pattern and returns their SHA-256.
pub fn send_pattern(stream: &mut TcpStream, count: usize) -> std::io::Result<String> {
    let mut context = Context::new(&SHA256);
    let mut left = count;
    for index in 0.. {
        if left == 0 {
            break;
        }
        let bytes = block(index);
        let part = &bytes[..left.min(BLOCK)];
        context.update(part);
        stream.write_all(part)?;
        left -= part.len();
    }
    Ok(hex(context))
}

/// SHA-256 of the first `count` bytes of the pattern.
pub fn pattern_digest(count: usize) -> String {
    let mut context = Context::new(&SHA256);
    for index in 0..count.div_ceil(BLOCK) {
        context.update(&block(index)[..(count - index * BLOCK).min(BLOCK)]);
    }
    hex(context)
}

/// Reads to EOF: how many bytes came, and their SHA-256.
pub fn receive(stream: &mut TcpStream) -> (usize, String) {
    let mut context = Context::new(&SHA256);
    let mut buffer = vec![0; 256 * 1024];
    let mut total = 0;
    while let Ok(n @ 1..) = stream.read(&mut buffer) {
        context.update(&buffer[..n]);
        total += n;
    }
    (total, hex(context))
}

fn hex(context: Context) -> String {
    context
        .finish()
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
