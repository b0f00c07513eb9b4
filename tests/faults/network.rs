//! Faults of the network.

use crate::fault::{Fault, Lasts, Notice, PLAIN, SILENCE, as_long_again, s};
use crate::subject::DEFAULTS;
use crate::support::netns::{FAR, NEAR, OWN};
use crate::world::{ServerKind, World};

/// After an outage of 20 s without an event of the kernel: the attempt under way (5 s) and the
/// wait after it (at most 8 s), and one second to connect.
const AFTER_OUTAGE: std::time::Duration = s(5 + 8 + 1);

/// As long as packets still arrive, so do the server's own two questions, one a second.
const HALF_OPEN: Notice = Notice::Within(SILENCE.saturating_add(s(2)));

fn restore_route(world: &World) {
    world.net.route();
}

/// Long enough for the other programs to notice by themselves; for the table only.
pub const LONG: Fault = Fault {
    name: "at_the_default_interval_a_long_silence_is_overcome",
    what: "packets dropped both ways, 280 s, everything at its default of 60 s",
    timing: DEFAULTS,
    lasts: Lasts::For(s(280)),
    notice: Notice::Within(std::time::Duration::from_millis(75_500)),
    // The attempt under way ends after 30 s, and the next follows within 60 s.
    usable: s(30 + 60 + 2),
    limit: s(400),
    begin: |world, _| world.both_ways("drop"),
    ..PLAIN
};

/// All of them.
pub const FAULTS: &[Fault] = &[
    Fault {
        name: "silent_loss_both_ways_is_noticed_and_overcome",
        what: "packets dropped both ways, 20 s",
        usable: AFTER_OUTAGE,
        begin: |world, _| world.both_ways("drop"),
        ..PLAIN
    },
    Fault {
        name: "silent_loss_towards_the_server_is_noticed_and_overcome",
        what: "packets dropped controller to server, 20 s",
        notice: HALF_OPEN,
        usable: AFTER_OUTAGE,
        begin: |world, _| world.inward("drop"),
        ..PLAIN
    },
    Fault {
        name: "silent_loss_towards_the_controller_is_noticed_and_overcome",
        what: "packets dropped server to controller, 20 s",
        usable: AFTER_OUTAGE,
        begin: |world, _| world.outward("drop"),
        ..PLAIN
    },
    Fault {
        name: "silent_loss_to_dropbear_is_noticed_and_overcome",
        what: "packets dropped both ways, 20 s, Dropbear as the server",
        server: ServerKind::Dropbear,
        usable: AFTER_OUTAGE,
        begin: |world, _| world.both_ways("drop"),
        ..PLAIN
    },
    Fault {
        name: "at_the_default_interval_silence_is_noticed_within_75_s",
        what: "packets dropped both ways, 90 s, everything at its default of 60 s",
        timing: DEFAULTS,
        lasts: Lasts::For(s(90)),
        notice: Notice::Within(std::time::Duration::from_millis(75_500)),
        // A SYN of the attempt under way is sent again after at most 16 s, or the attempt
        // ends after 30 s and the next follows within 2 s.
        usable: s(33),
        limit: s(400),
        peers: false,
        begin: |world, _| world.both_ways("drop"),
        ..PLAIN
    },
    Fault {
        name: "ten_per_cent_of_loss_are_survived",
        what: "10 % of packets lost both ways",
        lasts: Lasts::ForGood,
        notice: Notice::Survives(s(20)),
        usable: s(20),
        patience: s(20),
        begin: |world, _| world.both_ways("numgen random mod 100 < 10 drop"),
        ..PLAIN
    },
    Fault {
        name: "with_thirty_per_cent_of_loss_the_tunnel_is_still_usable",
        what: "30 % of packets lost both ways",
        lasts: Lasts::ForGood,
        notice: Notice::Either,
        usable: s(60),
        patience: s(30),
        begin: |world, _| world.both_ways("numgen random mod 100 < 30 drop"),
        ..PLAIN
    },
    Fault {
        name: "a_firewall_that_resets_is_noticed_with_the_next_probe",
        what: "a firewall answers with RST, 10 s",
        lasts: Lasts::For(s(10)),
        notice: Notice::Within(std::time::Duration::from_millis(3_500)),
        usable: as_long_again(10),
        begin: |world, _| world.inward("meta l4proto tcp reject with tcp reset"),
        ..PLAIN
    },
    Fault {
        name: "a_router_that_says_unreachable_is_noticed_and_overcome",
        what: "a router answers host unreachable, 20 s",
        notice: HALF_OPEN,
        usable: as_long_again(20),
        begin: |world, _| world.inward("reject with icmp host-unreachable"),
        ..PLAIN
    },
    Fault {
        name: "with_its_link_back_the_tunnel_is_usable_within_2_s",
        what: "the controller's interface down and up again, 20 s",
        begin: |world, _| world.net.controller.ip(&format!("link set {NEAR} down")),
        end: |world, _| {
            world.net.controller.ip(&format!("link set {NEAR} up"));
            restore_route(world);
        },
        ..PLAIN
    },
    Fault {
        name: "with_the_carrier_back_the_tunnel_is_usable_within_2_s",
        what: "the carrier lost and back, 20 s",
        begin: |world, _| world.net.internet.ip(&format!("link set {FAR} down")),
        end: |world, _| world.net.internet.ip(&format!("link set {FAR} up")),
        ..PLAIN
    },
    Fault {
        name: "a_carrier_that_comes_back_just_after_an_attempt_began_is_used_within_2_s",
        what: "the carrier lost 20 s or more and back, half a second after an attempt began",
        peers: false,
        begin: |world, _| {
            // The kernel asks once for the router's hardware address and gives up after 1 s,
            // so that the attempt under way fails though the link is back.
            let solicit = format!("ipv4/neigh/{NEAR}/mcast_solicit");
            world.net.controller.sysctl(&solicit, "1");
            world.net.internet.ip(&format!("link set {FAR} down"));
        },
        end: |world, subject| {
            let log = &subject.process.stderr;
            log.wait_after(log.mark(), "connecting to ", s(60));
            std::thread::sleep(s(1) / 2);
            world.net.internet.ip(&format!("link set {FAR} up"));
        },
        ..PLAIN
    },
    Fault {
        name: "a_changed_address_ends_the_connection_and_the_next_one_comes_from_it",
        what: "the controller gets another address",
        lasts: Lasts::ForGood,
        notice: Notice::Within(s(2)),
        // The old session holds the forward's port for 3 to 6 s (sshd counts whole seconds); no
        // wait for it is longer than it has been refused so far.
        usable: s(2 + 1 + 6 + 6 + 1),
        begin: |world, _| {
            let controller = &world.net.controller;
            controller.ip(&format!("address add 10.77.0.3/24 dev {NEAR}"));
            controller.ip(&format!("address del {OWN}/24 dev {NEAR}"));
            // The next address of the network may have gone with the first one.
            controller.ip(&format!("address replace 10.77.0.3/24 dev {NEAR}"));
            controller.ip("route replace default via 10.77.0.1");
        },
        ..PLAIN
    },
    Fault {
        name: "with_its_route_back_the_tunnel_is_usable_within_2_s",
        what: "the default route gone and back, 20 s",
        notice: HALF_OPEN,
        begin: |world, _| world.net.controller.ip("route del default"),
        end: |world, _| restore_route(world),
        ..PLAIN
    },
    Fault {
        name: "a_connection_that_a_nat_forgot_is_replaced",
        what: "a NAT drops the established flow, new ones pass",
        lasts: Lasts::ForGood,
        usable: s(12 + 1 + 2),
        begin: |world, _| {
            let port = world.connections()[0];
            world.inward(&format!("tcp sport {port} drop"));
            world.outward(&format!("tcp dport {port} drop"));
        },
        ..PLAIN
    },
    Fault {
        name: "a_path_that_swallows_large_packets_is_noticed_under_load",
        what: "packets above 600 bytes dropped during an upload, 20 s",
        usable: AFTER_OUTAGE,
        begin: |world, _| {
            world.both_ways("meta length > 600 drop");
            world.start_endless_unless_stuck();
        },
        ..PLAIN
    },
    Fault {
        name: "a_full_send_buffer_does_not_delay_the_notice",
        what: "packets dropped both ways in the middle of an upload, 20 s",
        usable: AFTER_OUTAGE,
        begin: |world, _| {
            world.start_endless();
            world.both_ways("drop");
        },
        ..PLAIN
    },
    Fault {
        name: "an_outage_shorter_than_the_bound_is_survived",
        what: "packets dropped both ways, 2 s",
        lasts: Lasts::For(s(2)),
        notice: Notice::Survives(s(15)),
        usable: s(4),
        begin: |world, _| world.both_ways("drop"),
        ..PLAIN
    },
];
