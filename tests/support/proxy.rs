//! A TCP proxy on loopback that can cut or freeze the connections through it,
//! as a bad line does.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[derive(Default)]
struct State {
    frozen: AtomicBool,
    stop: AtomicBool,
    accepted: AtomicUsize,
    streams: Mutex<Vec<TcpStream>>,
}

/// A running proxy.
pub struct Proxy {
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    state: Arc<State>,
}

const TICK: Duration = Duration::from_millis(20);

impl Proxy {
    /// Forwards connections to `to_port` on 127.0.0.1.
    pub fn start(to_port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State::default());
        let shared = state.clone();
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                if shared.stop.load(Ordering::Relaxed) {
                    return;
                }
                shared.accepted.fetch_add(1, Ordering::Relaxed);
                let Ok(far) = TcpStream::connect(("127.0.0.1", to_port)) else {
                    continue;
                };
                for (from, to) in [(&near, &far), (&far, &near)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    shared
                        .streams
                        .lock()
                        .unwrap()
                        .push(from.try_clone().unwrap());
                    let state = shared.clone();
                    std::thread::spawn(move || pump(from, to, &state));
                }
            }
        });
        Self { port, state }
    }

    /// Closes every connection; new ones are served.
    pub fn cut(&self) {
        for stream in self.state.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// From now on the connections there are carry nothing, and stay open.
    /// New ones work.
    pub fn freeze(&self) {
        self.state.frozen.store(true, Ordering::Relaxed);
        // Pumps look at the flag on every turn; later ones start unfrozen.
        std::thread::sleep(TICK * 5);
        self.state.frozen.store(false, Ordering::Relaxed);
    }

    /// How many connections there have been.
    pub fn accepted(&self) -> usize {
        self.state.accepted.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        self.cut();
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, state: &State) {
    from.set_read_timeout(Some(TICK)).unwrap();
    let mut buffer = [0; 16384];
    loop {
        if state.frozen.load(Ordering::Relaxed) {
            // Silent for good: the table keeps the streams open until `cut`.
            return;
        }
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => {
                if to.write_all(&buffer[..n]).is_err() {
                    break;
                }
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
