//! The programs a root file system gets from the host, by the Debian package that has them.

/// Programs that come together.
pub struct Package {
    /// The Debian package, for the message when one of them is missing.
    pub name: &'static str,
    /// The programs wanted from it.
    pub programs: &'static [&'static str],
}

const fn package(name: &'static str, programs: &'static [&'static str]) -> Package {
    Package { name, programs }
}

/// All of them. Enough to look around and to do every session of the book.
pub const PACKAGES: &[Package] = &[
    package("dash", &["sh"]),
    package("bash", &["bash"]),
    package("coreutils", COREUTILS),
    package(
        "procps",
        &["ps", "kill", "top", "free", "pgrep", "pkill", "uptime", "watch", "sysctl"],
    ),
    package("mount", &["mount", "umount"]),
    package("util-linux", UTIL_LINUX),
    package("iproute2", &["ip", "ss"]),
    package("hostname", &["hostname"]),
    package("grep", &["grep"]),
    package("sed", &["sed"]),
    package("mawk", &["awk"]),
    package("findutils", &["find", "xargs"]),
    package("diffutils", &["diff", "cmp"]),
    package("gzip", &["gzip"]),
    package("tar", &["tar"]),
    package("less", &["less"]),
    package("ncurses-bin", &["clear", "tput"]),
    package("libc-bin", &["getent"]),
    package("libcap2-bin", &["capsh", "getpcaps"]),
    package("iputils-ping", &["ping"]),
    package("strace", &["strace"]),
];

const COREUTILS: &[&str] = &[
    "[",
    "base64",
    "basename",
    "cat",
    "chgrp",
    "chmod",
    "chown",
    "chroot",
    "cksum",
    "comm",
    "cp",
    "cut",
    "date",
    "dd",
    "df",
    "dirname",
    "du",
    "echo",
    "env",
    "expand",
    "expr",
    "factor",
    "false",
    "fmt",
    "fold",
    "groups",
    "head",
    "id",
    "install",
    "join",
    "link",
    "ln",
    "logname",
    "ls",
    "md5sum",
    "mkdir",
    "mkfifo",
    "mknod",
    "mktemp",
    "mv",
    "nice",
    "nl",
    "nohup",
    "nproc",
    "numfmt",
    "od",
    "paste",
    "printenv",
    "printf",
    "pwd",
    "readlink",
    "realpath",
    "rm",
    "rmdir",
    "seq",
    "sha256sum",
    "shuf",
    "sleep",
    "sort",
    "split",
    "stat",
    "stty",
    "sync",
    "tac",
    "tail",
    "tee",
    "test",
    "timeout",
    "touch",
    "tr",
    "true",
    "truncate",
    "tsort",
    "tty",
    "uname",
    "unexpand",
    "uniq",
    "unlink",
    "wc",
    "who",
    "whoami",
    "yes",
];

const UTIL_LINUX: &[&str] = &[
    "unshare",
    "nsenter",
    "setpriv",
    "findmnt",
    "lsns",
    "mountpoint",
    "dmesg",
    "prlimit",
    "taskset",
    "flock",
    "pivot_root",
    "setsid",
    "renice",
    "script",
];

/// The terminals whose description is wanted, so that `top`, `less` and `clear` work.
pub const TERMINALS: [&str; 9] = [
    "ansi",
    "dumb",
    "linux",
    "screen",
    "screen-256color",
    "tmux-256color",
    "vt100",
    "xterm",
    "xterm-256color",
];

/// Where descriptions of terminals are kept; see `terminfo(5)`.
pub const TERMINFO: [&str; 3] = ["/etc/terminfo", "/lib/terminfo", "/usr/share/terminfo"];

/// Links that many systems have in place of directories, and scripts rely on.
pub const TOP: [&str; 4] = ["/bin", "/sbin", "/lib", "/lib64"];
