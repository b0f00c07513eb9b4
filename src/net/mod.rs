//! Names to addresses, addresses to connections; nothing here waits.

pub mod connect;
pub mod resolve;
