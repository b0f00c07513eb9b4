//! The way to the server leads through an HTTP proxy (`Proxy`).
#![allow(clippy::unwrap_used)]

mod support;

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, Instant};

use reachback_core::cause::Cause;
use support::client::{Call, Reachback};
use support::connect::{Answer, HttpProxy};
use support::doctor::{Place, Said};
use support::names::NameServer;
use support::netns::Net;
use support::process::Process;
use support::rig::Site;
use support::targets::{self, Target};
use support::{bound, find_program, free_port, patience, skip, text, user, wait_until};

/// `op:open sesame`.
const LOGIN: &str = "op:open sesame";
const LOGIN_BASE64: &str = "b3A6b3BlbiBzZXNhbWU=";

fn call<'a>(site: &'a Site, proxy: &HttpProxy, port: u16, target: &Target) -> Call<'a> {
    let call = site.call().option(&proxy.option());
    call.forward(port, target.address)
}

fn login_file(site: &Site, line: &str) -> String {
    let path = site.scene.file("proxy-login", line);
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    text(&path)
}

/// What `status` prints.
fn status(site: &Site, args: &[&str]) -> String {
    let ended = Call::new(&site.scene).args(&["status"]).args(args).run();
    ended.stdout.join("\n")
}

/// Waits until the page says what to do about this, and the document names it.
fn says(site: &Site, cause: Cause) {
    let line = format!("what to do: {}\n", cause.advice());
    wait_until(cause.name(), patience() * 3, || {
        status(site, &[]).contains(&line)
    });
    let member = format!("\"last_failure_cause\":\"{}\"", cause.name());
    let document = status(site, &["--json"]);
    assert!(document.contains(&member), "no {member} in {document}");
}

#[test]
fn a_tunnel_comes_up_through_a_proxy_and_again_when_that_was_gone() {
    let site = Site::up();
    let (target, port) = (Target::http("page"), free_port());
    let proxy = HttpProxy::start(Answer::Lead);
    let client = call(&site, &proxy, port, &target).start(user(), site.server.port);
    client.wait_up(port);
    assert_eq!(targets::fetch(port), "page");
    let place = format!("127.0.0.1:{}", site.server.port);
    let request = format!("CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n\r\n");
    assert_eq!(proxy.requests(), [request]);
    client.wait_for(&format!(
        "connected to 127.0.0.1 port {} by the proxy 127.0.0.1 port {} (127.0.0.1)",
        site.server.port, proxy.port
    ));
    let pinned = format!("[{}]:{} ", "127.0.0.1", site.server.port);
    assert!(site.scene.known_hosts_text().starts_with(&pinned));

    let mark = client.log().mark();
    let at = proxy.stop();
    client.wait_after(mark, "connection lost: ");
    client.wait_after(
        mark,
        &format!("no connection: no way to the proxy: 127.0.0.1:{at}: Connection refused; *"),
    );
    says(&site, Cause::ProxyUnreachable);
    let mark = client.log().mark();
    let listener = TcpListener::bind(("127.0.0.1", at)).unwrap();
    let _proxy = HttpProxy::on(listener, Answer::Lead);
    client.wait_up_after(mark, port);
    assert_eq!(targets::fetch(port), "page");
    assert_eq!(client.stop(), 0);
}

#[test]
fn a_proxy_that_wants_a_login_gets_it_from_a_file_and_it_is_told_nowhere() {
    let site = Site::up();
    let (target, port) = (Target::http("page"), free_port());
    let proxy = HttpProxy::start(Answer::LeadKnown(LOGIN_BASE64.into()));
    let file = login_file(&site, "op:wrong\n");
    let client = call(&site, &proxy, port, &target)
        .args(&["-vvv"])
        .option(&format!("ProxyCredentialsFile={file}"))
        .start(user(), site.server.port);
    client.wait_for(
        "no connection: the proxy answered HTTP/1.1 407 Proxy Authentication Required; next attempt in *",
    );
    says(&site, Cause::ProxyLogin);
    // One attempt: an account is not to be locked.
    assert_eq!(proxy.requests().len(), 1);

    let mark = client.log().mark();
    login_file(&site, &format!("{LOGIN}\n"));
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(client.worker()),
        nix::sys::signal::Signal::SIGHUP,
    )
    .unwrap();
    client.wait_after(
        mark,
        "the configuration has changed in ProxyCredentialsFile; renewing the connection",
    );
    client.wait_up_after(mark, port);
    assert_eq!(targets::fetch(port), "page");

    let mut told = client.log().all();
    told.push(status(&site, &[]));
    told.push(status(&site, &["--json"]));
    let doctor = Call::new(&site.scene)
        .args(&["doctor"])
        .identity(&site.key)
        .option(&proxy.option())
        .option(&format!("ProxyCredentialsFile={file}"))
        .args(&[&site.destination()])
        .run();
    told.extend(doctor.stdout);
    for line in told {
        for secret in ["open sesame", LOGIN_BASE64, "op:wrong", "b3A6d3Jvbmc="] {
            assert!(!line.contains(secret), "{line}");
        }
    }
    assert_eq!(client.stop(), 0);
}

#[test]
fn a_login_that_cannot_be_read_ends_a_start_and_open_files_are_warned_about() {
    let site = Site::up();
    let proxy = HttpProxy::start(Answer::LeadKnown(LOGIN_BASE64.into()));
    let (target, port) = (Target::http("page"), free_port());
    let start = |file: &str| {
        let option = format!("ProxyCredentialsFile={file}");
        call(&site, &proxy, port, &target).option(&option)
    };
    let ended = start("/nowhere").args(&[&site.destination()]).run();
    assert_eq!(ended.code, 66, "{ended:?}");
    let said = ended.stderr.join("\n");
    assert!(
        said.contains("cannot read the proxy's login: /nowhere"),
        "{said}"
    );
    let ended = start(&login_file(&site, "sesame\n"))
        .args(&[&site.destination()])
        .run();
    assert_eq!(ended.code, 65, "{ended:?}");
    assert!(!ended.stderr.join("\n").contains("sesame"), "{ended:?}");

    let file = login_file(&site, LOGIN);
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
    let client = start(&file).start(user(), site.server.port);
    client.wait_for("proxy's login *: others may read it (mode 0644); chmod 600 it");
    client.wait_up(port);
    assert_eq!(client.stop(), 0);
}

#[test]
fn each_way_in_which_a_proxy_leads_nowhere_says_what_to_do() {
    let site = Site::up();
    let proxy = HttpProxy::start(Answer::Silence);
    let (target, port) = (Target::http("page"), free_port());
    let long: &'static str = format!("HTTP/1.1 200 OK\r\n{}", "A: b\r\n".repeat(2000)).leak();
    for (answer, words, cause) in [
        (
            "HTTP/1.1 403 \x1b[2JForbidden\r\n\r\n",
            "the proxy answered HTTP/1.1 403 \\u{1b}[2JForbidden",
            Cause::ProxyRefused,
        ),
        (
            "HTTP/1.0 503 Service Unavailable\r\n\r\n",
            "the proxy answered HTTP/1.0 503 Service Unavailable",
            Cause::ProxyCannot,
        ),
        (
            "SSH-2.0-OpenSSH_9.6\r\n",
            "the proxy does not answer as an HTTP proxy does: it said: SSH-2.0-OpenSSH_9.6",
            Cause::ProxyNoHttp,
        ),
        (
            "HTTP/1.1 200 OK\r\n",
            "the proxy does not answer as an HTTP proxy does: it closed the connection *",
            Cause::ProxyNoHttp,
        ),
        (
            long,
            "the proxy does not answer as an HTTP proxy does: its answer is longer than 8192 bytes",
            Cause::ProxyNoHttp,
        ),
    ] {
        proxy.answer(Answer::Say(answer));
        let client = call(&site, &proxy, port, &target).start(user(), site.server.port);
        client.wait_for(&format!("no connection: {words}; next attempt in *"));
        says(&site, cause);
        assert_eq!(client.stop(), 0);
    }
}

#[test]
fn a_proxy_that_says_nothing_is_given_up_after_connect_timeout() {
    let site = Site::up();
    let proxy = HttpProxy::start(Answer::Silence);
    let (target, port) = (Target::http("page"), free_port());
    let began = Instant::now();
    let client = call(&site, &proxy, port, &target)
        .option("ConnectTimeout=2")
        .start(user(), site.server.port);
    client.wait_for("no connection: the proxy is silent: TCP connection took too long; *");
    assert!(
        began.elapsed() < bound(Duration::from_secs(8)),
        "{:?}",
        began.elapsed()
    );
    says(&site, Cause::ProxySilent);
    proxy.answer(Answer::Lead);
    client.wait_up(port);
    assert_eq!(client.stop(), 0);
}

#[test]
fn a_fallback_is_reached_through_the_same_proxy() {
    let site = Site::up();
    let proxy = HttpProxy::start(Answer::Lead);
    let (target, port, dead) = (Target::http("page"), free_port(), free_port());
    let client: Reachback = call(&site, &proxy, port, &target)
        .option(&format!("Fallback={}", site.destination()))
        .start(user(), dead);
    client.wait_for("no connection: the proxy answered HTTP/1.1 502 Bad Gateway; *");
    client.wait_for("going to fallback 1: *");
    client.wait_up(port);
    assert_eq!(targets::fetch(port), "page");
    assert_eq!(client.stop(), 0);
}

#[test]
fn the_name_of_the_proxy_is_looked_up_and_the_servers_is_not() {
    let Some(net) = Net::new() else {
        return;
    };
    let site = Site::up();
    let controller = &net.controller;
    controller.etc("resolv.conf", "nameserver 127.0.0.1\n");
    controller.etc("hosts", "127.0.0.1 localhost\n");
    let names = controller.inside(|| NameServer::start(&["127.0.0.1"]));
    let listener = controller.inside(|| TcpListener::bind("127.0.0.1:0").unwrap());
    let proxy = HttpProxy::on(listener, Answer::Lead);
    let (target, port) = (Target::http("page"), free_port());
    let destination = format!("{}@hub.test:{}", user(), site.server.port);
    let client = site
        .call()
        .option(&format!("Proxy=http://proxy.test:{}", proxy.port))
        .forward(port, target.address)
        .start_in(controller, &destination);
    client.wait_up(port);
    let asked = names.asked();
    assert!(!asked.is_empty());
    assert!(asked.iter().all(|name| name == "proxy.test."), "{asked:?}");
    let request = format!("CONNECT hub.test:{} HTTP/1.1\r\n", site.server.port);
    assert!(
        proxy.requests()[0].starts_with(&request),
        "{:?}",
        proxy.requests()
    );
    // The server is known by its own name.
    let pinned = format!("[hub.test]:{} ", site.server.port);
    assert!(site.scene.known_hosts_text().starts_with(&pinned));
    // No name server answers: the address of the proxy that worked last is used.
    names.answer(false);
    let mark = client.log().mark();
    site.server.kill_sessions();
    client.wait_after(
        mark,
        "name resolution failed (*); using the last address that worked",
    );
    client.wait_up_after(mark, port);
    assert_eq!(client.stop(), 0);
}

#[test]
fn doctor_tells_the_proxy_from_the_server() {
    let place = Place::up();
    let proxy = HttpProxy::start(Answer::Lead);
    let doctor = |option: &str| place.doctor(&["-o", option]);
    let said: Said = doctor(&proxy.option());
    assert_eq!(said.ended.code, 0, "{:#?}", said.ended);
    assert!(said.step("TCP").1.contains(&format!("port {}", proxy.port)));
    let leads = format!("leads to 127.0.0.1 port {}", place.site.server.port);
    assert!(said.step("proxy").1.contains(&leads), "{:#?}", said.ended);

    proxy.answer(Answer::Say("HTTP/1.1 403 Forbidden\r\n\r\n"));
    let said = doctor(&proxy.option());
    let action = Cause::ProxyRefused.advice();
    said.assert_fails(
        69,
        "proxy",
        "the proxy answered HTTP/1.1 403 Forbidden",
        action,
    );
    assert_eq!(said.step("TCP").0, "ok");
    assert_eq!(said.step("server").0, "-");
    proxy.answer(Answer::Silence);
    let said = place.doctor(&["-o", &proxy.option(), "-o", "ConnectTimeout=1"]);
    said.assert_fails(69, "proxy", "the proxy is silent: no answer within 1 s", "");
    let gone = format!("Proxy=http://127.0.0.1:{}", proxy.stop());
    let action = Cause::ProxyUnreachable.advice();
    doctor(&gone).assert_fails(
        69,
        "TCP",
        "no way to the proxy: *Connection refused",
        action,
    );

    let said = place.doctor(&["-o", &gone, "-o", "ProxyCredentialsFile=/nowhere"]);
    assert_eq!(
        (said.ended.code, said.step("configuration").0),
        (66, "FAIL")
    );
    assert_eq!(said.step("route").0, "-");
}

#[test]
fn what_is_no_proxy_is_refused_without_its_password() {
    let site = Site::up();
    let run = |code: i32, args: &[&str]| {
        let ended = site.call().args(args).args(&[&site.destination()]).run();
        assert_eq!(ended.code, code, "{ended:?}");
        ended.stderr.join("\n")
    };
    let said = run(64, &["-o", "Proxy=https://proxy.test:3128"]);
    assert!(
        said.contains("TLS to a proxy (https://) cannot be done"),
        "{said}"
    );
    let config = site
        .scene
        .file("config", "Proxy http://op:secret@proxy.test:3128\n");
    for (code, args) in [
        (78, ["-F", &text(&config)]),
        (64, ["-o", "Proxy=http://op:secret@proxy.test:3128"]),
    ] {
        let said = run(code, &args);
        assert!(said.contains("ProxyCredentialsFile"), "{said}");
        assert!(!said.contains("secret"), "{said}");
    }
}

/// A proxy that others wrote, with a login.
#[test]
fn tinyproxy_leads_to_the_server() {
    let Some(program) = find_program("tinyproxy") else {
        return skip("tinyproxy is not installed");
    };
    let site = Site::up();
    let (target, port, at) = (Target::http("page"), free_port(), free_port());
    let config = format!(
        "Port {at}\nListen 127.0.0.1\nTimeout 600\nMaxClients 10\nAllow 127.0.0.1\n\
         BasicAuth op sesame\nConnectPort {}\n",
        site.server.port
    );
    let config = site.scene.file("tinyproxy.conf", config);
    let mut command = Command::new(program);
    command.args(["-d", "-c", &text(&config)]);
    let _proxy = Process::start(&mut command);
    let file = login_file(&site, "op:sesame\n");
    let client = |file: &str| {
        site.call()
            .option(&format!("Proxy=http://127.0.0.1:{at}"))
            .option(&format!("ProxyCredentialsFile={file}"))
            .forward(port, target.address)
            .start(user(), site.server.port)
    };
    let tunnel = client(&file);
    tunnel.wait_up(port);
    assert_eq!(targets::fetch(port), "page");
    assert_eq!(tunnel.stop(), 0);
    let tunnel = client("none");
    tunnel.wait_for("no connection: the proxy answered HTTP/1.* 407 *");
    says(&site, Cause::ProxyLogin);
    assert_eq!(tunnel.stop(), 0);
}
