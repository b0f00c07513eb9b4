//! A configuration file and a known_hosts file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reachback_core::config::{Config, FileParser, Scope};
use reachback_core::known_hosts::{self, HashedName, HostKeyMatch};

const HOST: &str = "server.example";

struct NoneHashed;

impl HashedName for NoneHashed {
    fn matches(&self, _salt: &str, _hash: &str, _name: &str) -> bool {
        false
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let mut config = Config::new();
    let mut parser = FileParser::new(text, Scope::new(HOST));
    // Each step that gives something reads at least one word.
    for _ in 0..=text.len() {
        match parser.step(&mut config) {
            Ok(Some(_)) => {}
            Ok(None) => break,
            Err(error) => {
                let lines = text.lines().count() as u32;
                let line = error.position.map_or(0, |position| position.line);
                assert!((1..=lines).contains(&line), "{error}");
                break;
            }
        }
    }
    let key = "AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";
    let found = known_hosts::lookup(text, HOST, 2222, "ssh-ed25519", key, &NoneHashed);
    if found == HostKeyMatch::Match {
        assert!(text.contains(key));
    }
    for pinned in known_hosts::pinned_types(text, HOST, 2222, &NoneHashed) {
        assert!(text.contains(pinned));
    }
    known_hosts::malformed(text);
});
