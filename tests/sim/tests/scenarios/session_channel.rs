//! `SessionChannel`: what the server prints there, and that nothing else is done with it.

use reachback_core::config::SessionChannel;
use reachback_sim::log;

use super::*;

/// A tunnel with this keyword to a server that prints this; gives its log as well.
fn printed(wanted: SessionChannel, prints: &'static [u8], after_shell: bool) -> (World, String) {
    log::keep();
    let setup = Setup {
        session_channel: wanted,
        ..Setup::default()
    };
    let mut world = World::new(setup, 11);
    world.net().set_knobs(|knobs| {
        knobs.prints = Some(prints);
        knobs.prints_after_shell = after_shell;
    });
    assert!(world.run_until(5 * S, |world| world.is_whole()));
    world.run_for(5 * S);
    let lines = log::take().join("\n");
    clean(&world);
    (world, lines)
}

/// The programs that were asked for on each session channel.
fn programs(world: &World) -> Vec<Vec<String>> {
    let mut net = world.net();
    let channels = net.server().unwrap().channels();
    let sessions = channels.filter(|(_, channel)| channel.is_session);
    sessions
        .map(|(_, channel)| channel.programs.clone())
        .collect()
}

/// The server's number of the session channel.
fn session_channel(world: &World) -> u32 {
    let mut net = world.net();
    let mut channels = net.server().unwrap().channels();
    channels.find(|(_, channel)| channel.is_session).unwrap().0
}

#[test]
fn what_the_server_prints_is_logged_without_its_colours_and_escaped() {
    let prints = b"\x1b[1;32mHTTP\x1b[0m: http://x.hub.example\x1b[0m\r\n\x07bell\r\nunfinished";
    let (world, lines) = printed(SessionChannel::Yes, prints, false);
    for said in [
        "the server prints: HTTP: http://x.hub.example\n",
        "the server prints: \\u{7}bell",
        "the server prints: unfinished",
    ] {
        assert!(lines.contains(said), "{said}: {lines}");
    }
    assert!(!lines.contains('\x1b'), "{lines}");
    assert_eq!(programs(&world), [[""; 0]], "nothing runs on it");
}

#[test]
fn a_shell_is_asked_for_only_where_the_configuration_says_so() {
    let (world, lines) = printed(SessionChannel::Shell, b"url\n", true);
    assert!(lines.contains("the server prints: url"), "{lines}");
    assert_eq!(programs(&world), [["shell"]]);
    let (world, lines) = printed(SessionChannel::Yes, b"url\n", true);
    assert!(!lines.contains("prints"), "{lines}");
    assert_eq!(programs(&world).len(), 1);
    let (world, _) = printed(SessionChannel::No, b"url\n", false);
    assert!(programs(&world).is_empty());
}

#[test]
fn a_server_that_prints_without_end_fills_no_log() {
    let flood: &[u8] = Vec::leak(b"one more request\n".repeat(20_000));
    let (mut world, lines) = printed(SessionChannel::Yes, flood, false);
    assert_eq!(lines.matches("the server prints").count(), 20);
    let long: &[u8] = Vec::leak(vec![b'x'; 100_000]);
    let (_, lines) = printed(SessionChannel::Yes, long, false);
    let line = lines.lines().find(|line| line.contains("prints")).unwrap();
    assert!(line.len() < 320, "{}", line.len());
    // What was not said is counted with the next line of a later minute.
    let number = session_channel(&world);
    log::keep();
    world.run_for(2 * MIN);
    world.net().server().unwrap().write(number, b"later\n");
    world.run_for(S);
    let lines = log::take().join("\n");
    assert!(
        lines.contains("the server printed 19980 more lines"),
        "{lines}"
    );
    assert!(lines.contains("the server prints: later"), "{lines}");
}

#[test]
fn a_session_channel_that_the_server_closes_is_said_and_costs_the_tunnel_nothing() {
    let (mut world, _) = printed(SessionChannel::Yes, b"hello\n", false);
    let number = session_channel(&world);
    world.net().server().unwrap().close(number);
    world.run_for(S);
    let lines = log::take().join("\n");
    assert!(
        lines.contains("the server closed the session channel"),
        "{lines}"
    );
    assert!(exchange(&mut world, 0, 10_000, 10 * S));
    assert_eq!(world.invariants.attempts.len(), 1);
    clean(&world);
}
