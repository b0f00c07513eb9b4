//! Key files in every format that the program reads, made by the tools that
//! its users have.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Scene, find_program, output, text};

/// Kinds of keys.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// RSA with 2048 bits.
    Rsa,
    /// Ed25519.
    Ed25519,
    /// ECDSA on NIST P-256.
    EcdsaP256,
    /// ECDSA on NIST P-384.
    EcdsaP384,
    /// ECDSA on NIST P-521.
    EcdsaP521,
}

impl Kind {
    fn type_and_bits(self) -> (&'static str, &'static str) {
        match self {
            Self::Rsa => ("rsa", "2048"),
            Self::Ed25519 => ("ed25519", "256"),
            Self::EcdsaP256 => ("ecdsa", "256"),
            Self::EcdsaP384 => ("ecdsa", "384"),
            Self::EcdsaP521 => ("ecdsa", "521"),
        }
    }

    /// The name at the start of an authorized_keys line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rsa => "ssh-rsa",
            Self::Ed25519 => "ssh-ed25519",
            Self::EcdsaP256 => "ecdsa-sha2-nistp256",
            Self::EcdsaP384 => "ecdsa-sha2-nistp384",
            Self::EcdsaP521 => "ecdsa-sha2-nistp521",
        }
    }
}

/// File formats of private keys.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Format {
    /// `BEGIN OPENSSH PRIVATE KEY`.
    OpenSsh,
    /// PKCS#1 for RSA, SEC 1 for ECDSA.
    Pem,
    /// Dropbear's own.
    Dropbear,
}

/// A key pair on disk.
#[derive(Clone, Debug)]
pub struct Key {
    /// The private key file.
    pub private: PathBuf,
    /// The authorized_keys line, without a newline.
    pub public: String,
}

impl Key {
    /// The file name of the private key, for command lines.
    pub fn file(&self) -> String {
        text(&self.private)
    }

    /// The base64 part of the public key.
    pub fn blob(&self) -> &str {
        self.public.split(' ').nth(1).unwrap()
    }

    /// `SHA256:...` as ssh-keygen prints it.
    pub fn fingerprint(&self, scene: &Scene) -> String {
        let file = scene.file("fingerprint.pub", &self.public);
        let line = output("ssh-keygen", &["-l", "-f", &text(&file)]);
        line.split(' ').nth(1).unwrap().to_owned()
    }
}

/// An unencrypted key in OpenSSH's format.
pub fn key(scene: &Scene, name: &str, kind: Kind) -> Key {
    generate(scene, name, kind, Format::OpenSsh)
}

/// Whether Dropbear's key tool is there.
pub fn have_dropbear_tools() -> bool {
    find_program("dropbearkey").is_some()
}

/// An unencrypted key in the given format.
pub fn generate(scene: &Scene, name: &str, kind: Kind, format: Format) -> Key {
    let private = scene.path(name);
    let (kind_name, bits) = kind.type_and_bits();
    let file = text(&private);
    match format {
        Format::Dropbear => {
            let mut args = vec!["-t", kind_name, "-f", &file];
            if kind != Kind::Ed25519 {
                args.extend(["-s", bits]);
            }
            output("dropbearkey", &args);
            let shown = output("dropbearkey", &["-y", "-f", &file]);
            let public = shown.lines().find(|l| l.starts_with(kind.name())).unwrap();
            Key {
                private,
                public: public.to_owned(),
            }
        }
        _ => openssh(private, kind_name, bits, format, ""),
    }
}

/// A key encrypted with the passphrase `secret`.
pub fn encrypted(scene: &Scene, name: &str, kind: Kind, format: Format) -> Key {
    let (kind_name, bits) = kind.type_and_bits();
    openssh(scene.path(name), kind_name, bits, format, "secret")
}

fn openssh(private: PathBuf, kind: &str, bits: &str, format: Format, passphrase: &str) -> Key {
    let mut command = Command::new("ssh-keygen");
    command.args([
        "-q",
        "-t",
        kind,
        "-b",
        bits,
        "-C",
        "reachback-test",
        "-N",
        passphrase,
    ]);
    if format == Format::Pem {
        command.args(["-m", "PEM"]);
    }
    let out = command.arg("-f").arg(&private).output().unwrap();
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    let public = read_public(&private);
    Key { private, public }
}

fn read_public(private: &Path) -> String {
    let line = fs::read_to_string(format!("{}.pub", text(private))).unwrap();
    line.trim().to_owned()
}
