//! Faults of the server, of its names and of the controller's own process.

use std::time::Duration;

use crate::fault::{Fault, Lasts, Notice, PLAIN, SILENCE, as_long_again, s};
use crate::gate::Stage;
use crate::support::{process, wait_until};
use crate::world::{ServerKind, World, signal};

/// A connection that the server closes is noticed at once.
const AT_ONCE: Notice = Notice::Within(s(1));
/// The first wait (at most 1 s) and a connection.
const FIRST_RETRY: Duration = s(1 + 1);

fn stall(world: &mut World, stage: Stage) {
    world.gate.as_ref().unwrap().stall(Some(stage));
    world.kill_sessions();
}

fn restart(world: &mut World) {
    let World { sshd, net, .. } = world;
    sshd.as_mut().unwrap().start_in(&net.internet);
}

/// A stage at which the server falls silent, on every connection.
const STALLED: Fault = Fault {
    server: ServerKind::Gated,
    // The first wait of 1 s again, since it was one failure before this one.
    usable: s(2 + 2),
    end: |world, _| world.gate.as_ref().unwrap().stall(None),
    ..PLAIN
};

/// All of them.
pub const FAULTS: &[Fault] = &[
    Fault {
        name: "a_killed_session_is_replaced_at_once",
        what: "the server's session killed",
        lasts: Lasts::ForGood,
        notice: AT_ONCE,
        usable: FIRST_RETRY,
        begin: |world, _| world.kill_sessions(),
        ..PLAIN
    },
    Fault {
        name: "a_killed_session_of_dropbear_is_replaced_at_once",
        what: "the server's session killed, Dropbear as the server",
        server: ServerKind::Dropbear,
        lasts: Lasts::ForGood,
        notice: AT_ONCE,
        usable: FIRST_RETRY,
        begin: |world, _| world.kill_sessions(),
        ..PLAIN
    },
    Fault {
        name: "a_server_that_was_killed_is_found_again",
        what: "sshd and its sessions killed, started after 10 s",
        lasts: Lasts::For(s(10)),
        notice: AT_ONCE,
        usable: as_long_again(10),
        begin: |world, _| world.sshd().stop(),
        end: |world, _| restart(world),
        ..PLAIN
    },
    Fault {
        name: "a_host_that_rebooted_is_found_again",
        what: "the server's host gone without a word and back after 6 s, its state lost",
        lasts: Lasts::For(s(6)),
        notice: Notice::Within(SILENCE),
        // Noticed when the next retransmission is answered with RST.
        usable: s(7 + 2),
        begin: |world, _| {
            world.both_ways("drop");
            world.sshd().stop();
        },
        end: |world, _| {
            restart(world);
            world.heal();
        },
        ..PLAIN
    },
    Fault {
        name: "a_service_that_restarts_without_its_sessions_is_not_even_noticed",
        what: "sshd's listener stopped and started after 5 s, its sessions live on",
        lasts: Lasts::For(s(5)),
        notice: Notice::Survives(s(8)),
        begin: |world, _| {
            let listener = world.listener();
            signal("TERM", listener);
            wait_until("the listener ends", s(5), || !process::is_alive(listener));
        },
        end: |world, _| restart(world),
        ..PLAIN
    },
    Fault {
        name: "a_port_that_another_process_took_is_waited_for",
        what: "the session killed, the forward's port taken by another process for 15 s",
        lasts: Lasts::For(s(15)),
        notice: AT_ONCE,
        // Asked for again after 5 s, then after at most 10 and 20 s.
        usable: s(20 + 1),
        begin: |world, _| {
            world.kill_sessions();
            world.hold_port();
        },
        end: |world, _| world.held.clear(),
        ..PLAIN
    },
    Fault {
        name: "a_port_that_a_dead_session_holds_is_taken_back",
        what: "the flow lost, the old session hangs on to the port for 25 s",
        lasts: Lasts::For(s(25)),
        usable: s(20 + 1),
        begin: |world, _| {
            let port = world.connections()[0];
            world.inward(&format!("tcp sport {port} drop"));
            world.outward(&format!("tcp dport {port} drop"));
            let sessions = world.sessions();
            world.stop(sessions);
        },
        end: |world, _| {
            let stopped = std::mem::take(&mut world.stopped);
            stopped.into_iter().for_each(process::kill);
        },
        ..PLAIN
    },
    Fault {
        name: "a_session_that_hangs_is_replaced",
        what: "the server's session stopped, 20 s",
        // The old session still holds the port when the client is back.
        usable: s(20 + 1),
        begin: |world, _| {
            let sessions = world.sessions();
            world.stop(sessions);
        },
        end: |world, _| world.go_on(),
        ..PLAIN
    },
    Fault {
        name: "a_server_that_accepts_and_says_nothing_is_left_after_the_connect_timeout",
        what: "the server accepts and says nothing",
        lasts: Lasts::UntilGivenUp(s(90)),
        notice: Notice::Within(Duration::from_millis(5_500)),
        begin: |world, _| stall(world, Stage::Ident),
        ..STALLED
    },
    Fault {
        name: "a_server_that_stops_in_the_key_exchange_is_left_after_30_s",
        what: "the server stops in the middle of the key exchange",
        lasts: Lasts::UntilGivenUp(s(90)),
        notice: Notice::Within(Duration::from_millis(30_500)),
        begin: |world, _| stall(world, Stage::KeyExchange),
        ..STALLED
    },
    Fault {
        name: "a_server_that_never_answers_authentication_is_left_after_60_s",
        what: "the server never answers the request for authentication",
        lasts: Lasts::UntilGivenUp(s(90)),
        notice: Notice::Within(Duration::from_millis(60_500)),
        begin: |world, _| stall(world, Stage::Authentication),
        ..STALLED
    },
    Fault {
        name: "a_server_that_never_answers_a_forward_request_is_left_within_30_s",
        what: "the server never answers the request for the forward",
        lasts: Lasts::UntilGivenUp(s(90)),
        notice: Notice::Within(Duration::from_millis(30_500)),
        begin: |world, _| stall(world, Stage::Forward),
        ..STALLED
    },
    Fault {
        name: "without_a_name_server_the_last_address_is_used",
        what: "the session killed while the name server is silent",
        by_name: true,
        lasts: Lasts::ForGood,
        notice: AT_ONCE,
        // One second until the name server is given up.
        usable: s(1 + 1 + 2),
        begin: |world, _| {
            world.names.as_ref().unwrap().answer(false);
            world.kill_sessions();
        },
        ..PLAIN
    },
    Fault {
        name: "a_name_server_that_comes_back_is_asked_again",
        what: "no name server at the start, there after 10 s",
        by_name: true,
        from_start: true,
        lasts: Lasts::For(s(10)),
        notice: Notice::Either,
        usable: as_long_again(10),
        begin: |world, _| world.names.as_ref().unwrap().answer(false),
        end: |world, _| world.names.as_ref().unwrap().answer(true),
        ..PLAIN
    },
    Fault {
        name: "after_a_suspend_the_tunnel_is_back_at_once",
        what: "the controller suspended, 15 s",
        lasts: Lasts::For(s(15)),
        notice: Notice::Within(s(15 + 1)),
        usable: s(1 + 2),
        begin: |world, subject| world.stop(subject.pids()),
        end: |world, _| world.go_on(),
        ..PLAIN
    },
];
