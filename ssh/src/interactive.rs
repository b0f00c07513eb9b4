//! A client at whose login somebody can be asked: for a password (RFC 4252 section 8), or for what
//! the server prompts (RFC 4256).
//!
//! It is a type of its own, without forwards: a tunnel is made of a [`Client`], which
//! has no password to give and asks nobody. Nothing makes the one of the other.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use zeroize::Zeroizing;

use crate::{ChannelId, Client, Config, Error, Event, Program, Rng};

/// What the server wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompts {
    /// A title, or nothing; fit for a terminal.
    pub name: String,
    /// What to do, or nothing; fit for a terminal.
    pub instruction: String,
    /// At least one, at most [`crate::limits::PROMPTS`].
    pub prompts: Vec<Prompt>,
}

/// One question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// The question, fit for a terminal; empty for the account's password.
    pub text: String,
    /// Whether the answer may be seen while it is typed.
    pub echo: bool,
}

impl Prompts {
    /// The account's password.
    pub(crate) fn for_password() -> Prompts {
        Prompts {
            name: String::new(),
            instruction: String::new(),
            prompts: vec![Prompt {
                text: String::new(),
                echo: false,
            }],
        }
    }
}

/// What comes next.
#[derive(Debug)]
pub enum Step<'a> {
    /// As from [`Client::poll_event`].
    Event(Event<'a>),
    /// To be answered with [`InteractiveClient::answer`].
    Ask(Prompts),
}

/// A [`Client`] that tries its keys first and then asks. It can run programs, and forwards nothing.
pub struct InteractiveClient(Client);

impl InteractiveClient {
    /// As [`Client::new`].
    pub fn new(config: Config, rng: Box<dyn Rng>, now_ms: u64) -> Result<Self, Error> {
        let mut client = Client::new(config, rng, now_ms)?;
        client.auth().set_person();
        Ok(InteractiveClient(client))
    }

    /// As [`Client::poll_event`].
    pub fn poll(&mut self) -> Result<Option<Step<'_>>, Error> {
        let event = self.0.poll_unlent()?;
        if event.is_none()
            && let Some(prompts) = self.0.auth().take_prompts()
        {
            return Ok(Some(Step::Ask(prompts)));
        }
        Ok(event.map(|event| Step::Event(self.0.lend(event))))
    }

    /// The answers to [`Step::Ask`], as many as there are prompts, of at most
    /// [`crate::limits::ANSWER`] bytes each. False while an exchange of keys forbids it: to be tried
    /// again after the next input.
    pub fn answer(&mut self, answers: &[Zeroizing<Vec<u8>>]) -> Result<bool, Error> {
        self.0.answer(answers)
    }

    /// As [`Client::said_before_identification`].
    pub fn said_before_identification(&self) -> String {
        self.0.said_before_identification()
    }

    /// As [`Client::input_space`].
    pub fn input_space(&mut self) -> &mut [u8] {
        self.0.input_space()
    }

    /// As [`Client::handle_input`].
    pub fn handle_input(&mut self, n: usize, now_ms: u64) {
        self.0.handle_input(n, now_ms);
    }

    /// As [`Client::poll_output`].
    pub fn poll_output(&self) -> &[u8] {
        self.0.poll_output()
    }

    /// As [`Client::handle_written`].
    pub fn handle_written(&mut self, n: usize) {
        self.0.handle_written(n);
    }

    /// As [`Client::accept_host_key`].
    pub fn accept_host_key(&mut self) -> Result<(), Error> {
        self.0.accept_host_key()
    }

    /// As [`Client::open_session_channel`].
    pub fn open_session_channel(&mut self) -> Result<Option<ChannelId>, Error> {
        self.0.open_session_channel()
    }

    /// As [`Client::request_program`].
    pub fn request_program(&mut self, id: ChannelId, program: Program<'_>) -> Result<(), Error> {
        self.0.request_program(id, program)
    }

    /// As [`Client::channel_taken`].
    pub fn channel_taken(&mut self, id: ChannelId, n: usize) -> Result<(), Error> {
        self.0.channel_taken(id, n)
    }

    /// As [`Client::channel_eof`].
    pub fn channel_eof(&mut self, id: ChannelId) -> Result<(), Error> {
        self.0.channel_eof(id)
    }

    /// As [`Client::disconnect`].
    pub fn disconnect(&mut self, reason: u32, text: &str) {
        self.0.disconnect(reason, text);
    }
}
