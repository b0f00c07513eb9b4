//! Names to addresses, addresses to connections, and the network's own changes; nothing here
//! waits.

pub mod connect;
pub mod link;
pub mod lookup;
pub mod remember;
pub mod resolve;
