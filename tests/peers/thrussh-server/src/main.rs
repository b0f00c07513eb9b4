//! A small SSH server built on thrussh, for the interoperability tests.
//!
//! It offers `mlkem768x25519-sha256` and nothing else, so a login proves that
//! exchange. It serves `tcpip-forward` on loopback, and with `--hostile` it
//! opens channels that nobody asked for. Every event is one line on stdout.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use thrussh::server::{self, Auth, Handle, Session};
use thrussh::{ChannelId, CryptoVec, Preferred};
use thrussh_keys::key::{KeyPair, PublicKey};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What the command line asks for.
struct Options {
    listen: String,
    authorized: Vec<PublicKey>,
    host_key: KeyPair,
    hostile: bool,
    flood: usize,
    /// Offer all that thrussh has, so that a client without ML-KEM can log in.
    any_kex: bool,
}

fn options() -> Result<Options, Failure> {
    let (mut listen, mut authorized, mut host_key) = ("127.0.0.1:0".to_owned(), Vec::new(), None);
    let (mut hostile, mut flood, mut any_kex) = (false, 0, false);
    let mut args = std::env::args().skip(1);
    while let Some(flag) = args.next() {
        let mut value = || args.next().ok_or(format!("{flag} needs a value"));
        match flag.as_str() {
            "--listen" => listen = value()?,
            "--authorized-key" => authorized.push(thrussh_keys::load_public_key(value()?)?),
            "--host-key" => host_key = Some(thrussh_keys::load_secret_key(value()?, None)?),
            "--hostile" => hostile = true,
            "--any-kex" => any_kex = true,
            "--flood" => flood = value()?.parse()?,
            other => return Err(format!("unknown argument {other}").into()),
        }
    }
    let host_key = match host_key {
        Some(key) => key,
        None => KeyPair::generate_ed25519().ok_or("no host key")?,
    };
    Ok(Options { listen, authorized, host_key, hostile, flood, any_kex })
}

/// How the client answered a channel open.
#[derive(Clone, Copy, PartialEq)]
enum Answer {
    None,
    Confirmed,
    Ended,
}

/// One channel that the server opened, between the session and its pump.
struct Channel {
    answer: watch::Sender<Answer>,
    /// Bytes from the client; gone once it has sent EOF.
    incoming: Option<mpsc::UnboundedSender<Vec<u8>>>,
    outgoing: Option<mpsc::UnboundedReceiver<Vec<u8>>>,
}

impl Channel {
    fn new() -> Self {
        let (incoming, outgoing) = mpsc::unbounded_channel();
        Self {
            answer: watch::Sender::new(Answer::None),
            incoming: Some(incoming),
            outgoing: Some(outgoing),
        }
    }
}

/// The channels of one connection. Either side may name a new one first: the
/// client's answer can overtake the task that asked.
#[derive(Clone, Default)]
struct Channels(Arc<Mutex<HashMap<ChannelId, Channel>>>);

impl Channels {
    fn with<T>(&self, id: ChannelId, f: impl FnOnce(&mut Channel) -> T) -> T {
        let mut table = self.0.lock().expect("no panics while locked");
        f(table.entry(id).or_insert_with(Channel::new))
    }

    async fn answer(&self, id: ChannelId) -> Answer {
        let mut answer = self.with(id, |c| c.answer.subscribe());
        let seen = answer.wait_for(|a| *a != Answer::None).await;
        seen.map_or(Answer::Ended, |a| *a)
    }
}

/// The server's side of one SSH connection.
struct Peer {
    options: Arc<Options>,
    channels: Channels,
    listeners: Vec<AbortHandle>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.listeners.iter().for_each(AbortHandle::abort);
        println!("connection ended");
    }
}

impl server::Handler for Peer {
    type Error = Failure;

    async fn auth_publickey(self, user: &str, key: &PublicKey) -> Result<(Self, Auth), Failure> {
        let known = self.options.authorized.contains(key);
        println!("publickey {} for {user}", if known { "accepted" } else { "refused" });
        Ok((self, if known { Auth::Accept } else { Auth::Reject }))
    }

    async fn tcpip_forward(
        mut self,
        address: &str,
        port: u32,
        session: Session,
    ) -> Result<(Self, Session, bool), Failure> {
        if !self.options.any_kex {
            println!("kex mlkem768x25519-sha256");
        }
        // Its reply cannot carry a port, so port 0 cannot be served.
        let bound = match u16::try_from(port) {
            Ok(port) if port != 0 => TcpListener::bind(("127.0.0.1", port)).await.ok(),
            _ => None,
        };
        let Some(listener) = bound else {
            println!("forward refused {address} {port}");
            return Ok((self, session, false));
        };
        println!("forward {address} {port}");
        let forward = Forward {
            address: address.to_owned(),
            port,
            handle: session.handle(),
            channels: self.channels.clone(),
        };
        if self.options.hostile {
            tokio::spawn(forward.clone().misbehave());
        }
        if self.options.flood > 0 {
            tokio::spawn(forward.clone().flood(self.options.flood));
        }
        self.listeners.push(tokio::spawn(forward.serve(listener)).abort_handle());
        Ok((self, session, true))
    }

    // Also called when a channel is confirmed, with its first window.
    async fn window_adjusted(
        self,
        id: ChannelId,
        _window: usize,
        mut session: Session,
    ) -> Result<(Self, Session), Failure> {
        session.flush_pending(id);
        self.channels.with(id, |c| {
            c.answer.send_if_modified(|a| {
                let first = *a == Answer::None;
                if first {
                    *a = Answer::Confirmed;
                }
                first
            })
        });
        Ok((self, session))
    }

    async fn data(
        self,
        id: ChannelId,
        data: &[u8],
        session: Session,
    ) -> Result<(Self, Session), Failure> {
        self.channels.with(id, |c| c.incoming.as_ref().map(|to| to.send(data.to_vec())));
        Ok((self, session))
    }

    async fn channel_eof(
        self,
        id: ChannelId,
        session: Session,
    ) -> Result<(Self, Session), Failure> {
        self.channels.with(id, |c| c.incoming = None);
        Ok((self, session))
    }

    // Also called when the client refuses to open a channel.
    async fn channel_close(
        self,
        id: ChannelId,
        session: Session,
    ) -> Result<(Self, Session), Failure> {
        self.channels.with(id, |c| {
            c.incoming = None;
            c.answer.send_replace(Answer::Ended)
        });
        Ok((self, session))
    }
}

/// A forward that the client asked for.
#[derive(Clone)]
struct Forward {
    address: String,
    port: u32,
    handle: Handle,
    channels: Channels,
}

impl Forward {
    async fn serve(self, listener: TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(self.clone().pump(stream));
        }
    }

    async fn pump(mut self, stream: TcpStream) {
        let origin = tcpip_fields(&self.address, self.port);
        let Some(id) = self.handle.open(b"forwarded-tcpip", origin).await else {
            return;
        };
        let answer = self.channels.answer(id).await;
        let outgoing = self.channels.with(id, |c| c.outgoing.take());
        let (Answer::Confirmed, Some(mut outgoing)) = (answer, outgoing) else {
            println!("channel refused");
            return;
        };
        let (mut read, mut write) = stream.into_split();
        let to_tcp = async move {
            while let Some(data) = outgoing.recv().await {
                if write.write_all(&data).await.is_err() {
                    break;
                }
            }
            let _ = write.shutdown().await;
        };
        let mut handle = self.handle.clone();
        let to_channel = async move {
            let mut buffer = vec![0; 32 * 1024];
            while let Ok(n @ 1..) = read.read(&mut buffer).await {
                if handle.data(id, CryptoVec::from_slice(&buffer[..n])).await.is_err() {
                    break;
                }
            }
            let _ = handle.eof(id).await;
        };
        // The client closes after both ends; thrussh answers that close.
        tokio::join!(to_tcp, to_channel);
    }

    /// Opens channels that no client asked for and prints how each is answered.
    async fn misbehave(mut self) {
        let wrong_port = tcpip_fields(&self.address, self.port % 65535 + 1);
        let wrong_address = tcpip_fields("203.0.113.7", self.port);
        let target = tcpip_fields("127.0.0.1", 22);
        let opens: [(&str, &str, Vec<u8>); 8] = [
            ("session", "session", Vec::new()),
            ("direct-tcpip", "direct-tcpip", target),
            ("x11", "x11", tcpip_fields("127.0.0.1", 6010)[..].to_vec()),
            ("agent", "auth-agent@openssh.com", Vec::new()),
            (
                "streamlocal",
                "forwarded-streamlocal@openssh.com",
                [string("/tmp/x"), string("")].concat(),
            ),
            ("wrong-port", "forwarded-tcpip", wrong_port),
            ("wrong-address", "forwarded-tcpip", wrong_address),
            ("unknown", "no-such-kind@example.org", vec![0; 64]),
        ];
        for (label, kind, extra) in opens {
            let Some(id) = self.handle.open(kind.as_bytes(), extra).await else {
                return;
            };
            let answer = self.channels.answer(id).await;
            println!(
                "hostile {label} {}",
                if answer == Answer::Confirmed { "accepted" } else { "refused" }
            );
        }
        println!("hostile done");
    }

    /// Opens `count` proper channels at once and keeps them.
    async fn flood(mut self, count: usize) {
        let mut ids = Vec::new();
        for _ in 0..count {
            let fields = tcpip_fields(&self.address, self.port);
            let Some(id) = self.handle.open(b"forwarded-tcpip", fields).await else {
                return;
            };
            ids.push(id);
        }
        let (mut accepted, mut refused) = (0, 0);
        for id in ids {
            match self.channels.answer(id).await {
                Answer::Confirmed => accepted += 1,
                _ => refused += 1,
            }
        }
        println!("flood accepted {accepted} refused {refused}");
    }
}

/// Address, port and a made-up originator, as RFC 4254, section 7.2 puts them.
fn tcpip_fields(address: &str, port: u32) -> Vec<u8> {
    [
        string(address),
        port.to_be_bytes().to_vec(),
        string("127.0.0.1"),
        40_000_u32.to_be_bytes().to_vec(),
    ]
    .concat()
}

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u32).to_be_bytes()[..], text.as_bytes()].concat()
}

async fn serve(options: Options) -> Result<(), Failure> {
    let offered = Preferred::DEFAULT_SERVER;
    let mut config = server::Config { connection_timeout: None, ..Default::default() };
    config.auth_rejection_time = std::time::Duration::from_millis(100);
    if !options.any_kex {
        // The first is mlkem768x25519-sha256, the last asks for strict key exchange.
        config.preferred.kex = Vec::leak(vec![offered.kex[0], offered.kex[2]]);
    }
    let KeyPair::Ed25519(host_key) = &options.host_key;
    config.keys.push(KeyPair::Ed25519(host_key.clone()));
    let config = Arc::new(config);
    let listener = TcpListener::bind(&options.listen).await?;
    println!("listening on {}", listener.local_addr()?);
    let options = Arc::new(options);
    loop {
        let (stream, _) = listener.accept().await?;
        let peer =
            Peer { options: options.clone(), channels: Channels::default(), listeners: Vec::new() };
        let config = config.clone();
        tokio::spawn(async move {
            if let Err(e) = server::run_stream(config, stream, peer).await {
                println!("connection failed: {e}");
            }
        });
    }
}

fn main() -> Result<(), Failure> {
    let options = options()?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(serve(options))
}
