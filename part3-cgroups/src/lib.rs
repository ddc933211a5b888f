//! part3-cgroups
