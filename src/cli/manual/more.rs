//! What the pages say beyond the tables.

use reachback_core::keyword::Setting;

pub const DESCRIPTION: &str = r#".Sh DESCRIPTION
.Nm
logs in to an SSH server, asks it to listen there, and leads each connection to a target on this
side.
It keeps doing that: a lost link, a server that restarts or a name that does not resolve is no
reason to end.
There is one process for each destination; a later call for the same destination hands its forwards
to it.
.Pp
A destination is
.Ar user Ns @ Ns Ar host Ns Op : Ns Ar port ,
an IPv6 address in brackets before a port,
.Li ssh:// Ns Ar user Ns @ Ns Ar host Ns : Ns Ar port ,
or without a user, who is then that of the configuration's
.Cm User
or the local one.
.Pp
"#;

pub const REST: &str = r#".Sh EXIT STATUS
Network trouble never ends a tunnel.
.Bl -tag -width Ds -compact
.It 0
Done; for a tunnel: it was asked to end; for
.Cm status :
everything is up.
.It 1 , 2
.Cm status :
partly up; down, or no tunnel.
.Cm doctor :
1 where the tunnel would be up and something besides is not in order.
.It 64
Bad command line.
.It 65
A key file or serial number that makes no sense.
.It 66
A file that is missing.
.It 69
.Cm enroll :
the server cannot be reached, or runs no command.
.Cm doctor :
so is it, or it refuses a forward.
For a tunnel: the server refused a forward and
.Cm ExitOnForwardFailure
is set, there is no such tunnel, or its process does not answer.
.It 71
The kernel refused something.
.It 75
.Fl -wait :
not confirmed in time; the tunnel goes on trying.
.It 77
A file that may not be read or written;
.Cm enroll
and
.Cm doctor :
the server is not trusted, or lets nobody in.
.It 78
Bad configuration.
.El
.Sh ENVIRONMENT
.Bl -tag -width Ds
.It Ev HOME
Home directory, else that of
.Xr passwd 5 .
.It Ev REACHBACK_RUNTIME_DIR , XDG_RUNTIME_DIR
Where locks and control sockets are, see
.Cm RuntimeDirectory
in
.Xr reachback_config 5 .
.It Ev AUTOSSH_*
Not needed, and said so.
.El
.Sh FILES
.Bl -tag -width Ds
.It Pa /etc/reachback/config
Configuration, where
.Fl F
names no other.
.It Pa ~/.ssh/known_hosts
Pinned host keys.
A line whose key is not whole counts for nothing.
With
.Fl y
and no place to write, new keys are pinned in memory until the process ends.
.It Pa ~/.ssh/id_dropbear , ~/.ssh/id_rsa , ~/.ssh/id_ecdsa , ~/.ssh/id_ed25519
Private keys, where none is named.
.It Pa /run/reachback
Locks and control sockets of root's tunnels.
.El
.Sh EXAMPLES
Make port 1111 of the server lead to the SSH server of this machine, and go to the background:
.Pp
.Dl reachback -f -y -i ~/.ssh/id_rsa -R 1111:localhost:22 op@hub.example
.Pp
The same with a Unix socket on the server that has this machine's serial number in its name:
.Pp
.Dl reachback -o SerialFile=/etc/serial -R /run/controllers/%s.sock:localhost:22 op@hub.example
.Sh SEE ALSO
.Xr ssh 1 ,
.Xr reachback_config 5 ,
.Xr sshd_config 5
"#;

/// More about a subcommand, in mdoc.
pub fn subcommand(name: &str) -> Option<&'static str> {
    Some(match name {
        "invoke" => {
            "Its argument is checked against the strict grammar of the custom scripts;\n\
             .Cm off\nand\n.Cm stop\nin its place take the script's forward away.\n"
        }
        "enroll" => {
            "It shows the server's host key and asks whether it is the right one, unless it is known or\n\
             .Fl y\nis given; logs in with a password or what the server prompts for; adds the line that\n\
             .Cm pubkey\nprints to the account's authorized_keys, once; and logs in with the key.\n\
             .Fl -restrict\nadds the restricted line.\nQuestions are asked on the terminal;\n\
             .Fl -password-fd\nreads the answers from a descriptor, a line for each.\nNo tunnel ever \
             uses a password.\nThe exit status is 0 once the key is accepted.\n"
        }
        "status" => {
            ".Fl -short\nprints a line for each tunnel,\n.Fl -watch\nagain every second, as much as \
             the terminal has room for.\nRoot sees the tunnels of all users; a user is told of those \
             that he may not ask.\n"
        }
        "doctor" => {
            "In order: key, configuration, route, DNS, TCP, the proxy where there is one, the server's version, algorithms, host key, \
             login, each forward and each target, the clock, room for known_hosts, and other \
             processes that hold the same tunnel.\nWithout a destination it is for the one tunnel that \
             runs, with what that was called with, or for the one of the configuration.\nIt takes 30 \
             seconds at most, writes nothing and pins nothing.\nForwards of a running tunnel \
             are left alone; others are asked for and taken back.\nThe exit status is that of the first \
             step that fails.\n"
        }
        "stop" => ".Fl -all\nends every tunnel,\n.Fl -service\nthose that the service began.\n",
        "renew" => {
            "After an upgrade: the tunnel's process has the installed program check its arguments, and \
             becomes that program,\nwith what callers ordered and its lifetime.\nOne that could not \
             be started again is left as it is, and told of.\n.Fl -all\nrenews every tunnel.\n"
        }
        "config" => {
            "A line for each, in the form of\n.Xr reachback_config 5 ;\ntimes are in seconds, \
             tokens are replaced.\n"
        }
        "check" => {
            "Without a destination, at the whole configuration and at each\n.Cm Host\nname that \
             says enough for a tunnel.\nNothing is started.\n"
        }
        "boot" => {
            "Each gets a process of its own in the background and the flags of this call.\n\
             One that does not start keeps no other from it; the exit status is that of the first \
             such.\nNone waits for the network, unless the flags say\n.Fl -wait .\n.Fl -list\n\
             prints the names and starts nothing.\n"
        }
        _ => return None,
    })
}

/// More about a keyword, in mdoc.
pub fn keyword(setting: Setting) -> Option<&'static str> {
    Some(match setting {
        Setting::AllowDestinations => {
            "A list as in\n.Xr ssh_config 5 ,\nPATTERNS: * and ?, ! for those that are not.\n\
             A pattern is for the host, as it was given or as\n.Cm Hostname\nhas it, or for user and \
             host with the last @ between them; in a user's name case counts, ports do not.\n\
             A server that it does not name is not called (exit 77), whoever asks.\nWithout it all may be, but \
             a custom script's argument may be no loopback, unspecified, link-local, multicast \
             or broadcast address, nor a name that ends in localhost.\n\
             What this file says of it, of\n.Cm StrictHostKeyChecking\nand of\n\
             .Cm UserKnownHostsFile\nholds against a custom script's options.\n"
        }
        Setting::Hostname => "It decides nothing about which blocks hold.\n",
        Setting::HostKeyAlias => "It is for the server itself, not for a\n.Cm Fallback .\n",
        Setting::IdentityFile => {
            "Values add up.\nWithout any:\n.Pa ~/.ssh/id_dropbear , ~/.ssh/id_rsa , \
             ~/.ssh/id_ecdsa , ~/.ssh/id_ed25519 ,\nthose of them that exist.\n"
        }
        Setting::RemoteForward => {
            "Values add up.\nWithout\n.Ar bind\nthe server is asked for\n.Dq localhost ;\n\
             * asks for all addresses, port 0 lets the server choose.\n\
             A Unix socket on the server needs OpenSSH there, which never removes its file: \
             unless\n.Cm StreamLocalBindUnlink yes\nstands in the server's\n\
             .Xr sshd_config 5 ,\nthe next session is refused the path.\n\
             Tokens are replaced in paths.\n"
        }
        Setting::SerialFile => {
            "At most 64 letters, digits and ._-, beginning with a letter or digit; blanks and NUL \
             around them do not count.\nIt is read only where\n.Cm %s\nis used.\n"
        }
        Setting::Proxy => {
            "It is spoken to with\n.Li CONNECT ,\nwithout TLS, and looks the server's name up itself; \
             many allow port 443 alone.\n.Cm none\nin the block of a server is for that one.\n\
             Variables such as\n.Ev http_proxy\nare not read.\n"
        }
        Setting::ProxyCredentialsFile => {
            "Only its owner should be able to read it.\nIt is read at the start and at\n\
             .Dv SIGHUP ;\nthe proxy is told it without encryption (HTTP Basic).\n"
        }
        Setting::SessionChannel => {
            "For services that tell the public address of a forward on a session channel, as they \
             would on a terminal, or let nobody stay who opens none.\nNothing runs on it with\n\
             .Cm yes ;\nsome services print only once a shell was asked for, which\n.Cm shell\n\
             does: a server with real accounts runs the account's shell, which gets no input.\n\
             What is printed goes to the log, at most 20 lines of 256 bytes a minute.\n"
        }
        Setting::StartAtBoot => {
            "It holds for names that stand in a\n.Cm Host\nline without wildcards.\n"
        }
        Setting::StrictHostKeyChecking => {
            "A changed key is refused with any.\nNobody is asked:\n.Cm ask\nis taken as\n.Cm yes ,\n\
             .Cm no\nand\n.Cm off\nas\n.Cm accept-new ,\nwith a warning.\n"
        }
        Setting::IgnoreUnknown => "In this file, and in those it includes.\n",
        Setting::ConnectTimeout => ".Cm none\nis 127 seconds, after which Linux gives up.\n",
        Setting::ServerAliveCountMax => {
            "With 0 the connection counts as lost after\n.Cm ServerAliveInterval\nwithout a byte, \
             unasked.\n"
        }
        Setting::UserKnownHostsFile => {
            "New keys go into the first.\n.Cm none\nand\n.Pa /dev/null\nkeep them in memory only, \
             until the process ends.\n"
        }
        Setting::User => "Without it, the name of the local user.\n",
        _ => return None,
    })
}

pub const GRAMMAR: &str = r#".Sh DESCRIPTION
.Xr reachback 1
reads
.Pa /etc/reachback/config
or the file that
.Fl F
names.
Its words and grammar are those of
.Xr ssh_config 5 :
a keyword in any case, blanks or one
.Ql = ,
and the value; a value with blanks stands in quotes, and a backslash takes the meaning of a quote, a
backslash or a blank;
.Ql #
begins a comment where a word could begin.
For each keyword the first value holds, and the command line goes before the file; keywords that
add up say so.
A word that OpenSSH does not know either is an error, unless
.Cm IgnoreUnknown
names it; what becomes of OpenSSH's other keywords is said under
.Sx OTHER KEYWORDS .
.Pp
Three words are no settings:
.Bl -tag -width Ds
.It Cm Host Ar pattern ...
What follows, up to the next
.Cm Host ,
holds for destinations whose host, as the caller named it, matches one of the patterns
.Po
.Ql *
and
.Ql \&?
as in ssh
.Pc
and none of those with
.Ql \&!
before them.
.It Cm Match Ar criterion ...
What follows, up to the next
.Cm Host
or
.Cm Match ,
holds where all criteria do:
.Cm host ,
.Cm originalhost ,
.Cm user
and
.Cm localuser
with patterns,
.Cm all ,
and
.Cm final
and
.Cm canonical ,
which hold in a second reading that
.Cm final
asks for.
.Cm exec
runs nothing and never holds.
.It Cm Include Ar file ...
Reads other files in this place.
A relative name is looked for beside the file that includes it;
.Ql ~/
is the home directory;
.Ql *
and
.Ql \&?
may stand in any part of a name, which then stands for every such file in the order of their
names, for none as well.
In a
.Cm Host
block it holds for the hosts of the block only.
Files include each other at most 8 deep; at most 64 files of 64 KiB each and 256 KiB in all are
read.
.El
"#;

pub const OTHER_PROGRAMS: &str = r#".Sh LINES WRITTEN FOR OTHER PROGRAMS
Called by the name
.Nm ssh ,
.Nm autossh
or
.Nm dbclient ,
through a symbolic link, the program reads flags as that one does where they differ:
.Fl y , K
and
.Fl I
of ssh,
.Fl M Ar port
of autossh,
.Fl g , B
and
.Fl J
of dbclient.
Under its own name it takes
.Fl M
with a number behind it as autossh's.
These flags change nothing, unless it says otherwise:
.Bl -tag -width Ds
"#;

pub const OTHER_KEYWORDS: &str = r#".Sh OTHER KEYWORDS
Those of
.Xr ssh_config 5
without a setting here.
In a block of another host they are passed over, and said if they ask for something.
As in ssh, the first value of each counts.
.Bl -tag -width Ds -compact
"#;

pub const TOKEN_PLACES: &str = "They are replaced in
.Cm IdentityFile ,
.Cm ProxyCredentialsFile ,
.Cm StateFile ,
.Cm UserKnownHostsFile
and in the paths of
.Cm RemoteForward ,
on the command line as well.
.Cm Hostname
takes
.Cm %h ,
the host as it was given, and
.Cm %% .
.Cm ${NAME}
is replaced by the environment variable of that name in the same places.
";

pub const EXAMPLES: &str = r#".Sh EXAMPLES
Two servers by name, the first from boot on:
.Bd -literal -offset indent
Host hub
    Hostname 192.0.2.7
    User controllers
    IdentityFile /home/charge/.ssh/id_rsa
    SerialFile /etc/serial
    RemoteForward /run/controllers/%s-ssh.sock localhost:22
    StartAtBoot yes

Host lab
    Hostname lab.example
    User me
    RemoteForward 1112 /run/dashboard.sock

Host *
    StrictHostKeyChecking accept-new
.Ed
.Sh SEE ALSO
.Xr reachback 1 ,
.Xr ssh_config 5 ,
.Xr sshd_config 5
"#;
