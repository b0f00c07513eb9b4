//! Random bytes from the kernel.

use reachback_ssh::{Error, Rng};
use ring::rand::{SecureRandom, SystemRandom};

/// getrandom(2) through `ring`. Waits once, early after boot, until the kernel's pool is ready.
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
