//! stand-in
pub fn command() -> shared::part::Command {
    shared::part::Command { define: || clap::Command::new("rootfs"), run: |_, _| Ok(0) }
}
