//! One record per flag: it gives parsing and help.

use super::program::Program;

mod foreign;
pub use foreign::FOREIGN;

/// What a flag does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Forward,
    Identity,
    AcceptNew,
    Port,
    Ipv4,
    Ipv6,
    BindAddress,
    BindInterface,
    Option,
    File,
    Background,
    IdleTimeout,
    KeepAlive,
    Order,
    Wait,
    Json,
    Watch,
    Short,
    All,
    Service,
    List,
    Restrict,
    PasswordFd,
    Verbose,
    Quiet,
    /// Taken because ssh has it; this program is always so.
    Nothing,
    /// `-N`: as [`Action::Nothing`], but a remote command is not meant then.
    NoCommand,
    /// What dbclient and ssh mean differs.
    Gateway,
    /// dbclient's `-g`.
    AllAddresses,
    /// Asks for what is not done; the tunnel is the same without.
    Warned,
    /// As [`Action::Nothing`], but said.
    Told,
    /// Asks for what cannot be done.
    Refused,
    /// dbclient's window, or ssh's forwarding of standard input.
    Window,
    Login,
    Query,
    LogFile,
    Ciphers,
    Macs,
    Help,
    Version,
}

/// In the place of a letter: an argument has no NUL.
pub const LONG_ONLY: char = '\0';

/// One flag.
pub struct Flag {
    /// [`LONG_ONLY`] for a flag without one.
    pub short: char,
    pub long: Option<&'static str>,
    /// Name of the argument; empty for a flag without one.
    pub argument: &'static str,
    pub action: Action,
    pub help: &'static str,
}

const fn flag(short: char, argument: &'static str, action: Action, help: &'static str) -> Flag {
    Flag {
        short,
        long: None,
        argument,
        action,
        help,
    }
}

const fn long(
    name: &'static str,
    argument: &'static str,
    action: Action,
    help: &'static str,
) -> Flag {
    Flag {
        short: LONG_ONLY,
        long: Some(name),
        argument,
        action,
        help,
    }
}

/// What stands in the place of the first argument to do something else than keep a tunnel up.
pub struct Subcommand {
    pub name: &'static str,
    /// What comes after the name.
    pub arguments: &'static str,
    pub help: &'static str,
    /// What comes after the program's name.
    pub examples: [&'static str; 2],
}

const fn subcommand(
    name: &'static str,
    arguments: &'static str,
    help: &'static str,
    examples: [&'static str; 2],
) -> Subcommand {
    Subcommand {
        name,
        arguments,
        help,
        examples,
    }
}

/// Every subcommand, in the order of the help.
#[rustfmt::skip]
pub static SUBCOMMANDS: [Subcommand; 13] = [
    subcommand("invoke", "[flags] -- user@host[:port]", "what the custom scripts call",
        ["invoke -R 1111:localhost:22 -y -- op@server.example", "invoke -R 1111:localhost:22 -- off"]),
    subcommand("enroll", "-i keyfile user@host[:port]", "make the server accept the key; asks for the password",
        ["enroll -i /etc/key op@server.example", "enroll --restrict -R 1111:localhost:22 op@server.example"]),
    subcommand("pubkey", "[-i keyfile] [destination]", "print the authorized_keys line, and the fingerprint",
        ["pubkey -i /etc/key", "pubkey --restrict -R 1111:localhost:22"]),
    subcommand("status", "[destination]", "what is up; exit status 0 up, 1 partly, 2 down",
        ["status --short", "status --watch op@server.example"]),
    subcommand("doctor", "[destination]", "every step from key to target, and what to do",
        ["doctor", "doctor -i /etc/key op@server.example"]),
    subcommand("stop", "[destination]", "end a tunnel",
        ["stop op@server.example", "stop --all"]),
    subcommand("reconnect", "[destination]", "connect anew now",
        ["reconnect", "reconnect op@server.example"]),
    subcommand("reload", "[destination]", "read the configuration again",
        ["reload op@server.example", "reload --all"]),
    subcommand("renew", "[destination]", "become the program that is installed now",
        ["renew op@server.example", "renew --all"]),
    subcommand("config", "[destination]", "print the values that hold for it",
        ["config op@server.example", "config -F ./config hub"]),
    subcommand("check", "[destination]", "look at configuration, keys and known hosts",
        ["check", "check -F ./config hub"]),
    subcommand("known-hosts", "[forget destination]", "list the pinned host keys, or take one away",
        ["known-hosts", "known-hosts forget server.example:22"]),
    subcommand("boot", "", "start each Host block with StartAtBoot yes",
        ["boot", "boot --list"]),
];

/// Every flag, in the order of the help.
#[rustfmt::skip]
pub static FLAGS: [Flag; 31] = [
    flag('R', "[bind:]port:host:hostport", Action::Forward, "listen on the server's port, lead to host:hostport from here; a Unix socket's path may stand for either (up to 16)"),
    flag('i', "keyfile", Action::Identity, "private key: Dropbear, OpenSSH or PEM (up to 4)"),
    flag('y', "", Action::AcceptNew, "accept an unknown host key once and pin it; never a changed one"),
    flag('p', "port", Action::Port, "port of the server (22)"),
    flag('4', "", Action::Ipv4, "IPv4 only"),
    flag('6', "", Action::Ipv6, "IPv6 only"),
    flag('b', "address", Action::BindAddress, "connect from this address of this machine"),
    flag('B', "interface", Action::BindInterface, "connect through this interface, such as the modem's"),
    flag('f', "", Action::Background, "go to the background when everything local is in order"),
    long("wait", "[=seconds]", Action::Wait, "with -f: exit 0 only once the forwards are confirmed (30); 0 never waits"),
    flag('I', "seconds", Action::IdleTimeout, "end when nobody connected for so long"),
    flag('K', "seconds", Action::KeepAlive, "probe a server that was silent for so long (60)"),
    flag('O', "order", Action::Order, "ask the running tunnel: check, forward, cancel (with -R) or exit"),
    flag('o', "Key=Value", Action::Option, "a keyword as in ssh_config(5); see below"),
    flag('F', "file", Action::File, "configuration file instead of /etc/reachback/config; none for no file"),
    flag('Q', "list", Action::Query, "print the algorithms that there are: cipher, kex, key, mac or sig"),
    flag('v', "", Action::Verbose, "log more (up to three times)"),
    flag('q', "", Action::Quiet, "log nothing"),
    flag('N', "", Action::NoCommand, "no remote command (always so)"),
    // -n and -T as well: one line of help for the three would hide them from a search.
    flag('n', "", Action::Nothing, "nothing from standard input (always so)"),
    flag('T', "", Action::Nothing, "no terminal (always so)"),
    flag('g', "", Action::Gateway, "nothing, as in ssh; in dbclient it makes -R listen on all addresses, as *:port does"),
    long("json", "", Action::Json, "with status and doctor: for programs"),
    long("watch", "", Action::Watch, "with status: again every second"),
    long("short", "", Action::Short, "with status: a line for each tunnel"),
    long("all", "", Action::All, "with stop, reload and renew: every tunnel"),
    long("service", "", Action::Service, "with stop: what the service began"),
    long("list", "", Action::List, "with boot: print the names, start nothing"),
    long("password-fd", "number", Action::PasswordFd, "with enroll: read the password from this descriptor, a line for each prompt"),
    long("restrict", "", Action::Restrict, "with pubkey and enroll: options in front that leave the key only the forwards of -R or of a destination"),
    Flag { short: 'V', long: Some("version"), argument: "", action: Action::Version, help: "print the version" },
];

/// `-h` and `--help`; apart, so that the table above is what a person needs to know.
pub static HELP: Flag = Flag {
    short: 'h',
    long: Some("help"),
    argument: "",
    action: Action::Help,
    help: "print this",
};

/// Every flag, the help's own last.
pub fn all() -> impl Iterator<Item = &'static Flag> {
    FLAGS.iter().chain([&HELP])
}

/// What a letter means in a line that was written for this program.
pub fn find(program: Program, short: char) -> Option<&'static Flag> {
    let others = foreign::own_meaning(program).iter();
    others
        .chain(all())
        .chain(&FOREIGN)
        .find(|flag| flag.short == short)
}

/// The version's number.
pub fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}
