//! The HTTP proxy of the configuration, and its login from a file.

use std::path::Path;

use reachback_core::config::Config;
use reachback_core::destination;
use reachback_ssh::hostkey::blob_to_base64;
use reachback_tunnel::Proxy;

use crate::exit::{self, Exit};
use crate::keys;
use crate::sys::wipe;

/// Largest `ProxyCredentialsFile`, bytes.
const BYTES: usize = 1024;

/// The proxy that the configuration names, if it does.
///
/// # Errors
/// [`exit::NO_INPUT`] for a file that is missing or not regular, [`exit::NO_PERMISSION`] for one that
/// may not be read, [`exit::DATA`] for one that holds no login.
pub fn of(config: &Config) -> Result<Option<Proxy>, Exit> {
    let Some((host, port)) = config.proxy().and_then(destination::proxy) else {
        return Ok(None);
    };
    let file = config.proxy_credentials_file();
    let file = file.filter(|file| !file.eq_ignore_ascii_case("none"));
    let login = file.map(|file| {
        let path = keys::absolute(file);
        wipe::what_is_freed_by(|| login(&path))
    });
    Ok(Some(Proxy {
        host: host.as_str().to_owned(),
        port,
        login: login.transpose()?,
    }))
}

/// The login of a file, in base64 (RFC 7617). One that others may read is warned about and used, as a
/// key's is.
fn login(path: &Path) -> Result<String, Exit> {
    let (bytes, mode) = keys::read(path, "proxy's login", BYTES, "see ProxyCredentialsFile")?;
    let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if !line.contains(&b':') || line.iter().any(u8::is_ascii_control) {
        let shown = path.display();
        let message = format!("no proxy's login: {shown}: write one line into it, user:password");
        return Err(Exit::new(exit::DATA, message));
    }
    keys::warn_of_readers("proxy's login", path, mode);
    Ok(blob_to_base64(line))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn config(file: &Path) -> Config {
        let mut config = Config::new();
        let file = format!("ProxyCredentialsFile={}", file.display());
        for option in ["Proxy=http://[fd00::1]:3128", &file] {
            config.parse_option(option).unwrap();
        }
        config
    }

    #[test]
    fn a_login_is_one_line_of_a_file_and_in_no_error() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("login");
        let read = |bytes: &[u8]| {
            std::fs::write(&file, bytes).unwrap();
            of(&config(&file)).map(|proxy| proxy.unwrap().login.unwrap())
        };
        // RFC 7617, section 2.
        let known = "QWxhZGRpbjpvcGVuIHNlc2FtZQ==";
        assert_eq!(read(b"Aladdin:open sesame").unwrap(), known);
        assert_eq!(read(b"Aladdin:open sesame\r\n").unwrap(), known);
        assert_eq!(read(b"a:\xc3\xa4:b\n").unwrap(), "YTrDpDpi");
        let long = [b"a:".as_slice(), &[b'x'; BYTES]].concat();
        for wrong in [
            &b""[..],
            b"secret",
            b"a:secret\nb:secret\n",
            b"\na:secret",
            b"a:secret\r\nX: y",
            &long,
        ] {
            let exit = read(wrong).unwrap_err();
            assert_eq!(exit.code, exit::DATA, "{}", wrong.escape_ascii());
            assert!(!exit.line().contains("secret"), "{}", exit.line());
        }
        std::fs::remove_file(&file).unwrap();
        assert_eq!(of(&config(&file)).err().unwrap().code, exit::NO_INPUT);
        // Nobody reads it where there is no proxy.
        let mut direct = Config::new();
        direct.parse_option("Proxy=none").unwrap();
        direct
            .parse_option("ProxyCredentialsFile=/nowhere")
            .unwrap();
        assert!(of(&direct).unwrap().is_none());
    }
}
