//! The values that make RSA with two primes fast.

use crypto_bigint::{NonZero, Odd, U2048, U4096};
use zeroize::Zeroizing;

use super::right_aligned;
use crate::wire::magnitude;

/// RSA primes with p > q and the values that follow from them (RFC 8017 section 3.2), big-endian.
/// All of it is computed in constant time.
pub(super) struct Crt<'a> {
    pub(super) p: &'a [u8],
    pub(super) q: &'a [u8],
    pub(super) d_p: Bytes,
    pub(super) d_q: Bytes,
    pub(super) q_inv: Bytes,
}

type Bytes = Zeroizing<[u8; U2048::BYTES]>;

const PRIMES: &str = "RSA primes";
const EXPONENT: &str = "RSA private exponent";

impl<'a> Crt<'a> {
    /// The primes are of the same length; the text of an error names what does not fit.
    pub(super) fn compute(
        e: &[u8],
        d: &[u8],
        p: &'a [u8],
        q: &'a [u8],
    ) -> Result<Crt<'a>, &'static str> {
        let (p, q) = (magnitude(p), magnitude(q));
        let (p, q) = if p >= q { (p, q) } else { (q, p) };
        let mut wide = Zeroizing::new([0; U4096::BYTES]);
        right_aligned(d, wide.as_mut_slice()).ok_or(EXPONENT)?;
        let d = Zeroizing::new(U4096::from_be_slice(wide.as_slice()));
        let p_number = prime(p)?;
        let q_number = prime(q)?;
        let inverse = Option::<U2048>::from(q_number.invert_odd_mod(&p_number));
        Ok(Crt {
            p,
            q,
            d_p: exponent(e, &d, &p_number)?,
            d_q: exponent(e, &d, &q_number)?,
            q_inv: bytes(&Zeroizing::new(inverse.ok_or(PRIMES)?)),
        })
    }
}

fn prime(number: &[u8]) -> Result<Zeroizing<Odd<U2048>>, &'static str> {
    let mut bytes = Bytes::new([0; U2048::BYTES]);
    right_aligned(number, bytes.as_mut_slice()).ok_or(PRIMES)?;
    let number = Zeroizing::new(U2048::from_be_slice(bytes.as_slice()));
    let odd = Option::<Odd<U2048>>::from(number.to_odd());
    odd.map(Zeroizing::new).ok_or(PRIMES)
}

/// d mod (prime - 1); e times that must be 1.
fn exponent(e: &[u8], d: &U4096, prime: &Odd<U2048>) -> Result<Bytes, &'static str> {
    let less_one = Option::from(NonZero::new(prime.wrapping_sub(&U2048::ONE)));
    let less_one = Zeroizing::new(less_one.ok_or(PRIMES)?);
    let exponent = Zeroizing::new(d.rem(&*less_one));
    let mut product = Zeroizing::new(U2048::ZERO);
    // e is public.
    for bit in e
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |n| byte >> n & 1))
    {
        *product = product.double_mod(&less_one);
        if bit == 1 {
            *product = product.add_mod(&exponent, &less_one);
        }
    }
    match *product == U2048::ONE {
        true => Ok(bytes(&exponent)),
        false => Err(EXPONENT),
    }
}

fn bytes(number: &U2048) -> Bytes {
    let mut bytes = Bytes::new([0; U2048::BYTES]);
    bytes.copy_from_slice(Zeroizing::new(number.to_be_bytes()).as_ref());
    bytes
}
