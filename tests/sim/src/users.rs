//! People on the server's side who use a forward.

use crate::pattern;
use crate::server::Server;
use crate::targets::Conn;

/// Somebody who connected to a listener.
#[derive(Clone, Debug)]
pub struct User {
    /// Who it is.
    pub id: u64,
    pub(crate) connection: usize,
    pub(crate) channel: u32,
    /// Bytes that are sent in all.
    pub sends: u64,
    /// Bytes that came back.
    pub received: u64,
    /// The bytes sent are all, and the end was said.
    pub(crate) finished: bool,
    /// Hung up by the user.
    pub(crate) hung_up: bool,
    /// The target ended in an orderly way, and this many bytes are to arrive.
    pub(crate) expects: Option<u64>,
    /// The connection is over.
    pub over: bool,
}

impl User {
    /// Connects through a listener of a session and sends so many bytes.
    pub(crate) fn connect(
        id: u64,
        connection: usize,
        server: &mut Server,
        (bind, port): (&str, u16),
        sends: u64,
    ) -> User {
        let channel = server.open(bind, u32::from(port));
        let bytes: Vec<u8> = (0..sends).map(|at| pattern::up(id, at)).collect();
        server.write(channel, &bytes);
        User {
            id,
            connection,
            channel,
            sends,
            received: 0,
            finished: false,
            hung_up: false,
            expects: None,
            over: false,
        }
    }

    /// Everything that was sent came back.
    pub fn is_answered(&self) -> bool {
        self.received == self.sends
    }

    /// Sends no more, once everything has gone.
    pub(crate) fn finish(&mut self, server: &mut Server) {
        self.finished = true;
        server.finish(self.channel);
    }

    /// Hangs up, once everything has gone.
    pub(crate) fn hang_up(&mut self, server: &mut Server) {
        self.finish(server);
        self.hung_up = true;
        server.close(self.channel);
    }

    /// Takes what came, and checks it. Gives what did not hold.
    pub(crate) fn work(&mut self, server: &mut Server) -> Option<String> {
        let id = self.id;
        let bytes = server.take_received(self.channel);
        let wrong = bytes
            .iter()
            .zip(self.received..)
            .find(|&(byte, at)| *byte != pattern::down(id, at))
            .map(|(_, at)| format!("user {id} got a wrong byte {at}"));
        self.received += bytes.len() as u64;
        let Some(channel) = server.find(self.channel) else {
            self.over = true;
            return wrong;
        };
        let short = match self.expects {
            Some(expected) if channel.eof_received && expected != self.received => {
                let received = self.received;
                Some(format!("user {id} got {received} of {expected} bytes"))
            }
            _ => None,
        };
        if channel.eof_received && !self.finished {
            self.finish(server);
        }
        self.over = server.find(self.channel).is_none_or(|c| c.is_over());
        wrong.or(short)
    }

    /// The controller let go of the target, or said its end; gives what did not hold.
    pub(crate) fn judge(&mut self, conn: &Conn) -> Option<String> {
        let complete = conn.written == self.sends;
        let bad = conn.shut && !conn.gone && self.finished && !complete;
        if conn.ended && !conn.gone {
            self.expects = Some(conn.said);
        }
        bad.then(|| {
            let (id, written, sends) = (self.id, conn.written, self.sends);
            format!("the target of user {id} got {written} of {sends} bytes")
        })
    }
}
