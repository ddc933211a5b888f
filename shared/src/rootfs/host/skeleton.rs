//! The directories and files of `/etc` that a root file system from the host has besides programs.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

/// Directories with their permission bits. `/proc`, `/sys` and `/dev` are filled when a container
/// starts; `/srv/www` is what `probe serve` shows.
const DIRECTORIES: [(&str, u32); 27] = [
    ("bin", 0o755),
    ("dev", 0o755),
    ("etc", 0o755),
    ("home", 0o755),
    ("media", 0o755),
    ("mnt", 0o755),
    ("opt", 0o755),
    ("proc", 0o555),
    ("root", 0o700),
    ("run", 0o755),
    ("sbin", 0o755),
    ("srv", 0o755),
    ("srv/www", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("usr", 0o755),
    ("usr/bin", 0o755),
    ("usr/local", 0o755),
    ("usr/local/bin", 0o755),
    ("usr/sbin", 0o755),
    ("usr/share", 0o755),
    ("var", 0o755),
    ("var/cache", 0o755),
    ("var/lib", 0o755),
    ("var/log", 0o755),
    ("var/spool", 0o755),
    ("var/tmp", 0o1777),
];

const LINKS: [(&str, &str); 3] =
    [("etc/mtab", "../proc/self/mounts"), ("var/run", "../run"), ("var/lock", "../run")];

const GROUP: &str = "\
root:x:0:
daemon:x:1:
bin:x:2:
sys:x:3:
adm:x:4:
tty:x:5:
disk:x:6:
mail:x:8:
www-data:x:33:
users:x:100:
user:x:1000:
nogroup:x:65534:
";

const NSSWITCH: &str = "\
passwd: files
group: files
shadow: files
hosts: files dns
";

const HOSTS: &str = "\
127.0.0.1 localhost
::1 localhost ip6-localhost ip6-loopback
";

const PROFILE: &str = r"export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export TERM=${TERM:-linux}
PS1='\u@\h:\w\$ '
";

/// Makes what is not there yet below `tree`.
///
/// # Errors
/// The first call that fails.
pub fn create(tree: &Path, shell: &str, system: &str) -> io::Result<()> {
    for (path, mode) in DIRECTORIES {
        let path = tree.join(path);
        // Where the host has `/bin -> usr/bin`, the link is there already.
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_symlink() => continue,
            Ok(_) => {}
            Err(_) => fs::create_dir(&path)?,
        }
        // The mode given at creation is cut by the umask.
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
    }
    for (path, target) in LINKS {
        symlink(target, tree.join(path))?;
    }
    let os_release = format!(
        "PRETTY_NAME=\"Inside Docker (tools of {system})\"\nNAME=\"Inside Docker\"\nID=inside-docker\n"
    );
    for (name, text) in [
        ("passwd", passwd(shell).as_str()),
        ("group", GROUP),
        ("nsswitch.conf", NSSWITCH),
        ("hosts", HOSTS),
        ("hostname", "container\n"),
        ("resolv.conf", ""),
        ("os-release", &os_release),
        ("profile", PROFILE),
    ] {
        file(&tree.join("etc").join(name), text)?;
    }
    // An interactive bash that is no login shell does not read /etc/profile.
    file(&tree.join("root/.bashrc"), ". /etc/profile\n")
}

fn passwd(shell: &str) -> String {
    format!(
        "root:x:0:0:root:/root:{shell}\n\
         daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n\
         bin:x:2:2:bin:/bin:/usr/sbin/nologin\n\
         sys:x:3:3:sys:/dev:/usr/sbin/nologin\n\
         www-data:x:33:33:www-data:/srv/www:/usr/sbin/nologin\n\
         user:x:1000:1000:user:/home:{shell}\n\
         nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    )
}

fn file(path: &Path, text: &str) -> io::Result<()> {
    fs::write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644))
}
