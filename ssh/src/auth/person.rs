//! Passwords (RFC 4252 section 8) and `keyboard-interactive` (RFC 4256), for logins at which
//! somebody can be asked.

use alloc::vec::Vec;

use zeroize::Zeroizing;

use super::{Asked, Auth, denied};
use crate::error::Denial;
use crate::interactive::{Prompt, Prompts};
use crate::limits::{ANSWER, PASSWORD_ATTEMPTS, PROMPT_ROUNDS, PROMPTS};
use crate::message::{self as msg, printable};
use crate::transport::Transport;
use crate::wire::{Put, Reader, names};
use crate::{Error, Event};

const KEYBOARD: &str = "keyboard-interactive";
const PASSWORD: &str = "password";

/// What was asked of the person, and how often.
#[derive(Default)]
pub(super) struct Person {
    /// To be handed out.
    prompts: Option<Prompts>,
    /// Answers that are awaited.
    awaited: usize,
    refusals: usize,
    rounds: usize,
    /// Prompts came since `keyboard-interactive` was asked for.
    prompted: bool,
    /// The server has no prompts for this user, although it names the method.
    no_prompts: bool,
}

impl Auth {
    /// Somebody can be asked from now on.
    pub(crate) fn set_person(&mut self) {
        self.person = Some(Person::default());
    }

    /// What is to be asked of the person. To be followed by [`Auth::answer`].
    pub(crate) fn take_prompts(&mut self) -> Option<Prompts> {
        self.person.as_mut()?.prompts.take()
    }

    /// The person's answers. False when they cannot be sent yet.
    pub(crate) fn answer(
        &mut self,
        answers: &[Zeroizing<Vec<u8>>],
        transport: &mut Transport,
    ) -> Result<bool, Error> {
        let awaited = self.person.as_ref().map_or(0, |person| person.awaited);
        let fits = |answer: &Zeroizing<Vec<u8>>| answer.len() <= ANSWER;
        if awaited == 0 || answers.len() != awaited || !answers.iter().all(fits) {
            return Err(Error::Limit("answers to prompts"));
        }
        // As large as it gets, so that no copy of a part stays behind.
        let length: usize = answers.iter().map(|answer| answer.len() + 4).sum();
        let mut payload = Zeroizing::new(Vec::with_capacity(length + self.user.len() + 64));
        match self.asked {
            Asked::Keyboard => {
                payload.put_u8(msg::USERAUTH_INFO_RESPONSE);
                payload.put_u32(answers.len() as u32);
            }
            _ => {
                payload.put(&self.request(PASSWORD));
                payload.put_boolean(false);
            }
        }
        for answer in answers {
            payload.put_string(answer);
        }
        let sent = transport.send_secret(&payload)?;
        if let Some(person) = self.person.as_mut().filter(|_| sent) {
            person.awaited = 0;
        }
        Ok(sent)
    }

    /// No key is left to try: the methods at which the person is asked, best first as in ssh.
    pub(super) fn ask_person(
        &mut self,
        methods: &str,
        transport: &mut Transport,
    ) -> Result<(), Error> {
        let lists = |method: &str| names(methods).any(|name| name == method);
        let partial = self.partial;
        let person = self.person.get_or_insert_default();
        if person.refusals >= PASSWORD_ATTEMPTS {
            return Err(denied(Denial::Password, methods));
        }
        if lists(KEYBOARD) && !person.no_prompts {
            person.prompted = false;
            self.asked = Asked::Keyboard;
            let mut request = self.request(KEYBOARD);
            // The language, and the submethods: the server's choice (RFC 4256 section 3.1).
            request.put_string(b"");
            request.put_string(b"");
            return transport.send(&request);
        }
        if lists(PASSWORD) {
            self.asked = Asked::Password;
            person.awaited = 1;
            person.prompts = Some(Prompts::for_password());
            return Ok(());
        }
        let why = match (partial, person.refusals) {
            (true, _) => Denial::SecondFactor,
            (false, 0) => Denial::NoPassword,
            (false, _) => Denial::Password,
        };
        Err(denied(why, methods))
    }

    /// `SSH_MSG_USERAUTH_FAILURE` for a password, or for answers. A partial success means that
    /// these counted.
    pub(super) fn person_refused(
        &mut self,
        methods: &str,
        transport: &mut Transport,
    ) -> Result<(), Error> {
        let person = self.person.get_or_insert_default();
        // Prompts that have not been answered are void (RFC 4256 section 3.1).
        (person.prompts, person.awaited) = (None, 0);
        if self.asked == Asked::Keyboard && !person.prompted {
            person.no_prompts = true;
        } else {
            person.refusals += 1;
        }
        self.ask_person(methods, transport)
    }

    /// `SSH_MSG_USERAUTH_INFO_REQUEST` (RFC 4256 section 3.2).
    pub(super) fn prompted(
        &mut self,
        mut reader: Reader<'_>,
        transport: &mut Transport,
    ) -> Result<Option<Event<'static>>, Error> {
        let person = self.person.get_or_insert_default();
        person.rounds += 1;
        if person.rounds > PROMPT_ROUNDS || person.awaited > 0 {
            return Err(Error::Limit("rounds of prompts"));
        }
        let name = printable(reader.string()?);
        let instruction = printable(reader.string()?);
        reader.string()?;
        let count = reader.u32()? as usize;
        if count > PROMPTS {
            return Err(Error::Limit("prompts"));
        }
        let mut prompts = Vec::with_capacity(count);
        for _ in 0..count {
            let text = printable(reader.string()?);
            let echo = reader.boolean()?;
            prompts.push(Prompt { text, echo });
        }
        reader.finish()?;
        if count == 0 {
            // Nothing but words, and a round that is answered all the same.
            let mut response = Vec::with_capacity(5);
            response.put_u8(msg::USERAUTH_INFO_RESPONSE);
            response.put_u32(0);
            transport.send(&response)?;
            return Ok((!instruction.is_empty()).then_some(Event::Banner(instruction)));
        }
        person.prompted = true;
        person.awaited = count;
        person.prompts = Some(Prompts {
            name,
            instruction,
            prompts,
        });
        Ok(None)
    }
}
