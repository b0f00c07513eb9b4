//! RFC 4253 section 4.2.

use reachback_ssh::Error;
use reachback_ssh::ident::{CLIENT_IDENT, Ident, IdentReader};
use reachback_ssh::limits;

fn read(bytes: &[u8]) -> Result<(usize, Option<Ident>), Error> {
    IdentReader::new().push(bytes)
}

#[test]
fn our_own_line_is_one_that_we_would_accept() {
    let (taken, ident) = read(format!("{CLIENT_IDENT}\r\n").as_bytes()).unwrap();
    assert_eq!(taken, CLIENT_IDENT.len() + 2);
    assert_eq!(ident.unwrap().line(), CLIENT_IDENT.as_bytes());
}

#[test]
fn the_line_ends_at_its_line_feed_and_the_packets_after_it_are_left() {
    let stream = b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n\0\0\0\x2cpacket";
    let (taken, ident) = read(stream).unwrap();
    assert_eq!(&stream[taken..], b"\0\0\0\x2cpacket");
    let ident = ident.unwrap();
    assert_eq!(ident.line(), b"SSH-2.0-OpenSSH_9.2p1 Debian-2");
    assert_eq!(ident.software(), "OpenSSH_9.2p1 Debian-2");
}

#[test]
fn byte_by_byte_gives_the_same_line() {
    let stream = b"welcome\r\n\r\nSS\nSSH-2.0-dropbear_2022.83\n";
    let mut reader = IdentReader::new();
    for (i, byte) in stream.iter().enumerate() {
        let (taken, ident) = reader.push(&[*byte]).unwrap();
        assert_eq!(taken, 1);
        assert_eq!(ident.is_some(), i + 1 == stream.len());
        if let Some(ident) = ident {
            assert_eq!(ident.line(), b"SSH-2.0-dropbear_2022.83");
        }
    }
}

#[test]
fn version_1_99_is_taken_and_version_1_5_is_not() {
    assert!(read(b"SSH-1.99-x\r\n").unwrap().1.is_some());
    for bad in [&b"SSH-1.5-x\r\n"[..], b"SSH-2.1-x\n", b"SSH-\n"] {
        assert!(matches!(read(bad), Err(Error::Malformed(_))), "{bad:?}");
    }
}

#[test]
fn control_characters_are_escaped_for_logs_and_kept_for_the_hash() {
    let ident = read(b"SSH-2.0-a\x1b[2J\xff\r\n").unwrap().1.unwrap();
    assert_eq!(ident.software(), r"a\x1b[2J\xff");
    assert_eq!(ident.line(), b"SSH-2.0-a\x1b[2J\xff");
}

#[test]
fn a_nul_byte_is_refused() {
    assert!(matches!(read(b"SSH-2.0-a\0\n"), Err(Error::Malformed(_))));
    assert!(matches!(read(b"\0"), Err(Error::Malformed(_))));
}

#[test]
fn a_line_of_255_bytes_is_taken_and_a_longer_one_is_refused() {
    let mut line = b"SSH-2.0-".to_vec();
    line.resize(limits::IDENT_LINE - 2, b'x');
    let longest = [&line[..], b"\r\n"].concat();
    assert_eq!(longest.len(), 255);
    assert_eq!(read(&longest).unwrap().1.unwrap().line(), line);

    let longer = [&line[..], b"x\r\n"].concat();
    assert!(matches!(read(&longer), Err(Error::Limit(_))));
    // An endless line is refused before it ends.
    assert!(matches!(
        read(&[&line[..], b"xxx"].concat()),
        Err(Error::Limit(_))
    ));
}

#[test]
fn lines_before_are_bounded_in_number() {
    let ident = b"SSH-2.0-x\n";
    let most = [&b"-\n".repeat(limits::PRE_IDENT_LINES)[..], ident].concat();
    assert!(read(&most).unwrap().1.is_some());
    let more = [&b"-\n".repeat(limits::PRE_IDENT_LINES + 1)[..], ident].concat();
    assert!(matches!(read(&more), Err(Error::Limit(_))));
}

#[test]
fn lines_before_are_bounded_in_bytes_even_when_they_never_end() {
    let mut most = vec![b'-'; limits::PRE_IDENT_BYTES - 1];
    most.extend_from_slice(b"\nSSH-2.0-x\n");
    assert!(read(&most).unwrap().1.is_some());
    let more = vec![b'-'; limits::PRE_IDENT_BYTES + 1];
    assert!(matches!(read(&more), Err(Error::Limit(_))));
    // A long line that merely starts like a version line is text, and skipped.
    let (_, ident) = read(&[&b"SSX".repeat(300)[..], b"\nSSH-2.0-x\n"].concat()).unwrap();
    assert!(ident.is_some());
}
