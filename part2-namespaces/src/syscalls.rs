//! The system calls a container may make, by purpose.
//!
//! The policy is that of Docker's default profile. What has no place in this table is answered as
//! an old kernel would answer it (`ENOSYS`), so that programs fall back to what they did before
//! the call existed. What is refused by name gets `EPERM`.
//!
//! Five calls are decided by their arguments and stand in [`crate::seccomp`]: `clone`, `clone3`,
//! `socket`, `ioctl` and `personality`.

#![allow(non_upper_case_globals)] // the kernel's own names

use libc::*;

use crate::capabilities::CapabilitySet;

/// Who may make the calls of a [`Group`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Every container.
    Allow,
    /// A container that has one of these capabilities; without it the answer is `EPERM`.
    AllowWith(CapabilitySet),
    /// No container: `EPERM`.
    Refuse,
}

/// System calls with one purpose and one rule.
#[derive(Debug)]
pub struct Group {
    /// What they are for or, when refused, why.
    pub purpose: &'static str,
    /// Who may make them.
    pub rule: Rule,
    /// Their names (as in `sys/syscall.h`) and numbers on this architecture.
    pub calls: &'static [(&'static str, c_long)],
}

/// `calls![SYS_read SYS_write]`: names and numbers.
macro_rules! calls {
    ($($name:ident)*) => { &[$((stringify!($name), $name)),*] };
}

/// Calls every container may make.
const fn allow(purpose: &'static str, calls: &'static [(&'static str, c_long)]) -> Group {
    Group { purpose, rule: Rule::Allow, calls }
}

/// Calls a container with one of `capabilities` may make.
const fn allow_with(
    capabilities: &[&str],
    purpose: &'static str,
    calls: &'static [(&'static str, c_long)],
) -> Group {
    Group { purpose, rule: Rule::AllowWith(CapabilitySet::of(capabilities)), calls }
}

/// Calls no container may make.
const fn refuse(purpose: &'static str, calls: &'static [(&'static str, c_long)]) -> Group {
    Group { purpose, rule: Rule::Refuse, calls }
}

/// The whole policy but for the calls that are decided by their arguments.
pub const GROUPS: &[Group] = &[
    allow(
        "read and write",
        calls![
            SYS_read SYS_readv SYS_pread64 SYS_preadv SYS_preadv2 SYS_readahead SYS_lseek
            SYS_write SYS_writev SYS_pwrite64 SYS_pwritev SYS_pwritev2
            SYS_sendfile SYS_splice SYS_tee SYS_vmsplice SYS_copy_file_range
            SYS_fsync SYS_fdatasync SYS_sync SYS_syncfs SYS_sync_file_range SYS_fallocate
            SYS_fadvise64 SYS_ftruncate SYS_truncate SYS_cachestat
        ],
    ),
    allow(
        "open files and what is done with descriptors",
        calls![
            SYS_openat SYS_openat2 SYS_close SYS_close_range SYS_dup SYS_dup3 SYS_fcntl SYS_flock
            SYS_pipe2 SYS_eventfd2 SYS_memfd_create SYS_memfd_secret SYS_name_to_handle_at
        ],
    ),
    allow(
        "look at files",
        calls![
            SYS_newfstatat SYS_fstat SYS_statx SYS_statfs SYS_fstatfs SYS_faccessat SYS_faccessat2
            SYS_getdents64 SYS_readlinkat SYS_getcwd SYS_chdir SYS_fchdir SYS_umask
            SYS_statmount SYS_listmount
        ],
    ),
    allow(
        "change files",
        calls![
            SYS_mkdirat SYS_mknodat SYS_linkat SYS_symlinkat SYS_unlinkat SYS_renameat SYS_renameat2
            SYS_fchmod SYS_fchmodat SYS_fchmodat2 SYS_fchown SYS_fchownat SYS_utimensat
        ],
    ),
    allow(
        "extended attributes",
        calls![
            SYS_getxattr SYS_lgetxattr SYS_fgetxattr SYS_getxattrat
            SYS_setxattr SYS_lsetxattr SYS_fsetxattr SYS_setxattrat
            SYS_listxattr SYS_llistxattr SYS_flistxattr SYS_listxattrat
            SYS_removexattr SYS_lremovexattr SYS_fremovexattr SYS_removexattrat
        ],
    ),
    allow(
        "wait for files",
        calls![
            SYS_ppoll SYS_pselect6 SYS_epoll_create1 SYS_epoll_ctl SYS_epoll_pwait SYS_epoll_pwait2
            SYS_inotify_init1 SYS_inotify_add_watch SYS_inotify_rm_watch SYS_fanotify_mark
            SYS_io_setup SYS_io_submit SYS_io_cancel SYS_io_getevents SYS_io_pgetevents
            SYS_io_destroy
        ],
    ),
    allow(
        "sockets, once they are made",
        calls![
            SYS_socketpair SYS_bind SYS_listen SYS_accept SYS_accept4 SYS_connect SYS_shutdown
            SYS_getsockname SYS_getpeername SYS_getsockopt SYS_setsockopt
            SYS_sendto SYS_sendmsg SYS_sendmmsg SYS_recvfrom SYS_recvmsg SYS_recvmmsg
        ],
    ),
    allow(
        "memory",
        calls![
            SYS_brk SYS_mmap SYS_munmap SYS_mremap SYS_mprotect SYS_madvise SYS_mincore SYS_msync
            SYS_mlock SYS_mlock2 SYS_mlockall SYS_munlock SYS_munlockall SYS_mseal
            SYS_remap_file_pages SYS_membarrier SYS_process_mrelease SYS_map_shadow_stack
            SYS_pkey_alloc SYS_pkey_free SYS_pkey_mprotect
        ],
    ),
    allow(
        "processes and threads",
        calls![
            SYS_execve SYS_execveat SYS_exit SYS_exit_group SYS_wait4 SYS_waitid
            SYS_getpid SYS_getppid SYS_gettid SYS_getpgid SYS_setpgid SYS_getsid SYS_setsid
            SYS_set_tid_address SYS_set_robust_list SYS_get_robust_list SYS_rseq
            SYS_futex SYS_futex_wait SYS_futex_wake SYS_futex_requeue SYS_futex_waitv
            SYS_prctl SYS_pidfd_open SYS_pidfd_send_signal SYS_restart_syscall
        ],
    ),
    allow(
        "debug a process of the same user",
        calls![
            SYS_ptrace SYS_process_vm_readv SYS_process_vm_writev
        ],
    ),
    allow(
        "signals",
        calls![
            SYS_kill SYS_tkill SYS_tgkill SYS_signalfd4 SYS_sigaltstack SYS_rt_sigaction
            SYS_rt_sigpending SYS_rt_sigprocmask SYS_rt_sigqueueinfo SYS_rt_tgsigqueueinfo
            SYS_rt_sigreturn SYS_rt_sigsuspend SYS_rt_sigtimedwait
        ],
    ),
    allow(
        "users and capabilities: the kernel checks what may change",
        calls![
            SYS_getuid SYS_geteuid SYS_getgid SYS_getegid SYS_getresuid SYS_getresgid SYS_getgroups
            SYS_setuid SYS_setgid SYS_setreuid SYS_setregid SYS_setresuid SYS_setresgid
            SYS_setfsuid SYS_setfsgid SYS_setgroups SYS_capget SYS_capset
        ],
    ),
    allow(
        "walls a program raises around itself",
        calls![
            SYS_seccomp SYS_landlock_create_ruleset SYS_landlock_add_rule
            SYS_landlock_restrict_self
        ],
    ),
    allow(
        "limits and scheduling",
        calls![
            SYS_prlimit64 SYS_getrlimit SYS_setrlimit SYS_getrusage SYS_times SYS_getpriority
            SYS_setpriority SYS_ioprio_get SYS_ioprio_set SYS_getcpu SYS_sched_yield
            SYS_sched_getaffinity SYS_sched_setaffinity SYS_sched_getattr SYS_sched_setattr
            SYS_sched_getparam SYS_sched_setparam SYS_sched_getscheduler SYS_sched_setscheduler
            SYS_sched_get_priority_max SYS_sched_get_priority_min SYS_sched_rr_get_interval
        ],
    ),
    allow(
        "time",
        calls![
            SYS_gettimeofday SYS_clock_gettime SYS_clock_getres SYS_clock_nanosleep SYS_nanosleep
            SYS_getitimer SYS_setitimer SYS_timerfd_create SYS_timerfd_settime SYS_timerfd_gettime
            SYS_timer_create SYS_timer_settime SYS_timer_gettime SYS_timer_getoverrun
            SYS_timer_delete SYS_adjtimex SYS_clock_adjtime
        ],
    ),
    allow(
        "System V and POSIX messages, semaphores, shared memory",
        calls![
            SYS_msgget SYS_msgsnd SYS_msgrcv SYS_msgctl SYS_semget SYS_semop SYS_semtimedop
            SYS_semctl SYS_shmget SYS_shmat SYS_shmdt SYS_shmctl SYS_mq_open SYS_mq_unlink
            SYS_mq_timedsend SYS_mq_timedreceive SYS_mq_notify SYS_mq_getsetattr
        ],
    ),
    allow("the machine, read only", calls![SYS_uname SYS_sysinfo SYS_getrandom]),
    #[cfg(target_arch = "x86_64")]
    allow(
        "older forms of the above",
        calls![
            SYS_open SYS_creat SYS_stat SYS_lstat SYS_access SYS_getdents SYS_readlink SYS_mkdir
            SYS_rmdir SYS_mknod SYS_link SYS_symlink SYS_unlink SYS_rename SYS_chmod SYS_chown
            SYS_lchown SYS_utime SYS_utimes SYS_futimesat SYS_dup2 SYS_pipe SYS_eventfd
            SYS_signalfd SYS_poll SYS_select SYS_epoll_create SYS_epoll_wait SYS_inotify_init
            SYS_fork SYS_vfork SYS_getpgrp SYS_pause SYS_alarm SYS_time
        ],
    ),
    #[cfg(target_arch = "x86_64")]
    allow(
        "this processor: thread pointers, segments, traps of the kernel's own tracing",
        calls![
            SYS_arch_prctl SYS_get_thread_area SYS_set_thread_area SYS_modify_ldt SYS_uretprobe
            SYS_uprobe
        ],
    ),
    allow_with(&["SYS_CHROOT"], "another root directory", calls![SYS_chroot]),
    allow_with(
        &["SYS_ADMIN"],
        "mounts: the tree is the container's first wall",
        calls![
            SYS_mount SYS_umount2 SYS_mount_setattr SYS_move_mount SYS_open_tree SYS_open_tree_attr
            SYS_fsopen SYS_fsconfig SYS_fsmount SYS_fspick
        ],
    ),
    allow_with(
        &["SYS_ADMIN"],
        "namespaces: in a new one the caller is root again",
        calls![
            SYS_unshare SYS_setns
        ],
    ),
    allow_with(
        &["SYS_ADMIN"],
        "settings of the whole machine",
        calls![
            SYS_sethostname SYS_setdomainname SYS_quotactl SYS_quotactl_fd SYS_fanotify_init
            SYS_lookup_dcookie SYS_lsm_get_self_attr SYS_lsm_set_self_attr SYS_lsm_list_modules
        ],
    ),
    allow_with(&["SYS_ADMIN", "BPF"], "programs inside the kernel", calls![SYS_bpf]),
    allow_with(&["SYS_ADMIN", "PERFMON"], "watch the whole machine", calls![SYS_perf_event_open]),
    allow_with(&["SYS_ADMIN", "SYSLOG"], "the kernel's messages", calls![SYS_syslog]),
    allow_with(
        &["SYS_PTRACE"],
        "reach into another process",
        calls![
            SYS_kcmp SYS_pidfd_getfd SYS_process_madvise
        ],
    ),
    allow_with(
        &["DAC_READ_SEARCH"],
        "open a file by number, past every directory",
        calls![SYS_open_by_handle_at],
    ),
    allow_with(
        &["SYS_NICE"],
        "where memory lies: it tells about the machine",
        calls![
            SYS_mbind SYS_get_mempolicy SYS_set_mempolicy SYS_set_mempolicy_home_node
        ],
    ),
    allow_with(
        &["SYS_TIME"],
        "set the machine's clock",
        calls![
            SYS_clock_settime SYS_settimeofday
        ],
    ),
    allow_with(
        &["SYS_MODULE"],
        "kernel modules",
        calls![
            SYS_init_module SYS_finit_module SYS_delete_module
        ],
    ),
    allow_with(&["SYS_BOOT"], "restart the machine", calls![SYS_reboot]),
    allow_with(&["SYS_PACCT"], "log every process of the machine", calls![SYS_acct]),
    allow_with(&["SYS_TTY_CONFIG"], "hang up a terminal", calls![SYS_vhangup]),
    #[cfg(target_arch = "x86_64")]
    allow_with(&["SYS_RAWIO"], "the processor's ports", calls![SYS_iopl SYS_ioperm]),
    // ANCHOR: refused
    refuse(
        "requests that pass by this filter, and a long list of holes",
        calls![
            SYS_io_uring_setup SYS_io_uring_enter SYS_io_uring_register
        ],
    ),
    refuse(
        "stops the kernel in the middle of a copy: wins races for attackers",
        calls![SYS_userfaultfd],
    ),
    refuse(
        "keys have no namespace: they are shared with the host",
        calls![
            SYS_keyctl SYS_add_key SYS_request_key
        ],
    ),
    refuse("another kernel", calls![SYS_kexec_load SYS_kexec_file_load]),
    refuse(
        "the machine's swap, root and memory placement",
        calls![
            SYS_swapon SYS_swapoff SYS_pivot_root SYS_move_pages SYS_migrate_pages
        ],
    ),
    // ANCHOR_END: refused
    #[cfg(target_arch = "x86_64")]
    refuse(
        "old, and of no use to a program of today",
        calls![
            SYS_sysfs SYS_ustat SYS_uselib
        ],
    ),
];

/// The highest number this table knows about. What comes later is answered with `ENOSYS`.
pub const LAST: usize = SYS_open_tree_attr as usize;

// Numbers that `libc` does not have yet. From 424 on they are the same everywhere.
const SYS_cachestat: c_long = 451;
const SYS_fchmodat2: c_long = 452;
const SYS_map_shadow_stack: c_long = 453;
const SYS_futex_wake: c_long = 454;
const SYS_futex_wait: c_long = 455;
const SYS_futex_requeue: c_long = 456;
const SYS_statmount: c_long = 457;
const SYS_listmount: c_long = 458;
const SYS_lsm_get_self_attr: c_long = 459;
const SYS_lsm_set_self_attr: c_long = 460;
const SYS_lsm_list_modules: c_long = 461;
const SYS_setxattrat: c_long = 463;
const SYS_getxattrat: c_long = 464;
const SYS_listxattrat: c_long = 465;
const SYS_removexattrat: c_long = 466;
const SYS_open_tree_attr: c_long = 467;

#[cfg(target_arch = "x86_64")]
const SYS_io_pgetevents: c_long = 333;
#[cfg(target_arch = "x86_64")]
const SYS_uretprobe: c_long = 335;
#[cfg(target_arch = "x86_64")]
const SYS_uprobe: c_long = 336;

#[cfg(target_arch = "aarch64")]
const SYS_renameat: c_long = 38;
#[cfg(target_arch = "aarch64")]
const SYS_sync_file_range: c_long = 84;
#[cfg(target_arch = "aarch64")]
const SYS_getrlimit: c_long = 163;
#[cfg(target_arch = "aarch64")]
const SYS_setrlimit: c_long = 164;
#[cfg(target_arch = "aarch64")]
const SYS_io_pgetevents: c_long = 292;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn every_call_stands_in_one_group() {
        let mut seen = BTreeMap::new();
        for group in GROUPS {
            for (name, number) in group.calls {
                assert!(*number as usize <= LAST, "{name} is beyond LAST");
                let before = seen.insert(number, (name, group.purpose));
                assert!(before.is_none(), "{name} ({}) and {before:?}", group.purpose);
            }
        }
    }
}
