//! The keywords of ssh_config(5) for which there is no setting here: each with what becomes of it.

/// What becomes of a keyword that stands in a block for this destination.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Treatment {
    /// Whatever its value, the tunnel is the same; why.
    Same(&'static str),
    /// With these values the tunnel is the same. Another asks for something that is not done, and
    /// the tunnel does its job without it; what that is.
    Unless(&'static [&'static str], &'static str),
    /// With these values the tunnel is the same. With another there can be no tunnel as it was
    /// asked for: the start is refused; why, and what to do instead.
    Refused(&'static [&'static str], &'static str),
}

/// A keyword of OpenSSH without a setting here.
#[derive(PartialEq, Eq, Debug)]
pub struct Foreign {
    /// Its name; any case is read.
    pub name: &'static str,
    /// What becomes of it.
    pub treatment: Treatment,
}

use Treatment::{Refused, Same, Unless};

const fn foreign(name: &'static str, treatment: Treatment) -> Foreign {
    Foreign { name, treatment }
}

const NO_AGENT: &str = "keys come from files only, no agent is asked";
const NO_CANON: &str = "host names are not rewritten";
const NO_CERTIFICATE: &str = "certificates of users are not used";
const NO_LOCAL: &str = "it is about forwards from this side, which there are none of";
const NO_PASSWORD: &str = "only public keys are used, nobody is asked";
const NO_PROGRAM: &str = "no program is ever run";
const NO_SESSION: &str = "there is no session on the server";
const NO_TERMINAL: &str = "there is no terminal";
const NO_X11: &str = "X11 is not forwarded";
const OLD: &str = "it has no meaning in ssh of today";
const ONE_PROCESS: &str = "calls for one destination share a connection anyway";

/// All of them, as OpenSSH 10 reads them, with those of Debian and of old versions that it still
/// takes; in alphabetical order.
#[rustfmt::skip]
pub static FOREIGN: [Foreign; 104] = [
    foreign("AFSTokenPassing", Same(OLD)),
    foreign("AddKeysToAgent", Same(NO_AGENT)),
    foreign("BatchMode", Same("nobody is ever asked")),
    foreign("CASignatureAlgorithms", Same("an authority signs with what host keys sign with, and never with SHA-1")),
    foreign("CanonicalDomains", Same(NO_CANON)),
    foreign("CanonicalizeFallbackLocal", Same(NO_CANON)),
    foreign("CanonicalizeHostname", Unless(&["no", "false", "none"], NO_CANON)),
    foreign("CanonicalizeMaxDots", Same(NO_CANON)),
    foreign("CanonicalizePermittedCNAMEs", Same(NO_CANON)),
    foreign("CertificateFile", Unless(&["none"], NO_CERTIFICATE)),
    foreign("ChallengeResponseAuthentication", Same(NO_PASSWORD)),
    foreign("ChannelTimeout", Unless(&["none"], "ChannelIdleTimeout has it here")),
    foreign("CheckHostIP", Same("known hosts are looked up under the name of the server or HostKeyAlias")),
    foreign("Cipher", Same(OLD)),
    foreign("ClearAllForwardings", Refused(&["no", "false"], "without forwards there is nothing to do")),
    foreign("Compression", Same("data is not compressed; it mostly is already")),
    foreign("CompressionLevel", Same(OLD)),
    foreign("ConnectionAttempts", Same("attempts go on until the tunnel is up")),
    foreign("ControlMaster", Same(ONE_PROCESS)),
    foreign("ControlPath", Same(ONE_PROCESS)),
    foreign("ControlPersist", Same(ONE_PROCESS)),
    foreign("DSAAuthentication", Same(OLD)),
    foreign("DisableTrivialAuth", Same("a server that lets in without a key is let be; dbclient's keyword")),
    foreign("DynamicForward", Unless(&[], "there is no SOCKS proxy; only RemoteForward is done")),
    foreign("EnableEscapeCommandline", Same(NO_TERMINAL)),
    foreign("EnableSSHKeysign", Same("host-based authentication is not done")),
    foreign("EscapeChar", Same(NO_TERMINAL)),
    foreign("FallBackToRsh", Same(OLD)),
    foreign("FingerprintHash", Same("fingerprints are SHA-256")),
    foreign("ForkAfterAuthentication", Unless(&["no", "false"], "the process stays in the foreground; -f sends it to the background")),
    foreign("ForwardAgent", Unless(&["no", "false"], "the agent is not forwarded")),
    foreign("ForwardX11", Unless(&["no", "false"], NO_X11)),
    foreign("ForwardX11Timeout", Same(NO_X11)),
    foreign("ForwardX11Trusted", Same(NO_X11)),
    foreign("GSSAPIAuthentication", Same(NO_PASSWORD)),
    foreign("GSSAPIClientIdentity", Same(NO_PASSWORD)),
    foreign("GSSAPIDelegateCredentials", Same(NO_PASSWORD)),
    foreign("GSSAPIKexAlgorithms", Same(NO_PASSWORD)),
    foreign("GSSAPIKeyExchange", Same(NO_PASSWORD)),
    foreign("GSSAPIRenewalForcesRekey", Same(NO_PASSWORD)),
    foreign("GSSAPIServerIdentity", Same(NO_PASSWORD)),
    foreign("GSSAPITrustDns", Same(NO_PASSWORD)),
    foreign("GatewayPorts", Same(NO_LOCAL)),
    foreign("GlobalKnownHostsFile", Unless(&["/dev/null", "none"], "only UserKnownHostsFile is read")),
    foreign("GlobalKnownHostsFile2", Same(OLD)),
    foreign("HashKnownHosts", Same("hashed names are read; pinned names are written as they are")),
    foreign("HostbasedAcceptedAlgorithms", Same("host-based authentication is not done")),
    foreign("HostbasedAuthentication", Unless(&["no", "false"], "host-based authentication is not done")),
    foreign("HostbasedKeyTypes", Same("host-based authentication is not done")),
    foreign("IdentitiesOnly", Same(NO_AGENT)),
    foreign("IdentityAgent", Unless(&["none"], NO_AGENT)),
    foreign("KbdInteractiveAuthentication", Same(NO_PASSWORD)),
    foreign("KbdInteractiveDevices", Same(NO_PASSWORD)),
    foreign("KerberosAuthentication", Same(OLD)),
    foreign("KerberosTGTPassing", Same(OLD)),
    foreign("KnownHostsCommand", Unless(&["none"], NO_PROGRAM)),
    foreign("LocalCommand", Unless(&["none"], NO_PROGRAM)),
    foreign("LocalForward", Unless(&[], "only RemoteForward is done")),
    foreign("LogVerbose", Same("LogLevel says how much to log")),
    foreign("NoHostAuthenticationForLocalhost", Unless(&["no", "false"], "the host key of localhost is checked as well")),
    foreign("NumberOfPasswordPrompts", Same(NO_PASSWORD)),
    foreign("ObscureKeystrokeTiming", Same(NO_TERMINAL)),
    foreign("PKCS11Provider", Unless(&["none"], "keys come from files only")),
    foreign("PasswordAuthentication", Same(NO_PASSWORD)),
    foreign("PermitLocalCommand", Same(NO_PROGRAM)),
    foreign("PermitRemoteOpen", Same("it is about -R without a target, which is refused")),
    foreign("PreferredAuthentications", Unless(&["publickey"], "public keys are the only method")),
    foreign("Protocol", Unless(&["2", "2,1"], "there is only SSH-2")),
    foreign("ProxyCommand", Refused(&["none"], "no program is ever run; Proxy leads through an HTTP proxy, else name a server that this machine reaches itself")),
    foreign("ProxyJump", Refused(&["none"], "there are no jump hosts; keep a tunnel to a server that this machine reaches itself")),
    foreign("ProxyUseFdpass", Same(NO_PROGRAM)),
    foreign("PubkeyAuthentication", Unless(&["yes", "true", "unbound", "host-bound"], "public keys are the only method, and are used")),
    foreign("RSAAuthentication", Same(OLD)),
    foreign("RefuseConnection", Refused(&[], "the configuration itself says so")),
    foreign("RemoteCommand", Unless(&["none"], "nothing is run on the server")),
    foreign("RequestTTY", Same(NO_SESSION)),
    foreign("RequiredRSASize", Same("RSA keys have at least 2048 bits")),
    foreign("RevokedHostKeys", Refused(&["none"], "it is not read; put @revoked lines into UserKnownHostsFile")),
    foreign("RhostsAuthentication", Same(OLD)),
    foreign("RhostsRSAAuthentication", Same(OLD)),
    foreign("SecurityKeyProvider", Unless(&["none", "internal"], "keys come from files only")),
    foreign("SendEnv", Same(NO_SESSION)),
    foreign("SessionType", Unless(&["none", "default"], "a session channel is opened only where SessionChannel says so")),
    foreign("SetEnv", Same(NO_SESSION)),
    foreign("SkeyAuthentication", Same(OLD)),
    foreign("SmartcardDevice", Same("keys come from files only")),
    foreign("StdinNull", Same("standard input is never read")),
    foreign("StreamLocalBindMask", Same(NO_LOCAL)),
    foreign("StreamLocalBindUnlink", Same("the server's own StreamLocalBindUnlink decides")),
    foreign("SyslogFacility", Same("the facility is daemon")),
    foreign("TISAuthentication", Same(OLD)),
    foreign("Tag", Same("Match tagged is not judged")),
    foreign("Tunnel", Unless(&["no", "false"], "there is no tunnel device")),
    foreign("TunnelDevice", Same("there is no tunnel device")),
    foreign("UsePrivilegedPort", Same(OLD)),
    foreign("UseRoaming", Same(OLD)),
    foreign("UseRsh", Same(OLD)),
    foreign("UseSyslog", Same("the log goes to syslog in the background; dbclient's keyword")),
    foreign("UserKnownHostsFile2", Same(OLD)),
    foreign("VerifyHostKeyDNS", Unless(&["no", "false"], "host keys are compared with known hosts only")),
    foreign("VersionAddendum", Same("the version is sent without it")),
    foreign("VisualHostKey", Same(NO_TERMINAL)),
    foreign("WarnWeakCrypto", Same("weak algorithms are not spoken")),
    foreign("XAuthLocation", Same(NO_X11)),
];

/// Other names of keywords that there are, as ssh still takes them.
const ALIASES: [(&str, &str); 3] = [
    ("IdentityFile2", "IdentityFile"),
    ("KeepAlive", "TCPKeepAlive"),
    ("PubkeyAcceptedKeyTypes", "PubkeyAcceptedAlgorithms"),
];

/// The keyword with this name, in any case, and its place in [`FOREIGN`].
pub(crate) fn find_foreign(name: &str) -> Option<(usize, &'static Foreign)> {
    let mut all = FOREIGN.iter().enumerate();
    all.find(|(_, known)| known.name.eq_ignore_ascii_case(name))
}

/// The name of today, for one of old.
pub(crate) fn todays_name(name: &str) -> &str {
    let mut all = ALIASES.iter();
    let found = all.find(|(old, _)| old.eq_ignore_ascii_case(name));
    found.map_or(name, |(_, today)| today)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyword;

    #[test]
    fn a_word_is_in_one_table_only_and_each_table_is_sorted() {
        assert!(FOREIGN.windows(2).all(|w| w[0].name < w[1].name));
        for foreign in &FOREIGN {
            assert_eq!(keyword::find(foreign.name), None, "{}", foreign.name);
        }
        let lower = find_foreign("forwardagent").map(|(index, _)| FOREIGN[index].name);
        assert_eq!(lower, Some("ForwardAgent"));
        assert_eq!(todays_name("keepalive"), "TCPKeepAlive");
        assert_eq!(todays_name("Port"), "Port");
    }
}
