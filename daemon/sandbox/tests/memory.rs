//! Memory with keys in it, and memory without bound. The process is changed for good: this file is one of its own.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test")]

use parlo_sandbox::{LockError, Sandbox, keep_from_dumps, lock, lockable_bytes, locked_bytes};

fn locked_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmLck:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn memory_is_neither_dumped_nor_swapped_nor_without_bound() {
    keep_from_dumps().unwrap();
    // SAFETY: numbers only.
    assert_eq!(unsafe { libc::prctl(libc::PR_GET_DUMPABLE, 0, 0, 0, 0) }, 0);

    let secret = Box::new([7_u8; 32]);
    lock(&*secret).unwrap();
    assert!(locked_kib() >= 4 && locked_bytes() == 32);

    // More than may be locked is refused, with the limit; nothing of it counts.
    let limit = libc::rlimit { rlim_cur: 1 << 16, rlim_max: 1 << 16 };
    // SAFETY: it reads `limit`, which outlives the call.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) }, 0);
    assert_eq!(lockable_bytes(), Some(1 << 16));
    // Root may lock what it likes.
    // SAFETY: it takes nothing.
    if unsafe { libc::geteuid() } != 0 {
        let error: LockError = lock(&vec![0_u8; 1 << 20][..]).unwrap_err();
        assert!(error.limit == Some(1 << 16) && error.to_string().contains("65536"), "{error}");
        assert_eq!(locked_bytes(), 32);
    }

    // A thread's sandbox limits the process's memory.
    let most = 1 << 36;
    let inside = std::thread::spawn(move || Sandbox::new().memory(most).enter());
    assert!(inside.join().unwrap().is_whole());
    assert!(Vec::<u8>::new().try_reserve_exact(1 << 30).is_ok());
    assert!(Vec::<u8>::new().try_reserve_exact(1 << 37).is_err(), "more than there may be");
}
