//! Who may certify a server's key.

use super::*;

/// What the text of [`file`] says about an authority for a server.
fn look(text: &str, host: &str, port: u16) -> (HostKeyMatch, bool) {
    let text = file(text);
    let found = authority(&text, host, port, ED, &key(ED, "AAAA"), &Joined);
    (found, has_authority(&text, host, port, &Joined))
}

#[test]
fn an_authority_is_one_for_the_names_of_its_line_with_and_without_the_port() {
    for line in [
        "@cert-authority * ssh-ed25519 AAAA\n",
        "@cert-authority other,*.example ssh-ed25519 AAAA\n",
        "@cert-authority hub.example ssh-ed25519 AAAA\n",
        "@cert-authority |1|salt|salt/hub.example ssh-ed25519 AAAA\n",
        "hub.example ssh-ed25519 BBBB\n@cert-authority hub.example ssh-ed25519 AAAA\n",
        "@cert-authority * ssh-ed25519 BBBB\n@cert-authority * ssh-ed25519 AAAA\n",
    ] {
        for port in [22, 2222] {
            let found = look(line, "hub.example", port);
            assert_eq!(found, (HostKeyMatch::Match, true), "{line} {port}");
        }
    }
    let line = "@cert-authority [hub.example]:2222 ssh-ed25519 AAAA\n";
    let nothing = (HostKeyMatch::Unknown, false);
    assert_eq!(look(line, "hub.example", 2222), (HostKeyMatch::Match, true));
    assert_eq!(look(line, "hub.example", 22), nothing);
    for line in [
        "",
        "hub.example ssh-ed25519 AAAA\n",
        "@cert-authority *.org ssh-ed25519 AAAA\n",
        "@cert-authority *,!hub.example ssh-ed25519 AAAA\n",
        "@cert-authority * ssh-ed25519 cut\n",
        "#@cert-authority * ssh-ed25519 AAAA\n",
    ] {
        assert_eq!(look(line, "hub.example", 22), nothing, "{line}");
    }
    let other = look("@cert-authority * ssh-ed25519 BBBB\n", "hub.example", 22);
    assert_eq!(other, (HostKeyMatch::Unknown, true));
}

#[test]
fn a_revoked_authority_is_none_and_an_authority_is_no_pin() {
    let revoked = "@cert-authority * ssh-ed25519 AAAA\n@revoked * ssh-ed25519 AAAA\n";
    let found = look(revoked, "hub.example", 22);
    assert_eq!(found, (HostKeyMatch::Revoked, true));
    let text = file("@cert-authority * ssh-ed25519 AAAA\n");
    let pinned = lookup(&text, "hub", 22, ED, &key(ED, "AAAA"), &Joined);
    assert_eq!(pinned, HostKeyMatch::Unknown);
    assert!(pinned_types(&text, "hub", 22, &Joined).is_empty());
}
