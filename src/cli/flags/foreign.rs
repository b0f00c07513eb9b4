//! The flags of ssh(1), dbclient(1) and autossh(1) that this program has no use for, and those
//! that mean something else there: a record each, with what becomes of it.

use super::{Action, Flag, flag};
use crate::cli::program::Program;

const NO_SHARING: &str = "calls for one destination share a connection anyway";

/// What becomes of a flag, whichever program the line was written for.
#[rustfmt::skip]
pub static FOREIGN: [Flag; 26] = [
    flag('1', "", Action::Nothing, "there is only SSH-2"),
    flag('2', "", Action::Nothing, "there is only SSH-2"),
    flag('a', "", Action::Nothing, "the agent is never forwarded"),
    flag('A', "", Action::Warned, "the agent is not forwarded"),
    flag('C', "", Action::Nothing, "data is not compressed; it mostly is already"),
    flag('D', "port", Action::Refused, "there is no SOCKS proxy; name what is to be reached with -R port:host:hostport"),
    flag('e', "character", Action::Nothing, "there is no terminal"),
    flag('E', "file", Action::LogFile, "file to log to, as the keyword LogFile"),
    flag('G', "", Action::Refused, "reachback config prints the values that hold"),
    flag('J', "destination", Action::Refused, "there are no jump hosts; keep a tunnel to a server that this machine reaches itself"),
    flag('k', "", Action::Nothing, "no GSSAPI credentials are ever sent"),
    flag('L', "port:host:hostport", Action::Refused, "forwards from this side are not made; only -R is"),
    flag('M', "", Action::Nothing, NO_SHARING),
    flag('P', "tag", Action::Nothing, "Match tagged is not judged"),
    flag('S', "path", Action::Nothing, NO_SHARING),
    flag('s', "", Action::Refused, "no subsystem is started on the server; forwards only"),
    flag('t', "", Action::Nothing, "there is no session on the server"),
    flag('w', "tunnel", Action::Refused, "there is no tunnel device; forward the ports that are needed with -R"),
    flag('W', "window", Action::Window, "dbclient's receive window: the windows are as large as they need be"),
    flag('x', "", Action::Nothing, "X11 is never forwarded"),
    flag('X', "", Action::Warned, "X11 is not forwarded"),
    flag('Y', "", Action::Warned, "X11 is not forwarded"),
    flag('z', "", Action::Nothing, "packets are marked only where IPQoS says so"),
    flag('c', "list", Action::Ciphers, "ciphers, as the keyword Ciphers"),
    flag('m', "list", Action::Macs, "message authentication codes, as the keyword MACs"),
    flag('l', "user", Action::Login, "login name, when the destination has none"),
];

/// The other meaning of some in ssh(1), which autossh(1) hands its flags to. The last, `-y`, is
/// OpenSSH's alone: on controllers `ssh` is a link to dbclient, and old scripts rely on its `-y`.
#[rustfmt::skip]
static SSH: [Flag; 4] = [
    flag('I', "library", Action::Warned, "keys come from files only"),
    flag('K', "", Action::Warned, "no GSSAPI credentials are sent; -o ServerAliveInterval is dbclient's -K"),
    flag('W', "host:port", Action::Refused, "standard input is not forwarded; only -R is done"),
    flag('y', "", Action::Told, "the log goes to syslog in the background, as in ssh; -o StrictHostKeyChecking=accept-new is dbclient's -y"),
];

/// The other meaning of some in dbclient(1).
#[rustfmt::skip]
static DBCLIENT: [Flag; 3] = [
    flag('B', "host:port", Action::Refused, "standard input is not forwarded; only -R is done"),
    flag('g', "", Action::AllAddresses, "-R without an address listens on all addresses of the server"),
    flag('J', "command", Action::Refused, "no program is ever run"),
];

/// Those that mean something else in this program.
pub fn own_meaning(program: Program) -> &'static [Flag] {
    match program {
        Program::Reachback => &[],
        Program::Ssh => &SSH[..3],
        Program::Autossh => &SSH,
        Program::Dbclient => &DBCLIENT,
    }
}
