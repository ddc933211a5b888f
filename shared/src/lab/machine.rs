//! What we know of this machine: enough to say why something failed, and what to do.

use std::fs;
use std::path::Path;

use nix::errno::Errno;
use nix::unistd::geteuid;

use super::needs::{Need, Unmet};
use super::trial::Trouble;
use crate::error::Failed;

/// What decides whether namespaces and file systems can be had.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Machine {
    /// Effective uid 0.
    pub is_root: bool,
    /// The kernel's version: (6, 1).
    pub kernel: (u32, u32),
    /// The sysctl `user.max_user_namespaces`: how many there may be below this one.
    pub max_user_namespaces: Option<u64>,
    /// The sysctl `kernel.unprivileged_userns_clone` of Debian up to 10.
    pub unprivileged_userns_clone: Option<u64>,
    /// The sysctl `kernel.apparmor_restrict_unprivileged_userns` of Ubuntu since 23.10.
    pub apparmor_restrict: Option<u64>,
    /// We run behind a seccomp filter.
    pub is_filtered: bool,
    /// We run in a container.
    pub is_container: bool,
    /// We are in a user namespace, where root is not the machine's.
    pub is_user_namespace: bool,
    /// Our root directory is none of a mount.
    pub is_chroot: bool,
}

/// What to do where the kernel is not ours to change.
const LEAVE_CONTAINER: &str = "use the machine itself or a virtual machine, not a container; \
     with docker: `docker run --privileged`";

impl Machine {
    /// Looks. What cannot be read is taken as not there.
    pub fn look() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let root_is_mount = mountinfo.lines().any(|line| line.split(' ').nth(4) == Some("/"));
        Self {
            is_root: geteuid().is_root(),
            kernel: kernel_version(),
            max_user_namespaces: sysctl("user/max_user_namespaces"),
            unprivileged_userns_clone: sysctl("kernel/unprivileged_userns_clone"),
            apparmor_restrict: sysctl("kernel/apparmor_restrict_unprivileged_userns"),
            is_filtered: status.lines().any(|line| line == "Seccomp:\t2"),
            is_container: is_container(),
            is_user_namespace: is_user_namespace(),
            is_chroot: !mountinfo.is_empty() && !root_is_mount,
        }
    }

    /// Why `need` is not met, and what to do about it.
    pub fn explain(&self, need: &Need, trouble: Trouble) -> Unmet {
        match trouble {
            Trouble::Known { why, advice } => Unmet { why, advice, cause: None },
            Trouble::UserNamespace(failed) => self.user_namespace(need, &failed),
            Trouble::Call(failed) if need.name == "userns" || self.apparmor_refuses(&failed) => {
                self.user_namespace(need, &failed)
            }
            Trouble::Call(failed) => {
                let (why, advice) = self.call(need, &failed);
                Unmet { why: because(&failed, &why), advice, cause: None }
            }
        }
    }

    fn user_namespace(&self, need: &Need, failed: &Failed) -> Unmet {
        let (why, advice) = self.about_user_namespaces(failed.errno);
        let cause = (need.name != "userns").then_some("userns");
        Unmet { why: because(failed, &why), advice, cause }
    }

    /// Ubuntu lets the user namespace be made, but refuses what its root then does.
    fn apparmor_refuses(&self, failed: &Failed) -> bool {
        !self.is_root && self.apparmor_restrict == Some(1) && is_refusal(failed.errno)
    }

    fn about_user_namespaces(&self, errno: Errno) -> (String, String) {
        let sysctl = |setting: &str| format!("as root: sysctl -w {setting}");
        if self.max_user_namespaces == Some(0) {
            return (
                "user.max_user_namespaces = 0: none is allowed here".into(),
                sysctl("user.max_user_namespaces=15000"),
            );
        }
        if is_refusal(errno) && self.unprivileged_userns_clone == Some(0) {
            return (
                "kernel.unprivileged_userns_clone = 0: root only (Debian up to 10)".into(),
                sysctl("kernel.unprivileged_userns_clone=1"),
            );
        }
        if is_refusal(errno) && !self.is_root && self.apparmor_restrict == Some(1) {
            return (
                "AppArmor restricts user namespaces (Ubuntu since 23.10)".into(),
                sysctl("kernel.apparmor_restrict_unprivileged_userns=0"),
            );
        }
        match errno {
            Errno::ENOSPC | Errno::EUSERS => (
                "as many user namespaces as are allowed are there, or nested as deep".into(),
                sysctl("user.max_user_namespaces=15000, here and in the namespaces around"),
            ),
            Errno::EINVAL | Errno::ENOSYS if !self.is_filtered => (
                "the kernel has no user namespaces (CONFIG_USER_NS)".into(),
                "run it as root, or use a distribution's own kernel".into(),
            ),
            _ => self.refused(),
        }
    }

    fn call(&self, need: &Need, failed: &Failed) -> (String, String) {
        let (major, minor) = need.since;
        match failed.errno {
            Errno::ENOSPC if failed.call.starts_with("unshare") => (
                "a limit of namespaces is reached (see `sysctl -a -r '^user\\.max_'`)".into(),
                "as root: raise that limit with sysctl -w".into(),
            ),
            errno if is_absence(errno) && self.kernel < need.since => (
                format!("Linux {}.{} is too old for it", self.kernel.0, self.kernel.1),
                format!("use Linux {major}.{minor} or newer"),
            ),
            Errno::ENOSYS if self.is_filtered || self.is_container => {
                ("a seccomp filter around us hides this system call".into(), LEAVE_CONTAINER.into())
            }
            errno if is_absence(errno) => {
                (format!("the kernel lacks it: {}", need.option), need.remedy.into())
            }
            errno if is_refusal(errno) => self.refused(),
            _ => (String::new(), need.remedy.into()),
        }
    }

    fn refused(&self) -> (String, String) {
        if self.is_chroot {
            return (
                "we are in a chroot, where the kernel allows no namespaces".into(),
                "leave the chroot".into(),
            );
        }
        if self.is_filtered {
            return ("a seccomp filter around us forbids it".into(), LEAVE_CONTAINER.into());
        }
        if !self.is_root {
            return ("only root may".into(), "run it as root (sudo)".into());
        }
        if self.is_user_namespace {
            return (
                "root of this user namespace is not the machine's root".into(),
                "run it outside, as the machine's root (sudo)".into(),
            );
        }
        if self.is_container {
            return ("the container around us forbids it".into(), LEAVE_CONTAINER.into());
        }
        (
            "this root lacks a capability, or a security module forbids it".into(),
            "compare CapEff in /proc/self/status with that of another root shell; see dmesg".into(),
        )
    }
}

fn because(failed: &Failed, why: &str) -> String {
    if why.is_empty() { failed.to_string() } else { format!("{failed}: {why}") }
}

fn is_refusal(errno: Errno) -> bool {
    matches!(errno, Errno::EPERM | Errno::EACCES | Errno::EROFS)
}

/// What calls answer for a thing that the kernel was built without.
fn is_absence(errno: Errno) -> bool {
    use Errno::{EAFNOSUPPORT, EINVAL, ENODEV, ENOENT, ENOSYS, EOPNOTSUPP, EPROTONOSUPPORT};
    matches!(errno, ENOSYS | EINVAL | ENODEV | ENOENT | EOPNOTSUPP | EPROTONOSUPPORT | EAFNOSUPPORT)
}

fn sysctl(name: &str) -> Option<u64> {
    fs::read_to_string(Path::new("/proc/sys").join(name)).ok()?.trim().parse().ok()
}

/// `6.1.0-18-amd64` is (6, 1); (0, 0) when it is not understood.
fn kernel_version() -> (u32, u32) {
    let Ok(name) = nix::sys::utsname::uname() else { return (0, 0) };
    let release = name.release().to_string_lossy();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor),
        _ => (0, 0),
    }
}

/// The first user namespace maps every id to itself: `user_namespaces(7)`.
fn is_user_namespace() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let numbers: Vec<_> = map.split_whitespace().collect();
    !numbers.is_empty() && numbers != ["0", "0", "4294967295"]
}

/// What docker, podman and systemd-nspawn leave for this question; and a second pid namespace.
fn is_container() -> bool {
    let marks = ["/.dockerenv", "/run/.containerenv", "/run/systemd/container"];
    marks.iter().any(|mark| Path::new(mark).exists()) || pid_namespace_is_new()
}

/// The kernel gives the first pid namespace always this number (`PROC_PID_INIT_INO`).
fn pid_namespace_is_new() -> bool {
    fs::read_link("/proc/self/ns/pid").is_ok_and(|link| link != Path::new("pid:[4026531836]"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::needs;

    fn explain(machine: &Machine, need: &str, trouble: Trouble) -> String {
        let unmet = machine.explain(needs::find(need).unwrap(), trouble);
        format!("{} | {} | {:?}", unmet.why, unmet.advice, unmet.cause)
    }

    fn refused(errno: Errno) -> Failed {
        Failed::new("unshare(CLONE_NEWUSER)", errno)
    }

    fn user() -> Machine {
        Machine { kernel: (6, 1), max_user_namespaces: Some(9), ..Machine::default() }
    }

    #[test]
    fn each_switch_of_user_namespaces_is_named() {
        let on = |machine: Machine, errno| {
            explain(&machine, "userns", Trouble::UserNamespace(refused(errno)))
        };
        let none = Machine { max_user_namespaces: Some(0), ..user() };
        assert!(on(none, Errno::ENOSPC).contains("sysctl -w user.max_user_namespaces=15000"));
        let debian = Machine { unprivileged_userns_clone: Some(0), ..user() };
        assert!(on(debian, Errno::EPERM).contains("sysctl -w kernel.unprivileged_userns_clone=1"));
        assert!(on(user(), Errno::EINVAL).contains("CONFIG_USER_NS"));
        let container = Machine { is_filtered: true, ..user() };
        assert!(on(container, Errno::EPERM).contains("--privileged"));
        let chroot = Machine { is_chroot: true, ..user() };
        assert!(on(chroot, Errno::EPERM).contains("leave the chroot"));
    }

    /// There the namespace can be made; its root is refused what it does in it.
    #[test]
    fn apparmor_is_named_for_all_that_it_refuses() {
        let ubuntu = Machine { apparmor_restrict: Some(1), ..user() };
        let mount = || Trouble::Call(Failed::new("mount(\"/\")", Errno::EACCES));
        let text = explain(&ubuntu, "overlay-userns", mount());
        assert!(
            text.contains("sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"),
            "{text}"
        );
        assert!(text.ends_with("Some(\"userns\")"), "{text}");
        // Root is not restricted: then it is something else.
        let root = Machine { is_root: true, ..ubuntu };
        assert!(!explain(&root, "overlay-userns", mount()).contains("AppArmor"));
    }

    #[test]
    fn an_old_kernel_is_named_with_the_one_it_takes() {
        let old = Machine { kernel: (5, 4), ..user() };
        let trouble = |errno| Trouble::Call(Failed::new("fsopen(\"overlay\")", errno));
        let text = explain(&old, "overlay-userns", trouble(Errno::ENODEV));
        assert!(text.contains("Linux 5.4 is too old") && text.contains("Linux 5.11"), "{text}");
        let new = explain(&user(), "overlay-userns", trouble(Errno::ENODEV));
        assert!(new.contains("CONFIG_OVERLAY_FS") && new.contains("modprobe overlay"), "{new}");
    }

    #[test]
    fn this_kernel_has_a_version() {
        assert!(Machine::look().kernel >= (4, 0));
    }
}
