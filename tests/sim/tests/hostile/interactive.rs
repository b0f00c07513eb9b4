//! Logins at which somebody is asked: passwords, and rounds of prompts.

use reachback_sim::duo::{self, NEVER};
use reachback_sim::server::numbers::*;
use reachback_sim::server::{Answer, Knobs, Server};
use reachback_ssh::error::Denial;
use reachback_ssh::interactive::{InteractiveClient, Prompts, Step};
use reachback_ssh::limits::{ANSWER, PROMPT_ROUNDS, PROMPTS};
use reachback_ssh::wire::Put;
use reachback_ssh::{Config, Error, Event, Rng};
use zeroize::Zeroizing;

struct Fixed;

impl Rng for Fixed {
    fn fill(&mut self, buf: &mut [u8]) -> Result<(), Error> {
        buf.fill(7);
        Ok(())
    }
}

/// A server, an interactive client, and somebody who types these answers.
struct Login {
    client: InteractiveClient,
    server: Server,
    asked: Vec<Prompts>,
    authenticated: bool,
    /// Bytes that the client wrote with each answer.
    written: Vec<usize>,
}

impl Login {
    fn new(knobs: Knobs) -> Login {
        let config = Config {
            user: "op".into(),
            keys: duo::user_key(1),
            offer: Default::default(),
            rekey: NEVER,
        };
        let knobs = Knobs {
            auth: Answer::No,
            ..knobs
        };
        Login {
            client: InteractiveClient::new(config, Box::new(Fixed), 0).unwrap(),
            server: Server::new(knobs),
            asked: Vec::new(),
            authenticated: false,
            written: Vec::new(),
        }
    }

    /// Until nothing more moves; answers each round with the same words.
    fn run(&mut self, answers: &[&str]) -> Result<(), Error> {
        loop {
            while let Some(step) = self.client.poll()? {
                match step {
                    Step::Event(Event::HostKey { .. }) => self.client.accept_host_key()?,
                    Step::Event(Event::Authenticated { .. }) => self.authenticated = true,
                    Step::Event(_) => {}
                    Step::Ask(prompts) => {
                        let count = prompts.prompts.len();
                        self.asked.push(prompts);
                        let answer = |text: &&str| Zeroizing::new(text.as_bytes().to_vec());
                        let answers: Vec<_> = answers.iter().take(count).map(answer).collect();
                        let before = self.client.poll_output().len();
                        assert!(self.client.answer(&answers)?);
                        self.written.push(self.client.poll_output().len() - before);
                    }
                }
            }
            let out = self.client.poll_output().to_vec();
            self.client.handle_written(out.len());
            self.server.handle_input(&out);
            let input = self.server.take_output();
            if out.is_empty() && input.is_empty() {
                return Ok(());
            }
            self.client.input_space()[..input.len()].copy_from_slice(&input);
            self.client.handle_input(input.len(), 0);
        }
    }

    /// The methods that were tried.
    fn methods(&self) -> Vec<String> {
        let method = |payload: &&[u8]| {
            let mut reader = reachback_ssh::wire::Reader::new(&payload[1..]);
            reader.string().unwrap();
            reader.string().unwrap();
            reader.text().unwrap().to_owned()
        };
        let requests = self.server.received(USERAUTH_REQUEST);
        requests.iter().map(method).collect()
    }
}

fn denied(result: Result<(), Error>) -> Denial {
    match result {
        Err(Error::AuthRefused { why, .. }) => why,
        other => panic!("{other:?}"),
    }
}

/// `SSH_MSG_USERAUTH_INFO_REQUEST` with these prompts, an echo for each that ends with `:`.
fn round(instruction: &str, prompts: &[&str]) -> Vec<u8> {
    let mut message = vec![USERAUTH_INFO_REQUEST];
    for text in ["One-time\x1b[2J", instruction, ""] {
        message.put_string(text.as_bytes());
    }
    message.put_u32(prompts.len() as u32);
    for prompt in prompts {
        message.put_string(prompt.as_bytes());
        message.put_boolean(prompt.ends_with(':'));
    }
    message
}

fn takes_password(password: &'static str) -> Knobs {
    Knobs {
        password: Some(password),
        ..Knobs::default()
    }
}

#[test]
fn the_key_is_tried_before_anybody_is_asked_for_the_password() {
    let mut login = Login::new(takes_password("right"));
    login.run(&["right"]).unwrap();
    assert!(login.authenticated);
    assert_eq!(login.methods(), ["none", "publickey", "password"]);
    assert_eq!(login.asked.len(), 1);
    let prompt = &login.asked[0].prompts[0];
    assert_eq!((prompt.text.as_str(), prompt.echo), ("", false));
    // A key that is accepted asks nobody.
    let mut login = Login::new(takes_password("right"));
    login.server.knobs.auth = Answer::Yes;
    login.run(&[]).unwrap();
    assert!(login.authenticated && login.asked.is_empty());
}

#[test]
fn three_passwords_are_tried_and_no_fourth() {
    let mut login = Login::new(takes_password("right"));
    assert_eq!(denied(login.run(&["wrong"])), Denial::Password);
    assert_eq!(login.asked.len(), 3);
    let mut login = Login::new(Knobs {
        auth_methods: &["publickey", "hostbased"],
        ..Knobs::default()
    });
    assert_eq!(denied(login.run(&[])), Denial::NoPassword);
}

#[test]
fn how_long_a_password_is_does_not_show() {
    let lengths = [1, 8, 63, 120].map(|length| {
        let mut login = Login::new(takes_password("right"));
        let password = "x".repeat(length);
        denied(login.run(&[&password]));
        login.written[0]
    });
    assert!(lengths.iter().all(|n| *n == lengths[0]), "{lengths:?}");
}

#[test]
fn rounds_of_prompts_are_answered_in_their_order_and_one_without_prompts_by_itself() {
    let mut login = Login::new(Knobs {
        keyboard: Answer::Ask,
        auth_methods: &["password", "keyboard-interactive"],
        ..Knobs::default()
    });
    login.run(&[]).unwrap();
    assert_eq!(login.methods(), ["none", "keyboard-interactive"], "first");
    login.server.send(&round("Have your token ready", &[]));
    login.run(&[]).unwrap();
    let prompts = ["Password: ", "Token:"];
    login.server.send(&round("", &prompts));
    login.run(&["secret", "123456"]).unwrap();
    let asked = &login.asked[0];
    assert_eq!(asked.name, "One-time\\u{1b}[2J", "fit for a terminal");
    let shown: Vec<_> = asked.prompts.iter().map(|p| (&*p.text, p.echo)).collect();
    assert_eq!(shown, [("Password: ", false), ("Token:", true)]);
    let mut expected = vec![USERAUTH_INFO_RESPONSE];
    expected.put_u32(2);
    expected.put_string(b"secret");
    expected.put_string(b"123456");
    let nothing = [USERAUTH_INFO_RESPONSE, 0, 0, 0, 0];
    assert_eq!(
        login.server.received(USERAUTH_INFO_RESPONSE),
        [&nothing[..], &expected]
    );
    login.server.send(&[USERAUTH_SUCCESS]);
    login.run(&[]).unwrap();
    assert!(login.authenticated);
}

#[test]
fn a_server_without_prompts_for_this_user_is_asked_for_the_password_method() {
    let mut login = Login::new(Knobs {
        auth_methods: &["keyboard-interactive", "password"],
        ..takes_password("right")
    });
    login.run(&["right"]).unwrap();
    assert!(login.authenticated);
    let methods = ["none", "keyboard-interactive", "password"];
    assert_eq!(login.methods(), methods);
}

#[test]
fn prompts_and_rounds_without_end_end_the_connection() {
    let keyboard = || {
        let mut login = Login::new(Knobs {
            keyboard: Answer::Ask,
            auth_methods: &["keyboard-interactive"],
            ..Knobs::default()
        });
        login.run(&[]).unwrap();
        login
    };
    let mut login = keyboard();
    login.server.send(&round("", &["?"; PROMPTS + 1]));
    assert_eq!(login.run(&[]), Err(Error::Limit("prompts")));
    let mut login = keyboard();
    for _ in 0..PROMPT_ROUNDS {
        login.server.send(&round("", &["?"]));
        login.run(&["x"]).unwrap();
    }
    login.server.send(&round("", &["?"]));
    assert_eq!(login.run(&["x"]), Err(Error::Limit("rounds of prompts")));
    // A round before the last one was answered.
    let mut login = keyboard();
    login.server.send(&round("", &["?"]));
    login.server.send(&round("", &["?"]));
    assert_eq!(login.run(&["x"]), Err(Error::Limit("rounds of prompts")));
    let mut login = keyboard();
    login.server.send(&round("", &["?"]));
    let long = "x".repeat(ANSWER + 1);
    assert_eq!(login.run(&[&long]), Err(Error::Limit("answers to prompts")));
    // A round that does not parse.
    let mut login = keyboard();
    let cut = round("", &["?"]);
    login.server.send(&cut[..cut.len() - 1]);
    assert_eq!(login.run(&[]), Err(Error::Malformed("field length")));
}

#[test]
fn a_password_that_has_to_be_changed_is_said() {
    let mut login = Login::new(Knobs {
        password_expired: true,
        ..takes_password("old")
    });
    assert_eq!(denied(login.run(&["old"])), Denial::PasswordExpired);
}

#[test]
fn a_tunnels_client_never_tries_a_password_and_answers_no_prompt() {
    let knobs = Knobs {
        auth: Answer::No,
        keyboard: Answer::Ask,
        auth_methods: &["publickey", "password", "keyboard-interactive"],
        ..takes_password("")
    };
    let duo = crate::every_way(&knobs, |_| {});
    assert!(duo.error.is_some(), "refused");
    assert_eq!(duo.server.received(USERAUTH_REQUEST).len(), 2, "none, key");
    let knobs = Knobs {
        auth: Answer::Silence,
        ..Knobs::default()
    };
    let duo = crate::every_way(&knobs, |duo| {
        duo.run();
        duo.server.send(&round("", &["Password: "]));
    });
    crate::unexpected(&duo, USERAUTH_INFO_REQUEST);
}
