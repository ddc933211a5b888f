//! The tool that builds, serves and checks the book.
//!
//! [`site`] runs mdBook as a library with our [`preprocessor`](preprocessor::Cards), which makes a
//! [`card`] of each checkpoint and fills in what is [`generated`] from the parts. [`check`] reads
//! the pages and what was built of them.

mod card;
pub mod check;
mod generated;
mod markup;
pub mod preprocessor;
pub mod serve;
pub mod site;

use std::path::{Path, PathBuf};

use shared::part::Part;

/// The top of the sources.
pub fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// The five parts, in their order.
pub fn parts() -> [Part; 5] {
    [
        part1_chroot::part(),
        part2_namespaces::part(),
        part3_cgroups::part(),
        part4_overlay::part(),
        part5_network::part(),
    ]
}
