//! part5-network
