//! Private keys as other programs write them: each is read, or refused with what it is and what
//! to do. What is read has the public half that its own program names.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use support::client::{Call, Ended};
use support::{Scene, text};

/// What `reachback pubkey` says of a file.
fn pubkey(scene: &Scene, key: &Path) -> Ended {
    Call::new(scene).args(&["pubkey", "-i", &text(key)]).run()
}

/// Type and base64 of the public half that reachback reads.
fn read(scene: &Scene, key: &Path) -> String {
    let ended = pubkey(scene, key);
    assert_eq!(ended.code, 0, "{}: {ended:?}", key.display());
    assert!(
        ended.stderr.len() == 1 && ended.stderr[0].contains(" SHA256:"),
        "{ended:?}"
    );
    public_half(&ended.stdout[0])
}

fn public_half(line: &str) -> String {
    line.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

/// Asserts that a file is refused in one line that has these words and no advice about its mode.
fn refused(scene: &Scene, key: &Path, words: &[&str]) {
    fs::set_permissions(key, fs::Permissions::from_mode(0o644)).unwrap();
    let ended = pubkey(scene, key);
    assert_eq!(ended.code, 65, "{}: {ended:?}", key.display());
    assert_eq!(ended.stderr.len(), 1, "{ended:?}");
    for word in words.iter().chain(&[text(key).as_str()]) {
        assert!(ended.stderr[0].contains(word), "no {word:?} in {ended:?}");
    }
}

/// Runs a shell line in the scene's directory, with `$k` the key's file.
fn make(scene: &Scene, line: &str) -> PathBuf {
    let key = scene.path("k");
    let _ = fs::remove_file(&key);
    let out = Command::new("sh")
        .args(["-ec", line])
        .env("k", &key)
        .current_dir(key.parent().unwrap())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "{line}: {said}");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    key
}

fn says(line: &str, key: &Path) -> String {
    let mut words = line.split(' ');
    let out = Command::new(words.next().unwrap())
        .args(words)
        .arg(key)
        .output()
        .unwrap();
    let said = String::from_utf8(out.stdout).unwrap();
    let line = said.lines().find(|line| line.contains(" AAAA"));
    public_half(line.unwrap_or_else(|| panic!("{line:?}: {said}")))
}

#[test]
fn what_ssh_keygen_reads_is_read() {
    let scene = Scene::new();
    fs::write(scene.path("empty"), "").unwrap();
    let puttygen = |kind: &str, format: &str, comment: &str| {
        format!("puttygen {kind} -O {format} -C '{comment}' --new-passphrase empty -o $k")
    };
    let certificate = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=c -days 9 \
                       -keyout private -out certificate";
    let ecparam = "openssl ecparam -param_enc explicit -genkey -name";
    let mut lines = vec![
        format!("{certificate}; cat certificate private >$k"),
        format!("{certificate}; openssl rsa -in private -traditional -out p1; cat certificate certificate p1 >$k"),
        format!("{certificate}; openssl rsa -in private -pubout -out public; cat public private >$k"),
        format!("{certificate}; printf 'friendlyName: caf\\351\\n' | cat - private >$k"),
        format!("{ecparam} prime256v1 -out $k"),
        format!("{ecparam} prime256v1 -noout -out $k"),
        format!("{ecparam} secp384r1 -out $k"),
        "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -pkeyopt ec_param_enc:explicit -out $k".into(),
        "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -pkeyopt ec_param_enc:explicit -out $k".into(),
        "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out $k".into(),
        "openssl ecparam -name prime256v1 -genkey -out $k".into(),
        "openssl genrsa -traditional -out $k 3072".into(),
        "ssh-keygen -q -t rsa -b 4096 -N '' -f $k".into(),
    ];
    // One after the other, so that every length of padding is met.
    for comment in [
        "", "a", "ab", "abc", "abcd", "abcde", "abcdef", "abcdefg", "abcdefgh",
    ] {
        lines.push(puttygen("-t ed25519", "private-openssh", comment));
        lines.push(format!(
            "ssh-keygen -q -t ed25519 -N '' -C '{comment}' -f $k"
        ));
    }
    for kind in ["-t rsa -b 2048", "-t ecdsa -b 256", "-t ecdsa -b 384"] {
        lines.push(puttygen(kind, "private-openssh-new", "of puttygen"));
        lines.push(puttygen(kind, "private-openssh", "of puttygen"));
    }
    for line in lines {
        let key = make(&scene, &line);
        let public = says("ssh-keygen -y -f", &key);
        assert_eq!(read(&scene, &key), public, "{line}");
        let _ = fs::remove_file(scene.path("k.pub"));
    }
}

#[test]
fn what_dropbearkey_reads_is_read() {
    let scene = Scene::new();
    for line in [
        "dropbearkey -t ed25519 -f $k",
        "dropbearkey -t ecdsa -s 256 -f $k",
        "dropbearkey -t ecdsa -s 384 -f $k",
        "dropbearkey -t rsa -s 2048 -f $k",
        "ssh-keygen -q -t rsa -b 3072 -N '' -f o; dropbearconvert openssh dropbear o $k; rm o*",
    ] {
        let key = make(&scene, line);
        assert_eq!(
            read(&scene, &key),
            says("dropbearkey -y -f", &key),
            "{line}"
        );
    }
}

/// Makes an RSA key with primes of so many bits each and a modulus of so many, and writes it in
/// Dropbear's format.
const RSA: &str = r#"
import random, sys
bits, of_p, of_q = map(int, sys.argv[2:])
small = [n for n in range(3, 2000, 2) if all(n % k for k in range(3, n, 2))]
def prime(bits):
    # Only the highest bit is set for sure, as in Dropbear's; Fermat's test to some bases.
    while True:
        n = random.getrandbits(bits) | 1 << (bits - 1) | 1
        if all(n % k for k in small) and all(pow(a, n - 1, n) == 1 for a in (2, 3, 5, 7)):
            return n
e = 65537
while True:
    p, q = prime(of_p), prime(of_q)
    n, phi = p * q, (p - 1) * (q - 1)
    if n.bit_length() == bits and phi % e:
        break
def string(b): return len(b).to_bytes(4, "big") + b
def mpint(i): return string(i.to_bytes(i.bit_length() // 8 + 1, "big"))
with open(sys.argv[1], "wb") as file:
    file.write(string(b"ssh-rsa") + b"".join(map(mpint, [e, n, pow(e, -1, phi), p, q])))
"#;

fn rsa(scene: &Scene, bits: u32, of_p: u32, of_q: u32) -> PathBuf {
    let script = text(&scene.file("rsa.py", RSA));
    make(scene, &format!("python3 {script} $k {bits} {of_p} {of_q}"))
}

#[test]
fn an_rsa_key_of_2047_bits_as_old_dropbearkeys_made_them_is_read() {
    let scene = Scene::new();
    let key = rsa(&scene, 2047, 1024, 1024);
    assert_eq!(read(&scene, &key), says("dropbearkey -y -f", &key));
}

#[test]
fn what_cannot_be_read_says_what_it_is_and_what_to_do() {
    let scene = Scene::new();
    fs::write(scene.path("empty"), "").unwrap();
    fs::write(scene.path("secret"), "secret\n").unwrap();
    let made = "ssh-keygen -q -t ed25519 -N '' -f o; ssh-keygen -q -s o -I i o.pub";
    for (line, words) in [
        (
            "ssh-keygen -q -t ed25519 -N secret -f $k",
            &["passphrase", "ssh-keygen -p"][..],
        ),
        (
            "ssh-keygen -q -m PEM -t rsa -N secret -f $k",
            &["passphrase", "ssh-keygen -p"],
        ),
        (
            "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -aes256 -pass pass:secret -out $k",
            &["passphrase"],
        ),
        (
            "puttygen -t ed25519 --new-passphrase empty -o $k",
            &["a PuTTY key", "puttygen"],
        ),
        (
            "puttygen -t rsa -b 2048 --new-passphrase secret -o $k",
            &["a PuTTY key", "puttygen"],
        ),
        (
            "puttygen -t rsa -b 2048 --new-passphrase empty -O private-sshcom -o $k",
            &["ssh.com", "ssh-keygen -i"],
        ),
        (
            "puttygen -t rsa -b 2048 --new-passphrase empty -o p; puttygen p -O public -o $k",
            &["a public key", "private key file beside it"],
        ),
        (
            "puttygen -t rsa1 -b 2048 --new-passphrase empty -o $k",
            &["version 1"],
        ),
        (made, &[]),
        (
            "cp o.pub $k",
            &["a public key", "private key file beside it"],
        ),
        (
            "cp o-cert.pub $k",
            &["a certificate", "private key file beside it"],
        ),
        (
            "openssl rsa -in private -pubout -out $k 2>&1 || openssl genrsa | openssl rsa -pubout -out $k",
            &["a public key"],
        ),
        ("iconv -f ASCII -t UTF-16 o >$k", &["UTF-16", "iconv"]),
        ("iconv -f ASCII -t UTF-16LE o >$k", &["UTF-16", "iconv"]),
        ("iconv -f ASCII -t UTF-16BE o >$k", &["UTF-16", "iconv"]),
        (
            "openssl genpkey -algorithm ED25519 -outform DER -out $k",
            &["DER", "openssl pkey -inform DER"],
        ),
        (
            "openssl genrsa | openssl rsa -outform DER -out $k",
            &["DER", "openssl pkey -inform DER"],
        ),
        (
            "openssl ecparam -name prime256v1 -genkey -noout -outform DER -out $k",
            &["DER", "openssl pkey -inform DER"],
        ),
        (
            "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=c -days 9 -keyout o -out $k",
            &["without a private key"],
        ),
        (
            "openssl genrsa -3 -out $k 2048",
            &["exponent", "ssh-keygen -t ed25519"],
        ),
        (
            "ssh-keygen -q -t rsa -b 1024 -N '' -f $k",
            &["1024 bits", "ssh-keygen -t ed25519"],
        ),
        (
            "openssl genrsa -out $k 2046",
            &["2046 bits", "ssh-keygen -t ed25519"],
        ),
        (
            "openssl genrsa -out $k 2560",
            &["1024, 1536 or 2048", "ssh-keygen -t ed25519"],
        ),
        (
            "dropbearkey -t rsa -s 1024 -f $k",
            &["1024 bits", "dropbearkey -t ed25519"],
        ),
        (
            "dropbearkey -t ecdsa -s 521 -f $k",
            &["nistp521", "dropbearkey -t ed25519"],
        ),
        (
            "ssh-keygen -q -t ecdsa -b 521 -N '' -f $k",
            &["nistp521", "ssh-keygen -t ed25519"],
        ),
        (
            "openssl ecparam -name secp256k1 -param_enc explicit -genkey -out $k",
            &["other than P-256 and P-384"],
        ),
        (
            "openssl ecparam -name secp521r1 -genkey -out $k",
            &["other than P-256 and P-384"],
        ),
        (
            "openssl ecparam -name prime256v1 -genkey -noout -out o2; openssl ec -in o2 -conv_form compressed -out $k",
            &["compressed", "openssl ec"],
        ),
        (
            "openssl genpkey -algorithm ED448 -out $k",
            &["other than RSA, Ed25519 and ECDSA"],
        ),
        (
            "openssl genpkey -genparam -algorithm DSA -pkeyopt dsa_paramgen_bits:1024 -out d; openssl gendsa -out o d; openssl dsa -in o -traditional -out $k || cp o $k",
            &["not supported", "ssh-keygen -t ed25519"],
        ),
        (": >$k", &["empty"]),
        ("echo hello >$k", &["Dropbear's, OpenSSH's or PEM"]),
    ] {
        if words.is_empty() {
            make(&scene, &format!("{line}; : >$k"));
            continue;
        }
        let key = make(&scene, line);
        refused(&scene, &key, words);
        let _ = fs::remove_file(scene.path("k.pub"));
    }
    refused(
        &scene,
        &rsa(&scene, 2047, 1024, 1023),
        &["1024, 1536 or 2048"],
    );
}
