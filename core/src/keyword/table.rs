//! The table of keywords: everything that is particular to one stands in its row.

/// Hands the table to a macro. A row has, in this order: the name; the field of `Config`, how
/// many values it holds (`value` and `maybe` one, `text` one string, `list` several that add up;
/// `own` has an accessor of its own) and their type; what a value may be; the default; the unit;
/// what a change at `SIGHUP` does; what it is for.
macro_rules! keyword_table {
    ($then:ident) => {
        $then! {
            AddressFamily, address_family: value[AddressFamily],
                Kind::Choice(&["any", "inet", "inet6"]), "any", "", Renews,
                "Which addresses of the server to use";
            AllowDestinations, allow_destinations: text[Algorithms],
                Kind::Destinations, "", "", Applies,
                "Servers that may be called, host or user@host; custom scripts reach no loopback or link-local address without it";
            BindAddress, bind_address: maybe[IpAddr],
                Kind::Address, "", "", Renews,
                "Address of this machine to connect from";
            BindInterface, bind_interface: text[InterfaceName],
                Kind::Interface, "", "", Renews,
                "Interface to connect through, such as the modem's";
            ChannelIdleTimeout, channel_idle_timeout: value[Duration],
                Kind::Time { min_s: 0, max_s: 31_536_000 }, "86400", "s", Applies,
                "Close a connection through the tunnel when nothing went through it for so long; 0 is never";
            Ciphers, ciphers: text[Algorithms],
                Kind::Algorithms, "", "", Renews,
                "Ciphers to offer, best first";
            ConnectTimeout, connect_timeout: value[Duration],
                Kind::Time { min_s: 1, max_s: 3600 }, "30", "s", Applies,
                "How long TCP connection and the server's identification may take together";
            ExitOnForwardFailure, exit_on_forward_failure: value[bool],
                Kind::YesNo, "no", "", Applies,
                "End when the server refuses a forward, instead of asking again";
            Fallback, fallbacks: list[Fallback, MAX_FALLBACKS],
                Kind::Destination, "", "", RenewsIfUsed,
                "Server to go to when the one before it stays unreachable; up to 4";
            HostKeyAlgorithms, host_key_algorithms: text[Algorithms],
                Kind::Algorithms, "", "", Renews,
                "Types of host keys to accept, best first; those that are pinned go first";
            HostKeyAlias, host_key_alias: text[Path],
                Kind::Name, "", "", Applies,
                "Name under which the server's host keys are pinned and looked up, without a port";
            Hostname, hostname: own[Option<Path>],
                Kind::Host, "", "", Renews,
                "Real name or address of the server that a Host block names";
            IPQoS, ip_qos: value[IpQos],
                Kind::IpQos, "none", "", Renews,
                "Marking of the connection's packets; of two, the second is used";
            IdentityFile, identity_files: list[Path, MAX_IDENTITY_FILES],
                Kind::Template, "", "", Renews,
                "Private key file (Dropbear, OpenSSH or PEM); up to 4, tried in order";
            IdleTimeout, idle_timeout: value[Duration],
                Kind::Time { min_s: 0, max_s: 31_536_000 }, "0", "s", Applies,
                "End when nobody connected through the tunnel for so long; 0 is never";
            IgnoreUnknown, ignore_unknown: text[Path],
                Kind::Patterns, "", "", Applies,
                "Keywords that nobody knows and that are no error, from here on";
            KexAlgorithms, kex_algorithms: text[Algorithms],
                Kind::Algorithms, "", "", Renews,
                "Key exchanges to offer, best first";
            LogFile, log_file: text[Path],
                Kind::Template, "", "", NextStart,
                "File to log to, in the place of syslog and standard error; at 1 MiB it becomes FILE.1";
            LogLevel, log_level: value[LogLevel],
                Kind::Choice(&[
                    "QUIET", "FATAL", "ERROR", "INFO", "VERBOSE", "DEBUG", "DEBUG1", "DEBUG2", "DEBUG3",
                ]), "INFO", "", Applies,
                "How much to log";
            MACs, macs: text[Algorithms],
                Kind::Algorithms, "", "", Renews,
                "Message authentication codes to offer, best first; for ciphers that have none of their own";
            MaxLifetime, max_lifetime: value[Duration],
                Kind::Time { min_s: 0, max_s: 31_536_000 }, "0", "s", Applies,
                "End so long after the last call that asked for the tunnel; 0 is never";
            MaxTunnels, max_tunnels: value[u32],
                Kind::Number { min: 1, max: 64 }, "8", "", Applies,
                "Tunnels in one runtime directory; a call for one more is refused, or takes the place of one that never came up";
            Port, port: value[u16],
                Kind::Port, "22", "", Renews,
                "TCP port of the server";
            Proxy, proxy: text[Path],
                Kind::Proxy, "", "", Renews,
                "HTTP proxy through which every server is reached";
            ProxyCredentialsFile, proxy_credentials_file: text[Path],
                Kind::Template, "", "", Renews,
                "File with a line user:password for the proxy";
            PubkeyAcceptedAlgorithms, pubkey_accepted_algorithms: text[Algorithms],
                Kind::Algorithms, "", "", Renews,
                "Algorithms to sign with, best first";
            RekeyLimit, rekey_limit: value[RekeyLimit],
                Kind::RekeyLimit, "1G none", "bytes, s", Renews,
                "Data and time after which new session keys are asked for";
            RemoteForward, forwards: list[ForwardSpec, MAX_FORWARDS],
                Kind::Forward, "", "", Applies,
                "Listener on the server and the local target it leads to; up to 16";
            RunAsUser, run_as_user: text[String<MAX_USER>],
                Kind::User, "", "", NextStart,
                "User of this machine to become, when root starts the tunnel";
            RuntimeDirectory, runtime_directory: text[Path],
                Kind::Path, "", "", Moves,
                "Directory of locks and control sockets; /run/reachback for root, else $XDG_RUNTIME_DIR/reachback";
            Sandbox, sandbox: value[Sandbox],
                Kind::Choice(&["yes", "try", "no"]), "try", "", NextStart,
                "Whether the kernel limits what the tunnel may do: it has to, as far as it can, or not";
            ScriptForward, script_forwards: list[ForwardSpec, MAX_SCRIPT_FORWARDS],
                Kind::Forward, "", "", Applies,
                "Port that a custom script asks for, and what it gets instead: a socket's path or localhost:port; up to 4";
            ScriptUser, script_user: text[Path],
                Kind::UserTemplate, "", "", Moves,
                "Login name in the place of the one that a custom script was given";
            SerialFile, serial_file: text[Path],
                Kind::Path, "", "", Applies,
                "File with this machine's serial number, for the token %s";
            ServerAliveCountMax, server_alive_count_max: value[u32],
                Kind::Number { min: 0, max: 1000 }, "3", "", Applies,
                "Unanswered probes after which the connection counts as lost";
            ServerAliveInterval, server_alive_interval: value[Duration],
                Kind::Time { min_s: 0, max_s: 86400 }, "60", "s", Applies,
                "Silence after which the server is probed; 0 turns probing off";
            SessionChannel, session_channel: value[SessionChannel],
                Kind::Choice(&["no", "yes", "shell", "false", "true"]), "no", "", Renews,
                "Whether to open a session channel and log what the server prints there; shell asks for a shell on it";
            StartAtBoot, start_at_boot: value[bool],
                Kind::YesNo, "no", "", Applies,
                "Whether `reachback boot` starts the tunnel of this Host block";
            StateFile, state_file: text[Path],
                Kind::Template, "", "", NextStart,
                "File that keeps the last address that worked, for when no name server answers";
            StrictHostKeyChecking, strict_host_key_checking: value[StrictHostKeyChecking],
                Kind::Choice(&["yes", "accept-new", "ask", "no", "off"]), "yes", "", Applies,
                "Whether an unknown host key may be accepted and pinned";
            TCPKeepAlive, tcp_keep_alive: value[bool],
                Kind::YesNo, "yes", "", Renews,
                "Whether the kernel probes an idle connection as well";
            UpdateHostKeys, update_host_keys: value[bool],
                Kind::Choice(&["yes", "no", "true", "false", "ask"]), "yes", "", Applies,
                "Whether pins follow the host keys that a known server announces: new ones are added, those that it no longer has go";
            User, user: text[String<MAX_USER>],
                Kind::UserTemplate, "", "", Renews,
                "Login name, when the destination has none";
            UserKnownHostsFile, known_hosts_files: own[Option<Files>],
                Kind::Templates, "~/.ssh/known_hosts", "", Renews,
                "File with the pinned host keys, and a second one that is read only; none for memory";
            VerifyForward, verify_forward: value[bool],
                Kind::YesNo, "no", "", Applies,
                "Whether the server is asked to connect to its own listeners, to see that they lead here";
        }
    };
}

pub(crate) use keyword_table;
