//! Sizes, durations, ranges.
