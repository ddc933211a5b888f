//! Part 5: addresses, published ports, names and volumes.
pub mod address;
pub mod firewall;
pub mod forwarder;
pub mod host;
pub mod names;
pub mod network;
pub mod publish;
pub mod volumes;
