//! Orders of callers, limits, another configuration, another process.

use std::time::Duration;

use reachback_core::dial::AddressFamily;
use reachback_core::forward::ForwardSpec;
use reachback_sim::setup::forward;

use super::*;

/// The listeners of the connection in use, by port.
fn listeners(world: &World) -> Vec<u16> {
    let mut net = world.net();
    let Some(server) = net.server() else {
        return Vec::new();
    };
    let mut ports: Vec<u16> = server.listeners.iter().map(|own| own.port).collect();
    ports.sort_unstable();
    ports
}

fn more() -> ForwardSpec {
    forward("1113:localhost:83")
}

#[test]
fn forwards_come_and_go_on_the_living_connection() {
    let mut world = up();
    assert!(world.add_forward(&more()));
    world.run_for(S);
    assert_eq!(listeners(&world), [1111, 1112, 1113]);
    assert!(world.exchange(&more(), 10_000, 5 * S));
    assert!(world.remove_forward(&forward("1111:localhost:81")));
    assert!(world.remove_forward(&more()));
    assert!(!world.remove_forward(&more()), "it is gone");
    world.run_for(S);
    assert_eq!(listeners(&world), [1112]);
    assert_eq!(world.invariants.attempts.len(), 1);
    clean(&world);
}

#[test]
fn a_connection_outlives_the_forward_that_it_came_through() {
    let mut world = up();
    set_targets(&world, Manner::Trickles(5_000));
    let user = connect(&mut world, 0, 100_000).unwrap();
    world.run_for(S);
    assert!(world.remove_forward(&forward("1111:localhost:81")));
    world.run_for(MIN);
    assert!(world.user(user).unwrap().is_answered());
    clean(&world);
}

#[test]
fn orders_hold_over_lost_connections_reloads_and_a_new_process() {
    let mut world = up();
    assert!(world.add_forward(&more()));
    assert!(world.remove_forward(&forward("1112:localhost:82")));
    world.net().reset_all(0);
    world.run_for(5 * S);
    assert_eq!(listeners(&world), [1111, 1113]);
    let setup = world.setup.clone();
    world.reload(setup);
    world.run_for(5 * S);
    assert_eq!(listeners(&world), [1111, 1113]);
    world.restart();
    world.run_for(5 * S);
    assert_eq!(listeners(&world), [1111, 1113]);
    // A later order undoes an earlier one, also after that.
    assert!(world.add_forward(&forward("1112:localhost:82")));
    assert!(world.remove_forward(&more()));
    world.restart();
    world.run_for(5 * S);
    assert_eq!(listeners(&world), [1111, 1112]);
    clean(&world);
}

#[test]
fn an_order_that_a_reload_made_void_does_not_come_back_with_a_new_process() {
    let mut world = up();
    let first = forward("1111:localhost:81");
    assert!(world.remove_forward(&first));
    let with = world.setup.clone();
    let mut without = with.clone();
    without.forwards.retain(|spec| *spec != first);
    world.reload(without);
    world.run_for(S);
    world.reload(with);
    world.run_for(S);
    assert_eq!(listeners(&world), [1111, 1112]);
    world.restart();
    world.run_for(5 * S);
    assert_eq!(listeners(&world), [1111, 1112]);
    clean(&world);
}

#[test]
fn the_table_of_forwards_is_full_at_sixteen_and_says_so() {
    let mut world = up();
    let spec = |n: usize| forward(&format!("{}:localhost:81", 2000 + n));
    assert!((0..14).all(|n| world.add_forward(&spec(n))));
    assert!(!world.add_forward(&spec(14)));
    world.run_for(S);
    assert_eq!(listeners(&world).len(), 16);
    // One that goes makes room as soon as the server has let go of it.
    assert!(world.remove_forward(&spec(0)));
    world.run_for(S);
    assert!(world.add_forward(&spec(14)));
    world.run_for(S);
    assert_eq!(listeners(&world).len(), 16);
    clean(&world);
}

#[test]
fn a_script_takes_away_what_callers_added_and_the_tunnel_with_the_last() {
    let mut world = up();
    let (first, second) = (forward("1111:localhost:81"), forward("1112:localhost:82"));
    assert!(world.add_forward(&more()) && world.add_forward(&first));
    for spec in [&first, &second, &more()] {
        world.withdraw(spec);
    }
    world.run_for(S);
    assert_eq!(listeners(&world), [1111, 1112], "these are configured");
    // Nor does what a person closed end with the last of the callers'.
    assert!(world.remove_forward(&first) && world.remove_forward(&second));
    assert!(world.add_forward(&more()));
    world.withdraw(&more());
    world.run_for(S);
    assert!(!world.tunnel.is_ending());
    assert!(world.add_forward(&more()));
    let mut without = world.setup.clone();
    without.forwards.clear();
    world.reload(without);
    world.withdraw(&more());
    world.run_for(30 * S);
    assert!(world.tunnel.is_finished());
    clean(&world);
}

#[test]
fn an_end_that_is_ordered_comes_within_2_s_whatever_the_network_does() {
    let states: [fn(&mut World); 6] = [
        |_| {},
        black_hole,
        |world| world.net().hub().hung = true,
        |world| world.set_link(false, false),
        |world| {
            world.net().kill_server(0);
            world.run_for(30 * S);
        },
        |world| {
            world.net().path.dns = Dns::Silent;
            world.net().reset_all(0);
            world.run_for(2 * S);
        },
    ];
    for (number, spoil) in states.into_iter().enumerate() {
        let mut world = up();
        connect(&mut world, 0, 400_000);
        world.run_for(100);
        spoil(&mut world);
        world.stop();
        world.run_for(2 * S);
        assert!(world.tunnel.is_finished(), "{number}");
        clean(&world);
    }
}

#[test]
fn a_reconnection_is_made_at_once() {
    let mut world = up();
    world.reconnect();
    assert!(whole_within(&mut world, 5 * S) <= S);
    assert_eq!(world.invariants.attempts.len(), 2);
    // Also from the longest wait.
    world.net().hub().knobs.auth = Answer::No;
    world.reconnect();
    world.run_for(MIN);
    world.net().hub().knobs.auth = Answer::Yes;
    world.reconnect();
    assert!(whole_within(&mut world, 5 * S) <= S);
    clean(&world);
}

#[test]
fn the_longest_life_ends_it_and_a_new_process_does_not_prolong_it() {
    let setup = Setup {
        max_lifetime: Duration::from_secs(3_600),
        ..Setup::default()
    };
    let mut world = World::new(setup, 11);
    for _ in 0..5 {
        world.run_for(11 * MIN);
        world.restart();
    }
    whole_within(&mut world, 5 * S);
    let end_ms = HOUR - S;
    assert!(!world.run_until(end_ms, |world| world.tunnel.is_ending()));
    world.run_for(4 * S);
    assert!(world.tunnel.is_finished());
    clean(&world);
}

#[test]
fn an_idle_tunnel_ends_and_one_in_use_does_not() {
    let setup = Setup {
        idle_timeout: Duration::from_secs(600),
        ..Setup::default()
    };
    let mut world = World::new(setup, 11);
    whole_within(&mut world, 5 * S);
    set_targets(&world, Manner::Trickles(100));
    let user = connect(&mut world, 0, 120_000).unwrap();
    world.run_for(19 * MIN);
    assert!(!world.tunnel.is_ending());
    world.run_for(MIN + 10 * S);
    assert!(world.user(user).unwrap().is_answered());
    world.hang_up(user);
    world.run_for(9 * MIN);
    assert!(!world.tunnel.is_ending());
    world.run_for(MIN + 5 * S);
    assert!(world.tunnel.is_finished());
    clean(&world);
}

/// Connections made so far, once the change is applied and the tunnel is whole.
fn attempts_after(change: impl Fn(&mut Setup)) -> usize {
    let mut world = up();
    let mut setup = world.setup.clone();
    change(&mut setup);
    world.reload(setup);
    world.run_for(100);
    whole_within(&mut world, 10 * S);
    let forwards = world.wanted.forwards();
    assert!(
        forwards
            .iter()
            .all(|spec| world.exchange(spec, 1_000, 5 * S))
    );
    clean(&world);
    world.invariants.attempts.len()
}

#[test]
fn another_configuration_renews_the_connection_only_where_it_has_to() {
    let stays: [fn(&mut Setup); 7] = [
        |_| {},
        |setup| setup.policy.alive_interval = Duration::from_secs(20),
        |setup| setup.policy.alive_count_max = 1,
        |setup| setup.verify_forward = true,
        |setup| setup.forwards.push(more()),
        |setup| setup.forwards.truncate(1),
        |setup| setup.max_lifetime = Duration::from_secs(7_200),
    ];
    for (number, change) in stays.into_iter().enumerate() {
        assert_eq!(attempts_after(change), 1, "{number}");
    }
    let renews: [fn(&mut Setup); 8] = [
        |setup| setup.key = 8,
        |setup| setup.rekey.bytes = 1 << 20,
        |setup| setup.family = AddressFamily::V4,
        |setup| setup.keep_alive = false,
        |setup| setup.known_hosts = "another".into(),
        |setup| setup.source.interface = Some("eth1".into()),
        |setup| setup.servers[0].user = "another".into(),
        |setup| setup.servers = vec![Setup::with_fallback().servers[1].clone()],
    ];
    for (number, change) in renews.into_iter().enumerate() {
        assert_eq!(attempts_after(change), 2, "{number}");
    }
}

#[test]
fn a_forward_that_gets_another_target_leads_to_it() {
    let mut world = up();
    world
        .net()
        .targets
        .manners
        .insert("81".into(), Manner::Refuses);
    assert!(!exchange(&mut world, 0, 1_000, 5 * S));
    let mut setup = world.setup.clone();
    setup.forwards[0] = forward("1111:localhost:83");
    world.reload(setup);
    world.run_for(5 * S);
    assert!(exchange(&mut world, 0, 1_000, 5 * S));
    assert_eq!(world.invariants.attempts.len(), 1);
    clean(&world);
}
