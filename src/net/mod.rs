//! Names to addresses, addresses to connections, and the network's own changes; nothing here
//! waits.

pub mod link;
pub mod outside;
pub mod remember;
pub mod resolve;
mod target;
#[cfg(test)]
mod tests;
