//! What an announcement changes.

use super::*;

/// A server's pins in this text, which is all that is known.
fn of<'a>(text: &'a str, host: &'a str, port: u16) -> Rotation<'a> {
    Rotation {
        text,
        file: text,
        host,
        port,
        hashed: &Joined,
    }
}

fn follows(text: &str, port: u16) -> bool {
    let (text, mut found) = (file(text), false);
    of(&text, "server", port).pins(&mut |pin, _| found |= pin.key_base64 == key(ED, "AAAA"));
    found
}

#[test]
fn only_a_pin_of_the_servers_own_is_followed() {
    for own in [
        "server ssh-ed25519 AAAA\n",
        "Server ssh-ed25519 AAAA\n",
        "server,192.0.2.1 ssh-ed25519 AAAA\n",
        "|1|salt|salt/server ssh-ed25519 AAAA\n",
        "other ssh-ed25519 BBBB\nserver ssh-rsa RRRR\nserver ssh-ed25519 AAAA\n",
    ] {
        assert!(follows(own, 22), "{own}");
    }
    for other in [
        "",
        "server ssh-ed25519 BBBB\n",
        "other ssh-ed25519 AAAA\n",
        "serv* ssh-ed25519 AAAA\n",
        "*,!other ssh-ed25519 AAAA\n",
        "[server]:2222 ssh-ed25519 AAAA\n",
        "@revoked server ssh-ed25519 AAAA\n",
        "@cert-authority server ssh-ed25519 AAAA\n",
        "#server ssh-ed25519 AAAA\n",
    ] {
        assert!(!follows(other, 22), "{other}");
    }
    assert!(follows("[server]:2222 ssh-ed25519 AAAA\n", 2222));
    assert!(follows("server ssh-ed25519 AAAA\n", 2222), "dbclient's");
    assert!(!follows("[server]:2223 ssh-ed25519 AAAA\n", 2222));
}

#[test]
fn a_key_is_new_unless_it_is_pinned_or_revoked_for_this_very_name() {
    let is_new = |text: &str| of(&file(text), "server", 2222).is_new(ED, &key(ED, "AAAA"));
    for new in [
        "",
        "[server]:2222 ssh-ed25519 BBBB\n",
        "server ssh-ed25519 AAAA\n",
        "[other]:2222 ssh-ed25519 AAAA\n",
        "@revoked [other]:2222 ssh-ed25519 AAAA\n",
        "@revoked * ssh-ed25519 BBBB\n",
        "@cert-authority * ssh-ed25519 AAAA\n",
    ] {
        assert!(is_new(new), "{new}");
    }
    for known in [
        "[server]:2222 ssh-ed25519 AAAA\n",
        "[*]:2222 ssh-ed25519 AAAA\n",
        "|1|salt|salt/[server]:2222 ssh-ed25519 AAAA\n",
        "@revoked * ssh-ed25519 AAAA\n",
        "[server]:2222 ssh-ed25519 AAAA\n@revoked [server]:2222 ssh-ed25519 AAAA\n",
    ] {
        assert!(!is_new(known), "{known}");
    }
}

#[test]
fn what_may_go_are_the_lines_of_this_server_alone() {
    let text = file(
        "# a comment\n\
         server ssh-ed25519 AAAA\n\
         server,other ssh-ed25519 AAAA\n\
         serv* ssh-ed25519 AAAA\n\
         @revoked server ssh-ed25519 AAAA\n\
         @cert-authority server ssh-ed25519 AAAA\n\
         [server]:2222 ssh-ed25519 AAAA\n\
         server ssh-ed25519 cut\n\
         |1|salt|salt/server ssh-rsa RRRR\n\
         |1|salt|salt/other ssh-rsa RRRR\n",
    );
    let lines = |port| {
        let mut lines = vec![];
        of(&text, "server", port).pins(&mut |pin, alone| {
            if alone {
                lines.push(pin.line);
            }
        });
        lines
    };
    assert_eq!(lines(22), [2, 9]);
    assert_eq!(lines(2222), [7]);
}
