//! An HTTP proxy on loopback that takes `CONNECT` (RFC 9110 section 9.3.6).

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// What it does with a request.
#[derive(Clone, Debug)]
pub enum Answer {
    /// It leads to the port that was asked for, on 127.0.0.1, whatever the host; `HTTP/1.1 502` where
    /// nobody accepts.
    Lead,
    /// The same, once it was told this login in base64; `HTTP/1.1 407` without.
    LeadKnown(String),
    /// It says this and closes.
    Say(&'static str),
    /// It says nothing.
    Silence,
}

struct State {
    answer: Mutex<Answer>,
    requests: Mutex<Vec<String>>,
    streams: Mutex<Vec<TcpStream>>,
    stop: AtomicBool,
}

/// A running proxy.
pub struct HttpProxy {
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    state: Arc<State>,
    acceptor: Option<thread::JoinHandle<()>>,
}

impl HttpProxy {
    /// On a port of its own.
    pub fn start(answer: Answer) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), answer)
    }

    /// With a listener that was made elsewhere; it connects from here.
    pub fn on(listener: TcpListener, answer: Answer) -> Self {
        let state = Arc::new(State {
            answer: Mutex::new(answer),
            requests: Mutex::default(),
            streams: Mutex::default(),
            stop: AtomicBool::new(false),
        });
        let port = listener.local_addr().unwrap().port();
        let shared = state.clone();
        let acceptor = thread::spawn(move || {
            for near in listener.incoming() {
                if shared.stop.load(Ordering::Relaxed) {
                    return;
                }
                let (near, shared) = (near.unwrap(), shared.clone());
                shared
                    .streams
                    .lock()
                    .unwrap()
                    .push(near.try_clone().unwrap());
                thread::spawn(move || serve(near, &shared));
            }
        });
        Self {
            port,
            state,
            acceptor: Some(acceptor),
        }
    }

    /// The option that names it.
    pub fn option(&self) -> String {
        format!("Proxy=http://127.0.0.1:{}", self.port)
    }

    /// From now on it answers so.
    pub fn answer(&self, answer: Answer) {
        *self.state.answer.lock().unwrap() = answer;
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<String> {
        self.state.requests.lock().unwrap().clone()
    }

    /// It goes, and its connections with it; its port.
    pub fn stop(self) -> u16 {
        self.port
    }
}

impl Drop for HttpProxy {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::Relaxed);
        // A listener of another namespace is not woken, and ends with the tests.
        if TcpStream::connect(("127.0.0.1", self.port)).is_ok()
            && let Some(acceptor) = self.acceptor.take()
        {
            let _ = acceptor.join();
        }
        for stream in self.state.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn serve(mut near: TcpStream, state: &State) {
    // Byte by byte: what follows is not for the proxy.
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        match near.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    state.requests.lock().unwrap().push(head.clone());
    let answer = state.answer.lock().unwrap().clone();
    let leads = match &answer {
        Answer::Lead => true,
        Answer::LeadKnown(login) => {
            head.contains(&format!("\r\nProxy-Authorization: Basic {login}\r\n"))
        }
        _ => false,
    };
    let place = head.split(' ').nth(1).unwrap();
    let port: u16 = place.rsplit(':').next().unwrap().parse().unwrap();
    let mut far = None;
    let said = match answer {
        Answer::Silence => return,
        Answer::Say(words) => words,
        _ if !leads => {
            "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"x\"\r\n\r\n"
        }
        _ => {
            far = TcpStream::connect(("127.0.0.1", port)).ok();
            match far {
                Some(_) => "HTTP/1.1 200 Connection established\r\nVia: 1.1 test\r\n\r\n",
                None => "HTTP/1.1 502 Bad Gateway\r\n\r\n",
            }
        }
    };
    let _ = near.write_all(said.as_bytes());
    let Some(far) = far else {
        let _ = near.shutdown(Shutdown::Both);
        return;
    };
    let back = (far.try_clone().unwrap(), near.try_clone().unwrap());
    thread::spawn(move || pump(back.0, back.1));
    pump(near, far);
}

fn pump(mut from: TcpStream, mut to: TcpStream) {
    let _ = std::io::copy(&mut from, &mut to);
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
