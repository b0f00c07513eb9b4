//! A private key file of any format, and a host certificate.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reachback_core::dropbear_key::{DropbearKey, looks_like};
use reachback_ssh::certificate;
use reachback_ssh::limits::KEY_TEXT;
use reachback_ssh::userkey::UserKey;

fuzz_target!(|bytes: &[u8]| {
    if DropbearKey::decode(bytes).is_ok() {
        assert!(looks_like(bytes));
    }
    if let Ok(found) = certificate::read(bytes) {
        assert!(!found.key.is_empty() && !found.authority.is_empty());
    }
    if let Ok(key) = UserKey::from_file(&bytes[..bytes.len().min(KEY_TEXT)]) {
        let algorithm = key.algorithms(None)[0];
        assert!(key.sign(algorithm, b"message").is_ok());
    }
});
