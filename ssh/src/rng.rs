//! Where randomness comes from.

use crate::Error;

/// A source of cryptographically secure bytes, handed in by the caller.
///
/// Used for key exchange cookies, packet padding and ML-KEM seeds. `ring` draws the
/// secrets of its own exchanges and signatures from the kernel by itself.
pub trait Rng {
    /// Fills `buf` whole. Fails with [`Error::Rng`] when the source has nothing to give.
    fn fill(&mut self, buf: &mut [u8]) -> Result<(), Error>;
}
