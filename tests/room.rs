//! `MaxTunnels`: a program that calls for one server after the other does not fill the memory, and
//! costs no tunnel that works.
#![allow(clippy::unwrap_used)]

mod support;

use support::client::{Call, Ended};
use support::controller::{Controller, controller};
use support::{free_port, patience, user, wait_until};

/// A call for a tunnel to a port where nobody listens.
fn call_for<'a>(controller: &'a Controller, server: u16, most: &str) -> Call<'a> {
    Call::trusting(&controller.scene, &controller.key)
        .forward(free_port(), controller.target.address)
        .option(most)
        .args(&["-f", &at(server)])
}

fn at(server: u16) -> String {
    format!("{}@127.0.0.1:{server}", user())
}

fn call(controller: &Controller, server: u16) -> Ended {
    call_for(controller, server, "MaxTunnels=3").run()
}

/// The tunnels that there are, by what `status` says of each.
fn tunnels(controller: &Controller) -> String {
    controller.ask(&["status"]).stdout.join("\n")
}

#[test]
fn a_call_for_one_too_many_takes_the_place_of_the_oldest_that_never_came_up() {
    let controller = controller();
    let port = free_port();
    let up = controller.call(port).args(&["--wait"]).run();
    assert_eq!(up.code, 0, "{up:?}");
    let typos = [free_port(), free_port(), free_port()];
    for typo in typos {
        let called = call(&controller, typo);
        assert_eq!(called.code, 0, "{called:?}");
    }
    let line = format!(
        "{} gave way to {}: MaxTunnels is 3, and it never came up",
        at(typos[0]),
        at(typos[2])
    );
    controller.syslog.lines.wait_for(&line, patience());
    let found = tunnels(&controller);
    let is_there = |server: u16| found.contains(&format!(" port {server}: "));
    assert!(!is_there(typos[0]), "{found}");
    for stays in [controller.server.port, typos[1], typos[2]] {
        assert!(is_there(stays), "{found}");
    }
    controller.confirmed(port);
}

#[test]
fn where_all_work_one_more_is_refused_and_those_that_run_are_called_as_before() {
    let controller = controller();
    let port = free_port();
    let up = controller.call(port).args(&["--wait"]).run();
    assert_eq!(up.code, 0, "{up:?}");
    let refused = call_for(&controller, free_port(), "MaxTunnels=1").run();
    assert_eq!(refused.code, 69, "{refused:?}");
    let said = refused.stderr.join(" ");
    assert!(
        said.contains("MaxTunnels is 1: see reachback status"),
        "{said}"
    );
    let again = call_for(&controller, controller.server.port, "MaxTunnels=1").run();
    assert_eq!(again.code, 0, "{again:?}");
    // As the message says.
    let stopped = controller.ask(&["stop", &controller.destination()]);
    assert_eq!(stopped.code, 0, "{stopped:?}");
    let called = call_for(&controller, free_port(), "MaxTunnels=1").run();
    assert_eq!(called.code, 0, "{called:?}");
}

#[test]
fn calls_at_the_same_instant_are_counted_one_after_the_other() {
    let controller = controller();
    let calls: Vec<_> = (0..12)
        .map(|_| call_for(&controller, free_port(), "MaxTunnels=4").begin())
        .collect();
    for mut call in calls {
        call.wait(patience());
    }
    wait_until("four are left", patience(), || {
        controller.owners().len() == 4
    });
}
