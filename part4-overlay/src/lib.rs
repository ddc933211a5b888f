//! part4-overlay
