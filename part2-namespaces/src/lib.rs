//! part2-namespaces
