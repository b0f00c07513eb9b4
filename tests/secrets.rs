//! What of a private key is left in the memory of a running tunnel: the numbers that it signs
//! with, in the form that the signing needs, and no copy of the file.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::os::unix::fs::FileExt;

use support::keys::{Format, Kind};
use support::rig::{Rig, Setup};
use support::targets::Target;
use support::{on_host, skip};

/// Every writable mapping of a process.
fn memory(pid: i32) -> Vec<(String, Vec<u8>)> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let mem = fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    let writable = maps
        .lines()
        .filter(|line| line.split(' ').nth(1).unwrap().starts_with("rw"));
    let read = writable.filter_map(|line| {
        let (begin, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let number = |text| u64::from_str_radix(text, 16).unwrap();
        let mut bytes = vec![0; usize::try_from(number(end) - number(begin)).unwrap()];
        mem.read_exact_at(&mut bytes, number(begin)).ok()?;
        Some((line.to_owned(), bytes))
    });
    read.collect()
}

/// Where any 16 bytes in a row of a secret are in memory, by steps of 8 in the secret.
fn traces(memory: &[(String, Vec<u8>)], secret: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for (at, window) in secret.windows(16).enumerate().step_by(8) {
        for (mapping, bytes) in memory {
            for place in memchr(bytes, window) {
                found.push(format!("bytes {at}.. at {place:#x} of {mapping}"));
            }
        }
    }
    found
}

fn memchr<'a>(haystack: &'a [u8], needle: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    haystack
        .windows(needle.len())
        .enumerate()
        .filter(move |(_, window)| window[0] == needle[0] && *window == needle)
        .map(|(at, _)| at)
}

/// The strings of a Dropbear key file (RFC 4251, 5) behind its type.
fn fields(mut file: &[u8]) -> Vec<Vec<u8>> {
    let mut fields = Vec::new();
    while let Some((length, rest)) = file.split_first_chunk::<4>() {
        let (field, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
        fields.push(field.to_vec());
        file = rest;
    }
    fields.split_off(1)
}

/// RSA's d, p and q as Dropbear's file has them: big-endian, p and q in any order.
fn rsa_numbers(rig: &Rig) -> [Vec<u8>; 3] {
    let file = fs::read(&rig.key.private).unwrap();
    let fields = fields(&file);
    [2, 3, 4].map(|n| {
        fields[n]
            .iter()
            .copied()
            .skip_while(|&byte| byte == 0)
            .collect()
    })
}

/// A running tunnel has two numbers of an RSA key on its heap, the primes, once each, as limbs of
/// the machine; all else is derived from them. (On the stack, ring leaves a prime behind each
/// time that it signs.)
#[test]
fn of_an_rsa_key_only_what_signing_needs_is_left_in_memory() {
    if !on_host() {
        return skip("an emulator's memory is not the program's");
    }
    let setup = Setup {
        key: (Kind::Rsa, Format::Dropbear),
        ..Setup::default()
    };
    let rig = setup.up(Target::http("page"));
    let supervisor = memory(rig.client.process.pid());
    let memory = memory(rig.client.worker());
    for (name, number) in ["d", "p", "q"].iter().zip(rsa_numbers(&rig)) {
        let found = traces(&memory, &number);
        assert!(found.is_empty(), "{name} as in the file: {found:#?}");
        let limbs: Vec<u8> = number.iter().copied().rev().collect();
        let kept = [traces(&supervisor, &number), traces(&supervisor, &limbs)];
        assert!(
            kept.iter().all(Vec::is_empty),
            "{name} in the supervisor: {kept:#?}"
        );
        let heap: Vec<_> = memory
            .iter()
            .filter(|(at, _)| !at.contains("[stack]"))
            .cloned()
            .collect();
        let found = traces(&heap, &limbs);
        let once = if *name == "d" { 0 } else { limbs.len() / 8 - 1 };
        assert_eq!(found.len(), once, "{name} as limbs: {found:#?}");
    }
}

/// The same for the keys whose numbers ring keeps in a form of its own.
#[test]
fn of_the_other_keys_nothing_is_left_as_the_file_has_it() {
    if !on_host() {
        return skip("an emulator's memory is not the program's");
    }
    for (kind, secret) in [
        (Kind::Ed25519, 1),
        (Kind::EcdsaP256, 3),
        (Kind::EcdsaP384, 3),
    ] {
        let setup = Setup {
            key: (kind, Format::Dropbear),
            ..Setup::default()
        };
        let rig = setup.up(Target::http("page"));
        let (supervisor, worker) = (rig.client.process.pid(), rig.client.worker());
        let file = fs::read(&rig.key.private).unwrap();
        let secret = &fields(&file)[secret - 1];
        for pid in [supervisor, worker] {
            let found = traces(&memory(pid), &secret[..32]);
            assert!(found.is_empty(), "{kind:?}: {found:#?}");
        }
    }
}
