//! One line or one argument: what is accepted says the same again when it is written out.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reachback_core::config::Config;
use reachback_core::control::{Reply, Request, Snapshot};
use reachback_core::destination::{Destination, Fallback};
use reachback_core::forward::ForwardSpec;
use reachback_ssh::algorithms::{List, Offer};

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(destination) = Destination::parse(text) {
        assert_eq!(
            Destination::parse(&destination.to_string()),
            Ok(destination)
        );
    }
    if let Ok(destination) = Destination::parse_script(text) {
        // Nothing in it is an option, a second word or a shell's.
        assert!(!text.starts_with('-'));
        assert!(
            text.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_-.@:".contains(&b))
        );
        assert!(!destination.host.starts_with('-'));
    }
    if let Ok(fallback) = Fallback::parse(text) {
        assert_eq!(Fallback::parse(&fallback.to_string()), Ok(fallback));
    }
    if let Ok(spec) = ForwardSpec::parse(text) {
        assert_eq!(ForwardSpec::parse(&spec.to_string()), Ok(spec));
    }
    if let Ok(request) = Request::parse(text) {
        assert_eq!(Request::parse(&request.to_string()), Ok(request));
    }
    let _ = Reply::parse(text);
    let _ = Config::new().parse_option(text);
    for list in List::ALL {
        let mut offer = Offer::default();
        if offer.set(list, text).is_ok() {
            assert!(!offer.kex.is_empty() && !offer.ciphers.is_empty() && !offer.macs.is_empty());
            assert!(!offer.host_keys.is_empty() && !offer.user_keys.is_empty());
        }
    }
    let mut snapshot = Snapshot::default();
    for line in text.lines() {
        if !matches!(snapshot.handle_line(line), Ok(false)) {
            break;
        }
    }
});
