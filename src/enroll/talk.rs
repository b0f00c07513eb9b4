//! The client of a login at which a person is asked, and answers that wait until they can be sent.

use reachback_ssh::Error;
use reachback_ssh::interactive::{InteractiveClient, Step};
use zeroize::Zeroizing;

use crate::once::{Heard, Speaker, heard, speaks};

/// The client, and answers that wait until they can be sent.
pub struct Talk {
    /// The client.
    pub client: InteractiveClient,
    answers: Option<Answers>,
}

/// One for each prompt.
pub type Answers = Vec<Zeroizing<Vec<u8>>>;

impl Talk {
    /// With a client that has just begun.
    pub fn new(client: InteractiveClient) -> Talk {
        Talk {
            client,
            answers: None,
        }
    }

    /// Answers what was asked, now or as soon as it can be.
    pub fn answer(&mut self, answers: Answers) {
        self.answers = Some(answers);
    }
}

impl Speaker for Talk {
    fn next(&mut self) -> Result<Option<Heard>, Error> {
        Ok(self.client.poll()?.map(|step| match step {
            Step::Ask(prompts) => Heard::Ask(prompts),
            Step::Event(event) => heard(event),
        }))
    }

    fn settle(&mut self) -> Result<(), Error> {
        if let Some(answers) = self.answers.take()
            && !self.client.answer(&answers)?
        {
            self.answers = Some(answers);
        }
        Ok(())
    }

    speaks!(client);
}
