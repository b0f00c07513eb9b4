//! Names of TCP services, as /etc/services has them. A controller often has no such file.

/// Those that a forward may lead to or that a server may listen on, by IANA's names and the
/// aliases of Debian's file.
const SERVICES: [(&str, u16); 48] = [
    ("bacnet", 47808),
    ("domain", 53),
    ("ftp", 21),
    ("ftps", 990),
    ("git", 9418),
    ("http", 80),
    ("http-alt", 8080),
    ("https", 443),
    ("iec-104", 2404),
    ("imap", 143),
    ("imap2", 143),
    ("imaps", 993),
    ("ipp", 631),
    ("kerberos", 88),
    ("ldap", 389),
    ("ldaps", 636),
    ("mbap", 502),
    ("modbus", 502),
    ("mqtt", 1883),
    ("ms-sql-s", 1433),
    ("ms-wbt-server", 3389),
    ("mysql", 3306),
    ("nfs", 2049),
    ("opcua-tcp", 4840),
    ("pop3", 110),
    ("pop3s", 995),
    ("postgresql", 5432),
    ("redis", 6379),
    ("rsync", 873),
    ("rtsp", 554),
    ("secure-mqtt", 8883),
    ("sip", 5060),
    ("sip-tls", 5061),
    ("smtp", 25),
    ("snmp", 161),
    ("socks", 1080),
    ("ssh", 22),
    ("submission", 587),
    ("submissions", 465),
    ("sunrpc", 111),
    ("svn", 3690),
    ("telnet", 23),
    ("telnets", 992),
    ("tftp", 69),
    ("vnc", 5900),
    ("www", 80),
    ("x11", 6000),
    ("zabbix-agent", 10050),
];

/// The port of a service.
pub(super) fn port(name: &str) -> Option<u16> {
    let found = SERVICES.iter().find(|(known, _)| *known == name);
    found.map(|(_, port)| *port)
}
