//! Random bytes from the kernel.

use nix::errno::Errno;
use nix::libc;
use reachback_ssh::{Error, Rng};
use ring::rand::{SecureRandom, SystemRandom};

/// Whether the kernel's pool is ready: early after boot, and for ever on a board without a source,
/// getrandom(2) blocks. True as well where that call does not exist: then nothing blocks.
pub fn is_ready() -> bool {
    let mut byte = 0u8;
    // SAFETY: writes one byte, which lives for the call.
    let got = unsafe { libc::getrandom((&raw mut byte).cast(), 1, libc::GRND_NONBLOCK) };
    got >= 0 || Errno::last() != Errno::EAGAIN
}

/// getrandom(2) through `ring`; to be used once the pool [`is_ready`].
#[derive(Clone, Debug)]
pub struct KernelRandom(SystemRandom);

impl KernelRandom {
    /// A source; holds nothing.
    pub fn new() -> Self {
        KernelRandom(SystemRandom::new())
    }

    /// One number, for jitter and for DNS identifiers.
    ///
    /// # Errors
    /// [`Error::Rng`] when the kernel gives nothing.
    pub fn u64(&mut self) -> Result<u64, Error> {
        let mut bytes = [0; 8];
        self.fill(&mut bytes)?;
        Ok(u64::from_ne_bytes(bytes))
    }
}

impl Rng for KernelRandom {
    fn fill(&mut self, buf: &mut [u8]) -> Result<(), Error> {
        self.0.fill(buf).map_err(|_| Error::Rng)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_draws_differ() {
        let mut random = KernelRandom::new();
        assert_ne!(random.u64(), random.u64());
    }
}
