//! What simulated people and targets say to each other: each byte follows from who it is, where
//! it stands and which way it goes, so that a byte that is lost, doubled, moved or led to
//! somebody else shows at once.

/// Bytes in front, which say who it is.
pub const HEADER: u64 = 8;

/// Byte `at` of what `user` sends.
pub fn up(user: u64, at: u64) -> u8 {
    match at {
        0..HEADER => user.to_be_bytes()[at as usize],
        _ => mix(user, at),
    }
}

/// Byte `at` of what a target answers to `user`.
pub fn down(user: u64, at: u64) -> u8 {
    mix(user ^ 0x5555, at)
}

fn mix(user: u64, at: u64) -> u8 {
    let bits = (user << 32 ^ at).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (bits >> 56) as u8
}
