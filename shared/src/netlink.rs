//! later
pub struct Netlink;
impl Netlink {
    pub fn open() -> Result<Self, nix::errno::Errno> {
        Ok(Self)
    }
    pub fn delete_link(&mut self, _n: &str) -> Result<(), nix::errno::Errno> {
        Ok(())
    }
}

pub fn loopback_up() -> crate::recipe::Outcome {
    Ok(())
}
