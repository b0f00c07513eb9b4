//! People, and the targets that they are led to.

use super::Net;
use crate::server::Server;
use crate::targets::Conn;
use crate::users::User;

impl Net {
    /// Connections to targets that the controller holds.
    pub fn target_count(&self) -> usize {
        self.targets.open().count()
    }

    /// Whether the target of a user goes on serving.
    pub(crate) fn is_orderly(&self, id: u64) -> bool {
        let mut conns = self.targets.open();
        conns.any(|conn| conn.user() == Some(id) && !conn.gone && !conn.ended)
    }

    /// Users who have gone, and whose targets are still connected to.
    pub(crate) fn orphans(&self) -> Vec<u64> {
        let gone = |id: &u64| {
            let user = self.users.iter().find(|user| user.id == *id);
            user.is_none_or(|user| user.over)
        };
        let users = self.targets.open().filter_map(|conn| conn.user());
        users.filter(gone).collect()
    }

    /// Of each user who is being served: bytes that may be sent in all, bytes that the target
    /// took, and who it is.
    pub(crate) fn windows(&self) -> Vec<(u64, u64, u64)> {
        let of = |conn: &Conn| {
            let user = self
                .users
                .iter()
                .find(|user| Some(user.id) == conn.user())?;
            let server = self.connections[user.connection]
                .as_ref()?
                .server
                .as_ref()?;
            let granted = server.find(user.channel)?.granted;
            (!conn.gone).then_some((granted, conn.written, user.id))
        };
        self.targets.open().filter_map(of).collect()
    }

    /// Does something to a user whose session lives.
    pub(crate) fn with_user(&mut self, id: u64, act: impl FnOnce(&mut User, &mut Server)) {
        let mut users = self.users.iter_mut();
        let Some(user) = users.find(|user| user.id == id && !user.over) else {
            return;
        };
        let connection = self.connections[user.connection].as_mut();
        if let Some(server) = connection.and_then(|c| c.server.as_deref_mut()) {
            act(user, server);
        }
    }

    /// The controller writes no more to a target.
    pub(crate) fn shut_target(&mut self, number: usize) {
        self.touched = true;
        if let Some(mut conn) = self.targets.close(number) {
            conn.shut = true;
            self.target_left(&conn);
            self.targets.conns[number] = Some(conn);
        }
    }

    /// The controller lets go of a target, or says that it writes no more.
    pub(crate) fn target_left(&mut self, conn: &Conn) {
        let Some(id) = conn.user() else {
            return;
        };
        let alive = self.in_use();
        let mut users = self.users.iter_mut();
        if let Some(user) = users.find(|user| user.id == id && Some(user.connection) == alive) {
            self.breaches.extend(user.judge(conn));
        }
    }
}
