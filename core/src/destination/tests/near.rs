use super::*;

#[test]
fn addresses_of_this_machine_its_link_and_of_many_are_told_from_others() {
    let near = |host: &str| {
        let text = if host.contains(':') {
            format!("u@[{host}]")
        } else {
            format!("u@{host}")
        };
        Destination::parse(&text).unwrap().is_near()
    };
    for host in [
        "127.0.0.1",
        "127.255.255.254",
        "0.0.0.0",
        "0.1.2.3",
        "169.254.1.2",
        "224.0.0.1",
        "239.255.255.255",
        "255.255.255.255",
        "127.000.000.001",
        "::1",
        "::",
        "fe80::1",
        "fe80::1%eth0",
        "febf::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:7f00:1",
        "::127.0.0.1",
        "::ffff:169.254.0.1",
        "::ffff:0:0",
        "localhost",
        "LocalHost",
        "a.localhost",
        "a.LOCALHOST.",
        "localhost.localdomain",
    ] {
        assert!(near(host), "{host}");
    }
    for host in [
        "10.0.0.1",
        "192.168.1.255",
        "128.0.0.1",
        "126.255.255.255",
        "1.0.0.0",
        "169.253.1.1",
        "223.255.255.255",
        "240.0.0.1",
        "2001:db8::1",
        "fc00::1",
        "fec0::1",
        "::ffff:10.0.0.1",
        "localhost.example",
        "notlocalhost",
        "hub.localdomain",
    ] {
        assert!(!near(host), "{host}");
    }
}

#[test]
fn odd_spellings_of_addresses_are_nothing_for_a_script() {
    for host in [
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.0.0.1.",
        "[::1]",
        "::1",
        "017700000001",
        "127.0.0.256",
    ] {
        let read = Destination::parse_script(&format!("u@{host}"));
        assert!(read.is_err(), "{host}: {read:?}");
    }
    for host in ["0x7f.1", "0X7F.0.0.1", "127.0.0.0x1", "0x.1"] {
        let read = Destination::parse_script(&format!("u@{host}"));
        assert_eq!(read, Err(DestinationError::Address), "{host}");
    }
    // Leading zeros are decimal, and gone.
    let read = Destination::parse_script("u@127.000.000.001").unwrap();
    assert_eq!(read.host, "127.0.0.1");
}
