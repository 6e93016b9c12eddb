//! Which system calls: seccomp.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Length, SeccompCmpOp as Is, SeccompCondition as Condition,
    SeccompFilter, SeccompRule, apply_filter,
};

/// Calls that computing, reading, writing and threads need, whatever their arguments are.
const PLAIN: &[i64] = &[
    // Bytes of what is open.
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_preadv2,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
    libc::SYS_lseek,
    libc::SYS_copy_file_range,
    libc::SYS_sendfile,
    libc::SYS_splice,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_fchmod,
    libc::SYS_fadvise64,
    libc::SYS_readahead,
    libc::SYS_flock,
    libc::SYS_fcntl,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_pipe2,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_eventfd2,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    // Of sockets that are open: standard input and output can be such.
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_shutdown,
    libc::SYS_getsockopt,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    // Names: which of them is Landlock's to say.
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_newfstatat,
    libc::SYS_fstat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_getcwd,
    libc::SYS_mkdirat,
    libc::SYS_unlinkat,
    #[cfg(not(target_arch = "riscv64"))]
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_linkat,
    libc::SYS_umask,
    // Memory. New code is below.
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_mincore,
    libc::SYS_mlock,
    libc::SYS_mlock2,
    libc::SYS_munlock,
    libc::SYS_membarrier,
    libc::SYS_get_mempolicy,
    // Threads and time.
    libc::SYS_clone3,
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_get_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_rseq,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_restart_syscall,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_sched_get_priority_max,
    libc::SYS_sched_get_priority_min,
    libc::SYS_getpriority,
    libc::SYS_getcpu,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_times,
    libc::SYS_getrusage,
    #[cfg(not(target_arch = "riscv64"))]
    libc::SYS_getrlimit,
    // Signals to oneself, and who one is.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigsuspend,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sigaltstack,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_gettid,
    libc::SYS_getpgid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_getrandom,
];

/// What x86-64 still has beside its successors.
#[cfg(target_arch = "x86_64")]
const OLDER: &[i64] = &[
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_getdents,
    libc::SYS_mkdir,
    libc::SYS_rmdir,
    libc::SYS_unlink,
    libc::SYS_rename,
    libc::SYS_link,
    libc::SYS_dup2,
    libc::SYS_pipe,
    libc::SYS_poll,
    libc::SYS_select,
    libc::SYS_epoll_create,
    libc::SYS_epoll_wait,
    libc::SYS_eventfd,
    libc::SYS_getpgrp,
    libc::SYS_time,
    libc::SYS_arch_prctl,
];
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[i64] = &[];

/// What programs ask of terminals and pipes. Not among it: TIOCSTI and TIOCLINUX, which type in the user's place.
#[allow(clippy::unnecessary_cast, reason = "of another type in other C libraries")]
const IOCTLS: &[u64] = &[
    libc::TCGETS as u64,
    libc::TIOCGWINSZ as u64,
    libc::TIOCGPGRP as u64,
    libc::FIONREAD as u64,
    libc::FIONBIO as u64,
    libc::FIOCLEX as u64,
    // TCGETS2, FICLONE
    0x802c_542a,
    0x4004_9409,
];

/// Names of threads and of their memory.
const PRCTLS: &[u64] = &[libc::PR_SET_NAME as u64, libc::PR_GET_NAME as u64, 0x5356_4d41];

/// Refuses this thread all other system calls.
///
/// # Errors
/// Why not.
pub(crate) fn restrict() -> Result<(), String> {
    // The C library tries clone3, whose arguments no filter can see, and makes threads with clone where there is none.
    let absent = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    let absent = compile(absent, SeccompAction::Allow, SeccompAction::Errno(libc::ENOSYS as u32))?;
    let allowed = compile(allowed()?, SeccompAction::Errno(libc::EPERM as u32), SeccompAction::Allow)?;
    for program in [absent, allowed] {
        apply_filter(&program).map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn compile(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    other: SeccompAction,
    these: SeccompAction,
) -> Result<BpfProgram, String> {
    let processor =
        std::env::consts::ARCH.try_into().map_err(|_| "there is no filter for this processor".to_owned())?;
    let filter = SeccompFilter::new(rules, other, these, processor).map_err(|error| error.to_string())?;
    filter.try_into().map_err(|error: seccompiler::BackendError| error.to_string())
}

fn allowed() -> Result<BTreeMap<i64, Vec<SeccompRule>>, String> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        PLAIN.iter().chain(OLDER).map(|&call| (call, Vec::new())).collect();
    let own = u64::from(std::process::id());
    let mut only = |call: i64, conditions: Vec<(u8, Length, Is, u64)>| -> Result<(), String> {
        let conditions =
            conditions.into_iter().map(|(argument, length, is, value)| Condition::new(argument, length, is, value));
        let conditions: Vec<Condition> = conditions.collect::<Result<_, _>>().map_err(|error| error.to_string())?;
        rules.entry(call).or_default().push(SeccompRule::new(conditions).map_err(|error| error.to_string())?);
        Ok(())
    };
    // Threads, no processes.
    let thread = libc::CLONE_THREAD as u64;
    only(libc::SYS_clone, vec![(0, Length::Qword, Is::MaskedEq(thread), thread)])?;
    // No new code: all of it is loaded.
    let code = libc::PROT_EXEC as u64;
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        only(call, vec![(2, Length::Qword, Is::MaskedEq(code), 0)])?;
    }
    // Pairs that wake a thread of one's own.
    only(libc::SYS_socketpair, vec![(0, Length::Dword, Is::Eq, libc::AF_UNIX as u64)])?;
    // One's own limits, and signals to oneself.
    only(libc::SYS_prlimit64, vec![(0, Length::Dword, Is::Eq, 0)])?;
    only(libc::SYS_tgkill, vec![(0, Length::Dword, Is::Eq, own)])?;
    // The times of what is open; Landlock does not guard those of a name.
    only(libc::SYS_utimensat, vec![(1, Length::Qword, Is::Eq, 0)])?;
    for &request in IOCTLS {
        only(libc::SYS_ioctl, vec![(1, Length::Dword, Is::Eq, request)])?;
    }
    for &what in PRCTLS {
        only(libc::SYS_prctl, vec![(0, Length::Dword, Is::Eq, what)])?;
    }
    Ok(rules)
}
