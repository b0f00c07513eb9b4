//! RFC 4253 section 7.1.

use reachback_ssh::Error;
use reachback_ssh::algorithms::{
    Cipher, Kex, List, Mac, Negotiated, Offer, PublicKeyAlgorithm, negotiate, write_kexinit,
};
use reachback_ssh::certificate::CERTIFIED;
use reachback_ssh::wire::{Put, Reader, names};

const MAC: &str = "hmac-sha2-256";

/// A server's proposal as a list of lists, so that each test states what differs.
#[derive(Clone)]
struct Server {
    lists: [&'static str; 10],
    guess: bool,
}

impl Server {
    fn openssh_9_2() -> Self {
        let ciphers = "chacha20-poly1305@openssh.com,aes128-ctr,aes128-gcm@openssh.com,\
                       aes256-gcm@openssh.com";
        Server {
            lists: [
                "sntrup761x25519-sha512@openssh.com,curve25519-sha256,\
                 curve25519-sha256@libssh.org,ecdh-sha2-nistp256,kex-strict-s-v00@openssh.com",
                "rsa-sha2-512,rsa-sha2-256,ecdsa-sha2-nistp256,ssh-ed25519",
                ciphers,
                ciphers,
                MAC,
                MAC,
                "none,zlib@openssh.com",
                "none,zlib@openssh.com",
                "",
                "",
            ],
            guess: false,
        }
    }

    fn with(mut self, list: usize, names: &'static str) -> Self {
        self.lists[list] = names;
        self
    }

    fn payload(&self) -> Vec<u8> {
        let mut out = vec![20];
        out.put(&[0xc0; 16]);
        for list in self.lists {
            out.put_string(list.as_bytes());
        }
        out.put_boolean(self.guess);
        out.put_u32(0);
        out
    }

    fn settle(&self) -> Result<Negotiated, Error> {
        negotiate(&Offer::default(), &self.payload())
    }
}

/// The host key algorithms that this offer names.
fn host_keys_of(offer: &Offer) -> String {
    let mut proposal = Vec::new();
    write_kexinit(offer, [0; 16], true, &mut proposal);
    lists_of(&proposal)[1].clone()
}

fn lists_of(payload: &[u8]) -> Vec<String> {
    let mut reader = Reader::new(payload);
    assert_eq!(reader.u8().unwrap(), 20);
    reader.take(16).unwrap();
    let lists = (0..10)
        .map(|_| reader.name_list().unwrap().to_owned())
        .collect();
    assert!(!reader.boolean().unwrap());
    assert_eq!(reader.u32().unwrap(), 0);
    reader.finish().unwrap();
    lists
}

#[test]
fn the_first_proposal_announces_extensions_and_strict_exchange_and_later_ones_do_not() {
    let mut first = Vec::new();
    write_kexinit(&Offer::default(), [7; 16], true, &mut first);
    assert_eq!(first[1..17], [7; 16]);
    let lists = lists_of(&first);
    assert_eq!(
        lists[0],
        "mlkem768x25519-sha256,curve25519-sha256,curve25519-sha256@libssh.org,\
         ecdh-sha2-nistp256,ecdh-sha2-nistp384,ext-info-c,kex-strict-c-v00@openssh.com"
    );
    assert_eq!(
        lists[1],
        "ssh-ed25519,ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,rsa-sha2-512,rsa-sha2-256"
    );
    assert_eq!(
        lists[2],
        "chacha20-poly1305@openssh.com,aes256-gcm@openssh.com,aes128-gcm@openssh.com,\
         aes256-ctr,aes192-ctr,aes128-ctr"
    );
    assert_eq!(lists[2], lists[3]);
    assert!(!lists[4].is_empty() && lists[4] == lists[5]);
    assert_eq!(lists[6..], ["none", "none", "", ""]);

    let mut later = Vec::new();
    write_kexinit(&Offer::default(), [0; 16], false, &mut later);
    let kex = &lists_of(&later)[0];
    assert!(names(kex).all(|n| n != "ext-info-c" && !n.starts_with("kex-strict")));
}

#[test]
fn the_clients_first_name_that_the_server_has_wins() {
    let settled = Server::openssh_9_2().settle().unwrap();
    assert_eq!(
        settled,
        Negotiated {
            kex: Kex::Curve25519,
            host_key: PublicKeyAlgorithm::Ed25519,
            certificate: false,
            cipher_c2s: Cipher::ChaCha20Poly1305,
            cipher_s2c: Cipher::ChaCha20Poly1305,
            mac_c2s: None,
            mac_s2c: None,
            strict: true,
            ignore_guess: false,
        }
    );
}

#[test]
fn each_direction_settles_its_own_cipher() {
    let settled = Server::openssh_9_2()
        .with(2, "aes128-gcm@openssh.com,aes256-gcm@openssh.com")
        .with(3, "aes128-gcm@openssh.com")
        .settle()
        .unwrap();
    assert_eq!(settled.cipher_c2s, Cipher::Aes256Gcm);
    assert_eq!(settled.cipher_s2c, Cipher::Aes128Gcm);
}

#[test]
fn a_server_without_the_strict_marker_is_not_strict() {
    let settled = Server::openssh_9_2()
        .with(
            0,
            "curve25519-sha256@libssh.org,kex-strict-c-v00@openssh.com",
        )
        .settle()
        .unwrap();
    assert!(!settled.strict);
    assert_eq!(settled.kex, Kex::Curve25519LibSsh);
}

#[test]
fn certificates_go_first_where_they_are_asked_for_and_never_with_sha_1() {
    let mut offer = Offer::default();
    let plain = host_keys_of(&offer);
    offer.set(List::HostKey, "+ssh-rsa").unwrap();
    offer.prefer_host_key_types(&["ssh-rsa", CERTIFIED]);
    let names = host_keys_of(&offer);
    assert!(
        names.starts_with("rsa-sha2-512-cert-v01@openssh.com,rsa-sha2-256-cert-v01@openssh.com,")
    );
    assert_eq!(names.matches(CERTIFIED).count(), 5);
    assert!(!names.contains("ssh-rsa-cert"));
    let certified = "ssh-rsa-cert-v01@openssh.com,ssh-ed25519-cert-v01@openssh.com,rsa-sha2-512";
    let server = Server::openssh_9_2().with(1, certified);
    let settled = negotiate(&offer, &server.payload()).unwrap();
    assert_eq!(settled.host_key, PublicKeyAlgorithm::Ed25519);
    assert!(settled.certificate);
    // Without them in the offer, a server's certificates are nobody's.
    offer.prefer_host_key_types(&["ssh-rsa"]);
    let settled = negotiate(&offer, &server.payload()).unwrap();
    assert_eq!(settled.host_key, PublicKeyAlgorithm::RsaSha512);
    assert!(!settled.certificate);
    assert_eq!(host_keys_of(&Offer::default()), plain);
    assert!(!plain.contains(CERTIFIED));
}

#[test]
fn a_pinned_key_type_is_asked_for_first_and_the_order_stays_otherwise() {
    let mut offer = Offer::default();
    offer.prefer_host_key_types(&["ssh-rsa"]);
    let order: Vec<_> = offer.host_keys.iter().map(|a| a.name()).collect();
    assert_eq!(
        order,
        [
            "rsa-sha2-512",
            "rsa-sha2-256",
            "ssh-ed25519",
            "ecdsa-sha2-nistp256",
            "ecdsa-sha2-nistp384"
        ]
    );
    let settled = negotiate(&offer, &Server::openssh_9_2().payload()).unwrap();
    assert_eq!(settled.host_key, PublicKeyAlgorithm::RsaSha512);
}

#[test]
fn nothing_in_common_names_the_list_what_the_server_has_and_what_would_help() {
    let cases = [
        (
            0,
            "diffie-hellman-group14-sha1,ext-info-s",
            "no key exchange method in common; the server offers \
             diffie-hellman-group14-sha1,ext-info-s, none of which reachback has: allow \
             ecdh-sha2-nistp384 there (KexAlgorithms in sshd_config)",
        ),
        (
            1,
            "ssh-dss,ssh-rsa",
            "no host key algorithm in common; the server offers ssh-dss,ssh-rsa; \
             HostKeyAlgorithms +ssh-rsa allows it here",
        ),
        (
            2,
            "aes128-cbc,3des-cbc",
            "no cipher in common; the server offers aes128-cbc,3des-cbc, none of which \
             reachback has: allow aes128-ctr there (Ciphers in sshd_config)",
        ),
        (
            3,
            "",
            "no cipher in common; the server offers nothing, none of which reachback has: \
             allow aes128-ctr there (Ciphers in sshd_config)",
        ),
        (
            6,
            "zlib",
            "the server insists on compression (zlib): allow 'none' there (Compression in \
             sshd_config)",
        ),
        (
            7,
            "zlib",
            "the server insists on compression (zlib): allow 'none' there (Compression in \
             sshd_config)",
        ),
    ];
    for (list, theirs, text) in cases {
        let error = Server::openssh_9_2().with(list, theirs).settle();
        assert_eq!(error.unwrap_err().to_string(), text);
    }
}

#[test]
fn a_mac_is_settled_where_the_cipher_needs_one_and_only_there() {
    let ctr = |list: usize| Server::openssh_9_2().with(list, "aes192-ctr");
    let settled = ctr(2).with(5, "hmac-md5").settle().unwrap();
    assert_eq!(settled.cipher_c2s, Cipher::Aes192Ctr);
    assert_eq!(settled.mac_c2s, Some(Mac::HmacSha256));
    assert_eq!(settled.mac_s2c, None);
    let settled = ctr(3)
        .with(5, "hmac-sha2-512,hmac-sha2-512-etm@openssh.com")
        .settle()
        .unwrap();
    assert_eq!(settled.mac_s2c, Some(Mac::HmacSha512Etm));
    let error = ctr(2).with(4, "hmac-sha1,hmac-md5").settle().unwrap_err();
    assert_eq!(
        error.to_string(),
        "no MAC in common; the server offers hmac-sha1,hmac-md5, none of which reachback has: \
         allow hmac-sha2-512 there (MACs in sshd_config)"
    );
}

#[test]
fn authenticated_ciphers_come_before_those_with_a_mac() {
    let server = Server::openssh_9_2().with(2, "aes256-ctr,aes128-gcm@openssh.com");
    assert_eq!(server.settle().unwrap().cipher_c2s, Cipher::Aes128Gcm);
}

#[test]
fn a_long_list_is_cut_in_the_error() {
    let long: &'static str = "x,".repeat(500).leak();
    let Err(Error::NoCommon { theirs, .. }) = Server::openssh_9_2().with(1, long).settle() else {
        panic!("settled on nothing");
    };
    assert!(theirs.len() < 250 && theirs.ends_with("..."));
}

#[test]
fn a_wrong_guess_is_to_be_ignored_and_a_right_one_is_not() {
    let mut server = Server::openssh_9_2();
    server.guess = true;
    assert!(server.settle().unwrap().ignore_guess);

    let right = server
        .clone()
        .with(0, "mlkem768x25519-sha256,curve25519-sha256")
        .with(1, "ssh-ed25519");
    assert!(!right.settle().unwrap().ignore_guess);
    // The host key algorithm is part of the guess (RFC 4253 section 7).
    let half = right.clone().with(1, "rsa-sha2-512,ssh-ed25519");
    assert!(half.settle().unwrap().ignore_guess);
}

#[test]
fn a_proposal_cut_anywhere_is_malformed() {
    let whole = Server::openssh_9_2().payload();
    for end in 0..whole.len() {
        assert!(matches!(
            negotiate(&Offer::default(), &whole[..end]),
            Err(Error::Malformed(_))
        ));
    }
    let mut other = whole.clone();
    other[0] = 21;
    assert!(negotiate(&Offer::default(), &other).is_err());
}
