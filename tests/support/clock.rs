//! Clocks of the program alone, moved by libfaketime.

use std::path::PathBuf;

use super::client::Call;

/// The library of Debian's package libfaketime, in whatever directory its architecture has.
fn library() -> PathBuf {
    let directories = std::fs::read_dir("/usr/lib").unwrap();
    directories
        .map(|entry| entry.unwrap().path().join("faketime/libfaketime.so.1"))
        .find(|path| path.exists())
        .expect("libfaketime is not installed: run 'make setup'")
}

/// `call` with the wall clock at `time` when it starts, and running on from there.
pub fn at<'a>(call: Call<'a>, time: &str) -> Call<'a> {
    call.env("LD_PRELOAD", library())
        .env("FAKETIME", format!("@{time}"))
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
}

/// `call` with every clock and every wait so many times as fast.
pub fn faster(call: Call<'_>, times: u32) -> Call<'_> {
    call.env("LD_PRELOAD", library())
        .env("FAKETIME", format!("+0 x{times}"))
}
