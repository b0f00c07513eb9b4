//! The wall clock is for people: wherever it stands and whatever it does, the tunnel stays up.
//!
//! The clock is moved for the program alone, by libfaketime; the clock of the deadlines stays.
//! With `REACHBACK_RUNNER=qemu-arm` these are the calls of the 32-bit program.
#![allow(clippy::unwrap_used)]

mod support;

use support::client::{Call, Reachback};
use support::clock::at;
use support::rig::Site;
use support::syslog::Syslog;
use support::targets::{self, Target};
use support::{free_port, patience, user};

/// A tunnel whose process started at `time`, up, with a connection through it.
fn tunnel_at(site: &Site, time: &str) -> (Reachback, Target, u16) {
    let (target, port) = (Target::http("page"), free_port());
    let call = at(site.call().forward(port, target.address), time);
    let client = call.start(user(), site.server.port);
    client.wait_up(port);
    assert_eq!(targets::fetch(port), "page", "at {time}");
    (client, target, port)
}

fn status_at(site: &Site, time: &str) -> String {
    let call = Call::new(&site.scene).args(&["status", "--json"]);
    let ended = at(call, time).run();
    assert_eq!(ended.code, 0, "at {time}: {ended:?}");
    ended.stdout.join("\n")
}

#[test]
fn a_tunnel_comes_up_and_its_status_is_shown_whatever_the_year_is() {
    for (time, day) in [
        ("1901-01-01 00:00:00", "1970-01-01T00:"),
        ("1970-01-01 00:00:00", "1970-01-01T00:"),
        ("2040-01-01 00:00:01", "2040-01-01T00:"),
        ("2107-01-01 00:00:01", "2107-01-01T00:"),
    ] {
        let site = Site::up();
        let (client, _target, _) = tunnel_at(&site, time);
        let status = status_at(&site, time);
        assert!(status.contains(&format!("\"time\":\"{day}")), "{status}");
        assert!(!client.log().contains("restarted after"));
        assert_eq!(client.stop(), 0);
    }
}

#[test]
fn a_running_tunnel_crosses_the_end_of_32_bit_seconds() {
    let site = Site::up();
    let (client, _target, port) = tunnel_at(&site, "2038-01-19 03:14:05");
    // Each look makes the owner read its clock.
    support::wait_until("the clock has crossed it", patience(), || {
        let status = status_at(&site, "2038-01-19 03:14:05");
        status.contains("\"time\":\"2038-01-19T03:14:08Z\"")
            || status.contains("\"time\":\"2038-01-19T03:14:09Z\"")
    });
    assert_eq!(targets::fetch(port), "page");
    assert!(!client.log().contains("restarted after"));
    assert_eq!(client.stop(), 0);
}

#[test]
fn log_lines_have_the_date_of_the_wall_clock_after_2038() {
    let site = Site::up();
    let syslog = Syslog::start(&site.scene);
    let (target, port) = (Target::http("page"), free_port());
    let call = site.call().args(&["-f"]).forward(port, target.address);
    let ended = at(call.args(&[&site.destination()]), "2040-02-29 00:00:01").run();
    assert_eq!(ended.code, 0, "{ended:?}");
    let line = syslog.lines.wait_for("tunnel up: ", patience());
    assert!(line.contains(">Feb 29 00:0"), "{line}");
    let stop = Call::new(&site.scene).args(&["stop", &site.destination()]);
    assert_eq!(stop.run().code, 0);
}
