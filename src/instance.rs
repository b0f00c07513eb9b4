//! One process for each destination: its lock and socket, what others ask of it, and the supervisor
//! that stays when it fails.

pub mod client;
pub mod kept;
pub mod lock;
pub mod orders;
pub mod room;
pub mod served;
pub mod server;
pub mod supervisor;
pub mod withdraw;
