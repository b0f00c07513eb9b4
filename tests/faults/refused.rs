//! A server that turns the client away must not be hammered, and must not let it in again
//! by accident.

use std::fs;

use crate::fault::s;
use crate::report;
use crate::subject::{Program, SHORT, Subject};
use crate::support::{never_during, text, wait_until};
use crate::world::{SSH, ServerKind, World};

/// How long attempts are counted.
const WATCHED: std::time::Duration = s(30);

fn up(program: Program) -> Option<(World, Subject)> {
    let world = World::new(ServerKind::OpenSsh)?;
    let subject = Subject::start(&world, program, SHORT);
    world.wait_usable(s(30));
    Some((world, subject))
}

/// Connections and logins that the server saw during [`WATCHED`]. The program under test must
/// not get in.
fn attempts(world: &mut World, what: &str, program: Program) -> usize {
    let log = world.sshd().log.clone();
    let mark = log.mark();
    if program == Program::Reachback {
        never_during(what, WATCHED, || world.is_usable(s(1)));
    } else {
        std::thread::sleep(WATCHED);
    }
    let lines = log.all().split_off(mark);
    let count = |text: &str| lines.iter().filter(|line| line.contains(text)).count();
    let (connections, logins) = (count("Connection from "), count("Accepted publickey"));
    report::attempts(what, program, WATCHED, connections, logins);
    if program == Program::Reachback {
        assert_eq!(logins, 0, "{what}: {lines:#?}");
    }
    connections
}

/// A key that is no longer authorised: `program` tries again how often?
pub fn authentication(program: Program) {
    let Some((mut world, subject)) = up(program) else {
        return;
    };
    let authorized = world.scene.path(&format!("authorized-{SSH}"));
    let lines = fs::read_to_string(&authorized).unwrap();
    fs::write(&authorized, "").unwrap();
    world.kill_sessions();
    let count = attempts(&mut world, "the key is no longer authorised", program);
    if program != Program::Reachback {
        return;
    }
    let log = &subject.process.stderr;
    assert!(log.contains("authentication refused"), "{:#?}", log.all());
    assert!(count <= 2, "{count} attempts; {:#?}", log.all());
    fs::write(&authorized, lines).unwrap();
    subject.reconnect();
    world.wait_usable(s(3));
}

/// A server with another host key: nobody is logged in there.
pub fn host_key(program: Program) {
    let Some((mut world, subject)) = up(program) else {
        return;
    };
    world.sshd().stop();
    world.exchange_host_key();
    let pinned = fs::read_to_string(world.scene.known_hosts()).unwrap();
    let World { sshd, net, .. } = &mut world;
    sshd.as_mut().unwrap().start_in(&net.internet);
    let count = attempts(&mut world, "the server's host key changed", program);
    if program != Program::Reachback {
        return;
    }
    let own = &subject.process.stderr;
    assert!(own.contains("has changed"), "{:#?}", own.all());
    // The restart may have been seen as a refused connection some times before.
    assert!(count <= 2, "{count} attempts; {:#?}", own.all());
    let now = fs::read_to_string(world.scene.known_hosts()).unwrap();
    assert_eq!(now, pinned, "{}", text(&world.scene.known_hosts()));
    world.sshd().stop();
    world.exchange_host_key();
    let World { sshd, net, .. } = &mut world;
    sshd.as_mut().unwrap().start_in(&net.internet);
    subject.reconnect();
    wait_until("the tunnel is back", s(3), || world.is_usable(s(1)));
}
