//! The ways in, at the end of the page of a tunnel that is up.

use std::fmt::Write;

use reachback_core::control::{ForwardStatus, Link, Snapshot};
use reachback_core::forward::{Bind, Listen, Target};
use reachback_core::forwards::ForwardState;
use reachback_core::verify::Proof;

use super::Page;

/// What a person elsewhere types to get in, for what is up; to be copied, and so not broken. Directly
/// only where the listener is known to be at an address of its own.
pub fn lines(out: &mut Page, snapshot: &Snapshot) -> std::fmt::Result {
    if !matches!(snapshot.link, Link::Up(_)) || !snapshot.fallback.is_empty() {
        return Ok(());
    }
    let (user, host) = (&snapshot.user, bracketed(&snapshot.host));
    let server = match snapshot.port {
        22 if !host.starts_with('[') => format!("{user}@{host}"),
        port => format!("ssh://{user}@{host}:{port}"),
    };
    let mut begins = "  get in from elsewhere:\n";
    for ForwardStatus { spec, state, proof } in &snapshot.forwards {
        let (ForwardState::Confirmed { port }, Listen::Tcp { bind, .. }) = (*state, &spec.listen)
        else {
            continue;
        };
        let own = match (bind, proof) {
            (_, Proof::Elsewhere { .. }) => continue,
            (Bind::Address(own), Proof::Here { .. }) if !is_loopback(own) => Some(own.as_str()),
            _ => None,
        };
        out.push_str(std::mem::take(&mut begins));
        let place = own.unwrap_or("localhost");
        let target = match &spec.target {
            Target::Tcp { port, .. } => *port,
            Target::Unix(_) => 80,
        };
        if target == 22 {
            writeln!(out, "    ssh -J {server} -p {port} root@{place}")?;
            if own.is_some() {
                writeln!(out, "    ssh -p {port} root@{place}")?;
            }
            continue;
        }
        let place = bracketed(place);
        // A port that anybody may have.
        let local = if target < 1024 { 8000 + target } else { target };
        writeln!(out, "    ssh -N -L {local}:{place}:{port} {server}")?;
        if own.is_some() {
            writeln!(out, "    http://{place}:{port}")?;
        }
    }
    Ok(())
}

/// A host as it stands before a port.
fn bracketed(host: &str) -> String {
    match host.contains(':') {
        true => format!("[{host}]"),
        false => host.to_owned(),
    }
}

/// Also of the addresses that stand for all: they are checked on loopback.
fn is_loopback(address: &str) -> bool {
    matches!(address, "127.0.0.1" | "::1" | "0.0.0.0" | "::")
}
