//! The SSH client by itself, driven over loopback against independent servers: what it says on
//! the wire, without the program around it.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::rc::Rc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use reachback_ssh::algorithms::{Kex, Offer};
use reachback_ssh::userkey::UserKey;
use reachback_ssh::{Client, Config, Error, Event, ForwardId, Refusal, Rekey, Rng};
use ring::rand::{SecureRandom, SystemRandom};
use support::keys::{self, Key, Kind};
use support::peers::{Dropbear, Thrussh};
use support::rig::Site;
use support::{Scene, free_port, patience, skip, user};

struct Kernel(SystemRandom);

impl Rng for Kernel {
    fn fill(&mut self, buf: &mut [u8]) -> Result<(), Error> {
        self.0.fill(buf).map_err(|_| Error::Rng)
    }
}

const NEVER: Rekey = Rekey {
    bytes: u64::MAX,
    interval_ms: 3_600_000,
};

/// A client on a socket, whose channels echo what they get.
struct Driver {
    socket: TcpStream,
    client: Client,
    began: Instant,
    exchanges: Vec<Kex>,
    confirmed: Option<u16>,
    refused: bool,
    cancelled: Option<bool>,
    answered: usize,
    authenticated: bool,
    echoed: usize,
    closed: usize,
    /// Channels are refused instead of served.
    refuses: bool,
    /// Echoes wait here for room in the packet, the window or a key exchange.
    echoes: Vec<(reachback_ssh::ChannelId, Vec<u8>, bool)>,
}

impl Driver {
    fn connect(port: u16, key: &Key, rekey: Rekey) -> Self {
        let socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(5)))
            .unwrap();
        let keys: Rc<[UserKey]> =
            [UserKey::from_file(std::fs::read_to_string(&key.private).unwrap()).unwrap()].into();
        let config = Config {
            user: user().to_owned(),
            keys,
            offer: Offer::default(),
            rekey,
        };
        let client = Client::new(config, Box::new(Kernel(SystemRandom::new())), 0).unwrap();
        Self {
            socket,
            client,
            began: Instant::now(),
            exchanges: Vec::new(),
            confirmed: None,
            refused: false,
            cancelled: None,
            answered: 0,
            authenticated: false,
            echoed: 0,
            closed: 0,
            refuses: false,
            echoes: Vec::new(),
        }
    }

    fn now_ms(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    /// Goes on until `done`, or panics at the deadline.
    fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + patience();
        while !done(self) {
            assert!(Instant::now() < deadline, "no {what} in time");
            self.turn().unwrap();
        }
    }

    fn turn(&mut self) -> Result<(), Error> {
        self.client.handle_timeout(self.now_ms())?;
        self.events()?;
        self.echo()?;
        self.write();
        let now_ms = self.now_ms();
        let space = self.client.input_space();
        if space.is_empty() {
            return Ok(());
        }
        match self.socket.read(space) {
            Ok(0) => panic!("the server closed the connection"),
            Ok(n) => self.client.handle_input(n, now_ms),
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) => {}
            Err(error) => panic!("{error}"),
        }
        self.events()?;
        self.write();
        Ok(())
    }

    fn write(&mut self) {
        let n = self.client.poll_output().len();
        self.socket.write_all(self.client.poll_output()).unwrap();
        self.client.handle_written(n);
    }

    fn events(&mut self) -> Result<(), Error> {
        while let Some(event) = self.client.poll_event()? {
            match event {
                Event::HostKey { .. } => self.client.accept_host_key()?,
                Event::KeysExchanged { negotiated, .. } => self.exchanges.push(negotiated.kex),
                Event::Authenticated { .. } => self.authenticated = true,
                Event::ForwardConfirmed { port, .. } => self.confirmed = Some(port),
                Event::ForwardRefused { .. } => self.refused = true,
                Event::ForwardCancelled { done, .. } => self.cancelled = Some(done),
                Event::KeepaliveAnswered => self.answered += 1,
                Event::ChannelOpened { channel, .. } if self.refuses => {
                    self.client
                        .refuse_channel(channel, Refusal::ConnectFailed, "nobody there")?;
                }
                Event::ChannelOpened { channel, .. } => self.client.accept_channel(channel)?,
                Event::ChannelData { channel, data } => {
                    self.echoes.push((channel, data.to_vec(), false))
                }
                Event::ChannelEof { channel } => self.echoes.push((channel, Vec::new(), true)),
                Event::ChannelClosed { .. } => self.closed += 1,
                Event::Identified(_)
                | Event::Banner(_)
                | Event::AddressDiffers { .. }
                | Event::OpenRefused { .. }
                | Event::HostKeysAnnounced { .. }
                | Event::HostKeysProven { .. }
                | Event::HostKeysRefused(_)
                | Event::OpenConfirmed { .. }
                | Event::OpenFailed { .. }
                | Event::ProgramAnswered { .. }
                | Event::Exited { .. } => {}
            }
        }
        Ok(())
    }

    /// Sends back what came, as far as it may be sent now.
    fn echo(&mut self) -> Result<(), Error> {
        while let Some((channel, data, ended)) = self.echoes.first_mut() {
            let channel = *channel;
            if *ended {
                self.client.channel_eof(channel)?;
                self.client.channel_close(channel)?;
                self.echoes.remove(0);
                continue;
            }
            let Some(space) = self.client.channel_space(channel, data.len())? else {
                return Ok(());
            };
            let n = space.len();
            space[..n].copy_from_slice(&data[..n]);
            self.client.channel_filled(channel, n)?;
            self.client.channel_taken(channel, n)?;
            self.echoed += n;
            data.drain(..n);
            if data.is_empty() {
                self.echoes.remove(0);
            }
        }
        Ok(())
    }
}

/// Sends `count` bytes to the forward in a thread of its own while reading what comes back.
fn echo_through(port: u16, count: usize) -> JoinHandle<bool> {
    std::thread::spawn(move || {
        let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let mut writer = socket.try_clone().unwrap();
        let sent: Vec<u8> = (0..count).map(|i| (i * 31 + i / 253) as u8).collect();
        let copy = sent.clone();
        let sending = std::thread::spawn(move || {
            writer.write_all(&copy).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let mut back = Vec::new();
        socket.read_to_end(&mut back).unwrap();
        sending.join().unwrap();
        back == sent
    })
}

fn assert_serves(driver: &mut Driver, count: usize) {
    driver.until("login", |d| d.authenticated);
    let port = free_port();
    driver
        .client
        .request_forward(ForwardId(3), "localhost", port)
        .unwrap();
    driver.client.keepalive().unwrap();
    driver.until("confirmation", |d| {
        d.confirmed == Some(port) && d.answered == 1
    });
    let closed = driver.closed;
    let echo = echo_through(port, count);
    driver.until("echo", |d| d.closed == closed + 1);
    assert!(echo.join().unwrap(), "what came back is not what was sent");
}

/// A client of this server.
fn connect(site: &Site, rekey: Rekey) -> Driver {
    Driver::connect(site.server.port, &site.key, rekey)
}

/// One that has logged in.
fn logged_in(site: &Site) -> Driver {
    let mut driver = connect(site, NEVER);
    driver.until("login", |d| d.authenticated);
    driver
}

/// Has the server listen on a port of its choice.
fn any_port(driver: &mut Driver) -> u16 {
    driver
        .client
        .request_forward(ForwardId(0), "localhost", 0)
        .unwrap();
    driver.until("confirmation", |d| d.confirmed.is_some());
    driver.confirmed.unwrap()
}

/// Asserts that keys are renewed each MiB, and that nothing is lost over it.
fn assert_renews(site: &Site) {
    let rekey = Rekey {
        bytes: 1 << 20,
        ..NEVER
    };
    let mut driver = connect(site, rekey);
    assert_serves(&mut driver, 8 << 20);
    assert!(
        driver.exchanges.len() >= 8,
        "{} exchanges",
        driver.exchanges.len()
    );
}

#[test]
fn openssh_serves_a_forward_and_answers_a_keepalive_in_order() {
    let site = Site::up();
    let mut driver = connect(&site, NEVER);
    assert_serves(&mut driver, 300_000);
    driver.client.cancel_forward(ForwardId(3)).unwrap();
    driver.until("cancellation", |d| d.cancelled == Some(true));
}

#[test]
fn dropbear_serves_a_forward_and_answers_a_keepalive_in_order() {
    let scene = Scene::new();
    let key = keys::key(&scene, "key", Kind::Rsa);
    match Dropbear::start(&scene, &key) {
        Ok(server) => assert_serves(&mut Driver::connect(server.port, &key, NEVER), 300_000),
        Err(reason) => skip(&reason),
    }
}

#[test]
fn thrussh_serves_a_forward_after_a_post_quantum_exchange() {
    let scene = Scene::new();
    let key = keys::key(&scene, "key", Kind::Ed25519);
    match Thrussh::start(&scene, &key, &[]) {
        Ok(server) => {
            let mut driver = Driver::connect(server.port, &key, NEVER);
            assert_serves(&mut driver, 300_000);
            assert_eq!(driver.exchanges, [Kex::MlKem768X25519]);
        }
        Err(reason) => skip(&reason),
    }
}

#[test]
fn keys_are_renewed_by_us_under_load_both_ways() {
    assert_renews(&Site::up());
}

#[test]
fn keys_are_renewed_by_both_sides_at_once_under_load() {
    assert_renews(&Site::with(&["RekeyLimit 1M"]));
}

#[test]
fn a_port_that_the_server_may_choose_comes_back_and_serves() {
    let site = Site::up();
    let mut driver = logged_in(&site);
    let port = any_port(&mut driver);
    let echo = echo_through(port, 1000);
    driver.until("echo", |d| d.closed == 1);
    assert!(echo.join().unwrap());
    driver.client.cancel_forward(ForwardId(0)).unwrap();
    driver.until("cancellation", |d| d.cancelled == Some(true));
    assert!(
        TcpStream::connect(("127.0.0.1", port)).is_err(),
        "the server still listens"
    );
}

#[test]
fn a_refused_forward_may_be_asked_for_again_on_the_same_connection() {
    let site = Site::up();
    let mut driver = logged_in(&site);
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port();
    // A wildcard on the server would still find IPv6 free; the address does not.
    driver
        .client
        .request_forward(ForwardId(0), "127.0.0.1", port)
        .unwrap();
    driver.until("refusal", |d| d.refused);
    drop(holder);
    driver
        .client
        .request_forward(ForwardId(0), "127.0.0.1", port)
        .unwrap();
    driver.until("confirmation", |d| d.confirmed == Some(port));
}

#[test]
fn a_refused_channel_is_closed_at_the_server_and_the_next_one_is_served() {
    let site = Site::up();
    let mut driver = logged_in(&site);
    let port = any_port(&mut driver);
    driver.refuses = true;
    let refused = std::thread::spawn(move || {
        let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
        socket.read(&mut [0]).unwrap_or(0)
    });
    driver.until("refusal", |_| refused.is_finished());
    assert_eq!(refused.join().unwrap(), 0, "bytes came from nowhere");
    driver.refuses = false;
    let echo = echo_through(port, 1000);
    driver.until("echo", |d| d.closed == 1);
    assert!(echo.join().unwrap());
}

#[test]
fn the_server_hears_why_a_connection_ends() {
    let site = Site::up();
    let mut driver = logged_in(&site);
    driver.client.disconnect(11, "done");
    driver.write();
    support::wait_until("the server's word on the end", patience(), || {
        let log = &site.server.log;
        log.contains("Received disconnect from 127.0.0.1 port") && log.contains(":11: done")
    });
}

#[test]
fn a_key_that_is_not_authorised_ends_with_the_methods_that_would_do() {
    let site = Site::up();
    let stranger = keys::key(&site.scene, "stranger", Kind::Ed25519);
    let mut driver = Driver::connect(site.server.port, &stranger, NEVER);
    let deadline = Instant::now() + patience();
    let error = loop {
        assert!(Instant::now() < deadline, "no refusal in time");
        if let Err(error) = driver.turn() {
            break error;
        }
    };
    assert!(
        matches!(&error, Error::AuthRefused { methods, .. } if methods.contains("publickey")),
        "{error}"
    );
}
