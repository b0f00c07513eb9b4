//! The values that make RSA with two primes fast.

use crypto_bigint::{Encoding, Integer, NonZero, U2048, U4096};
use zeroize::Zeroizing;

use super::right_aligned;
use crate::wire::magnitude;

/// RSA primes with p > q and the values that follow from them (RFC 8017 section 3.2).
pub(super) struct Crt {
    pub(super) p: Zeroizing<[u8; 256]>,
    pub(super) q: Zeroizing<[u8; 256]>,
    pub(super) d_p: Zeroizing<[u8; 512]>,
    pub(super) d_q: Zeroizing<[u8; 512]>,
    pub(super) q_inv: Zeroizing<[u8; 256]>,
}

impl Crt {
    /// None when the numbers cannot be those of an RSA key.
    pub(super) fn compute(d: &[u8], p: &[u8], q: &[u8]) -> Option<Crt> {
        let (larger, smaller) =
            if (magnitude(p).len(), magnitude(p)) >= (magnitude(q).len(), magnitude(q)) {
                (p, q)
            } else {
                (q, p)
            };
        let mut wide = Zeroizing::new([0u8; 512]);
        right_aligned(d, wide.as_mut_slice())?;
        let d = Zeroizing::new(U4096::from_be_slice(wide.as_slice()));
        let d_mod_less_one = |prime: &[u8]| {
            let mut wide = Zeroizing::new([0u8; 512]);
            right_aligned(prime, wide.as_mut_slice())?;
            let less_one =
                Zeroizing::new(U4096::from_be_slice(wide.as_slice()).wrapping_sub(&U4096::ONE));
            let modulus = Option::<NonZero<U4096>>::from(NonZero::new(*less_one))?;
            let remainder = Zeroizing::new(d.rem(&modulus));
            Some(Zeroizing::new(remainder.to_be_bytes()))
        };
        let d_p = d_mod_less_one(larger)?;
        let d_q = d_mod_less_one(smaller)?;

        let mut p = Zeroizing::new([0u8; 256]);
        right_aligned(larger, p.as_mut_slice())?;
        let mut q = Zeroizing::new([0u8; 256]);
        right_aligned(smaller, q.as_mut_slice())?;
        let p_number = Zeroizing::new(U2048::from_be_slice(p.as_slice()));
        let q_number = Zeroizing::new(U2048::from_be_slice(q.as_slice()));
        // The inversion panics on an even modulus, which no prime of a key is.
        if !bool::from(p_number.is_odd()) {
            return None;
        }
        let (inverse, exists) = q_number.inv_odd_mod(&p_number);
        let inverse = Zeroizing::new(inverse);
        if !bool::from(exists) {
            return None;
        }
        Some(Crt {
            p,
            q,
            d_p,
            d_q,
            q_inv: Zeroizing::new(inverse.to_be_bytes()),
        })
    }
}
