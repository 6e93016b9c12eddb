//! Everything that was not asked for is refused. Each test is a thread of its own that enters a sandbox and ends.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test")]

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    os::unix::net::{UnixDatagram, UnixStream},
    path::Path,
    process::Command,
    thread,
};

use parlo_sandbox::{Confinement, Sandbox};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};
use tempfile::TempDir;

/// Runs it in a sandbox in a thread that ends with it.
fn inside<T: Send + 'static>(sandbox: Sandbox, work: impl FnOnce() -> T + Send + 'static) -> T {
    let confined = move || {
        let confinement = sandbox.enter();
        assert!(confinement.is_whole(), "{confinement}");
        work()
    };
    thread::spawn(confined).join().unwrap()
}

/// Whether the sandbox refused it, rather than anything else having been wrong.
fn refused<T>(result: io::Result<T>) -> bool {
    matches!(result, Err(error) if [Some(libc::EACCES), Some(libc::EPERM), Some(libc::EXDEV)].contains(&error.raw_os_error()))
}

fn call(result: i64) -> io::Result<i64> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// A folder with a file that may be read, a key beside it, and a folder for outputs.
fn place() -> TempDir {
    let place = tempfile::tempdir().unwrap();
    fs::create_dir(place.path().join("out")).unwrap();
    fs::create_dir(place.path().join("out/deeper")).unwrap();
    for (file, text) in
        [("in.ptk", "tokens"), ("identity", "secret"), ("out/there", "old"), ("out/deeper/there", "old")]
    {
        fs::write(place.path().join(file), text).unwrap();
    }
    place
}

#[test]
fn files_that_are_not_listed_are_not_opened_made_changed_or_removed() {
    let place = place();
    let at = place.path().to_owned();
    inside(Sandbox::new().read(&at.join("in.ptk")).rename_in(&at.join("out")), move || {
        assert_eq!(fs::read_to_string(at.join("in.ptk")).unwrap(), "tokens");
        for file in ["/etc/passwd", "/etc/hostname", "/proc/self/environ", "/proc/self/mem", "/proc/1/status"] {
            assert!(refused(File::open(file)), "{file}");
        }
        assert!(refused(File::open(at.join("identity"))));
        assert!(refused(fs::read_dir(&at)) && refused(fs::read_dir("/")));
        assert!(refused(OpenOptions::new().write(true).open(at.join("in.ptk"))));
        assert!(refused(OpenOptions::new().append(true).open(at.join("identity"))));
        assert!(refused(File::create(at.join("new"))) && refused(fs::create_dir(at.join("new"))));
        assert!(
            refused(fs::remove_file(at.join("identity"))) && refused(fs::rename(at.join("identity"), at.join("x")))
        );
        assert!(refused(fs::hard_link(at.join("identity"), at.join("out/identity"))));
        assert!(refused(fs::rename(at.join("identity"), at.join("out/identity"))));
        assert!(refused(std::os::unix::fs::symlink("/etc/passwd", at.join("out/link"))));
        assert!(refused(fs::set_permissions(at.join("identity"), std::os::unix::fs::PermissionsExt::from_mode(0o777))));
        let path = std::ffi::CString::new(at.join("in.ptk").to_str().unwrap()).unwrap();
        // SAFETY: a path that ends in a zero byte.
        assert!(refused(call(unsafe { libc::truncate(path.as_ptr(), 0) }.into())));
        // What may be renamed may not be read, written, or brought elsewhere.
        for there in ["out/there", "out/deeper/there"] {
            assert!(refused(File::open(at.join(there))) && refused(File::create(at.join(there))), "{there}");
        }
        assert!(refused(fs::rename(at.join("out/there"), at.join("out/deeper/there"))));
    });
    for (file, text) in
        [("in.ptk", "tokens"), ("identity", "secret"), ("out/there", "old"), ("out/deeper/there", "old")]
    {
        assert_eq!(fs::read_to_string(place.path().join(file)).unwrap(), text);
    }
}

#[test]
fn a_file_that_was_begun_is_written_and_takes_its_name() {
    let place = place();
    let out = place.path().join("out");
    let mut file = File::create(out.join(".temporary")).unwrap();
    inside(Sandbox::new().rename_in(&out), {
        let out = out.clone();
        move || {
            file.write_all(b"xnew").unwrap();
            file.rewind().unwrap();
            file.write_all(b"a").unwrap();
            file.set_modified(std::time::UNIX_EPOCH).unwrap();
            file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
            fs::rename(out.join(".temporary"), out.join("there")).unwrap();
        }
    });
    assert_eq!(fs::read_to_string(out.join("there")).unwrap(), "anew");
}

#[test]
fn a_folder_can_be_given_whole() {
    let place = place();
    let at = place.path().to_owned();
    inside(Sandbox::new().all_in(&at.join("out")), move || {
        fs::create_dir(at.join("out/new")).unwrap();
        fs::write(at.join("out/new/file"), "text").unwrap();
        fs::rename(at.join("out/new/file"), at.join("out/file")).unwrap();
        fs::hard_link(at.join("out/file"), at.join("out/second")).unwrap();
        fs::remove_file(at.join("out/file")).unwrap();
        assert_eq!(fs::read_to_string(at.join("out/second")).unwrap(), "text");
        assert!(refused(File::open(at.join("identity"))) && refused(File::create(at.join("new"))));
    });
}

#[test]
fn no_socket_is_made_and_none_reached() {
    let place = tempfile::tempdir().unwrap();
    let (tcp, path) = (TcpListener::bind("127.0.0.1:0").unwrap(), place.path().join("socket"));
    let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let address = tcp.local_addr().unwrap();
    // All may be done with the socket's file.
    inside(Sandbox::new().all_in(place.path()), move || {
        assert!(refused(UdpSocket::bind("127.0.0.1:0")) && refused(UdpSocket::bind("[::1]:0")));
        assert!(refused(TcpStream::connect(address)) && refused(TcpListener::bind("127.0.0.1:0")));
        assert!(refused(UnixStream::connect(&path)) && refused(UnixDatagram::unbound()));
        for family in [libc::AF_NETLINK, libc::AF_PACKET, libc::AF_VSOCK, libc::AF_ALG] {
            // SAFETY: numbers only.
            assert!(refused(call(unsafe { libc::socket(family, libc::SOCK_DGRAM, 0) }.into())), "{family}");
        }
        // One that is open brings nowhere new.
        assert!(refused(tcp.accept()));
        // Pairs wake threads of one's own.
        let (mut one, mut other) = UnixStream::pair().unwrap();
        one.write_all(b"x").unwrap();
        other.read_exact(&mut [0]).unwrap();
    });
}

#[test]
fn no_other_program_or_process_is_started_or_touched() {
    inside(Sandbox::new().read(Path::new("/")), || {
        assert!(refused(Command::new("/bin/true").status()));
        // SAFETY: numbers, and strings that end in a zero byte; a child, if there were one, would end at once.
        unsafe {
            let program = c"/bin/true".as_ptr();
            let arguments = [program, std::ptr::null()];
            assert!(refused(call(libc::execv(program, arguments.as_ptr()).into())));
            let child = libc::fork();
            if child == 0 {
                libc::_exit(0);
            }
            assert!(refused(call(child.into())));
            assert!(refused(call(libc::syscall(
                libc::SYS_execveat,
                libc::AT_FDCWD,
                program,
                arguments.as_ptr(),
                0,
                0
            ))));
            assert!(refused(call(libc::kill(libc::getppid(), 0).into())));
            assert!(refused(call(libc::ptrace(libc::PTRACE_ATTACH, libc::getppid(), 0, 0))));
            for number in [
                libc::SYS_io_uring_setup,
                libc::SYS_bpf,
                libc::SYS_unshare,
                libc::SYS_keyctl,
                libc::SYS_process_vm_readv,
                libc::SYS_pidfd_open,
                libc::SYS_open_by_handle_at,
                libc::SYS_memfd_create,
                libc::SYS_perf_event_open,
                libc::SYS_userfaultfd,
                libc::SYS_personality,
                libc::SYS_mount,
            ] {
                assert!(refused(call(libc::syscall(number, 0, 0, 0, 0, 0, 0))), "call {number}");
            }
        }
    });
}

#[test]
fn no_code_is_made_and_nothing_typed() {
    inside(Sandbox::new(), || {
        let page = |access| {
            // SAFETY: new memory that nothing else knows of.
            let at = unsafe {
                libc::mmap(std::ptr::null_mut(), 4096, access, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)
            };
            if at == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(at) }
        };
        assert!(refused(page(libc::PROT_READ | libc::PROT_EXEC)));
        let data = page(libc::PROT_READ | libc::PROT_WRITE).unwrap();
        // SAFETY: the page from above.
        assert!(refused(call(unsafe { libc::mprotect(data, 4096, libc::PROT_EXEC) }.into())));
        // SAFETY: TIOCSTI reads one byte.
        assert!(refused(call(unsafe { libc::ioctl(0, libc::TIOCSTI, c"x".as_ptr()) }.into())));
    });
}

#[test]
fn threads_work_and_are_held_by_it_too() {
    inside(Sandbox::new(), || {
        let found = thread::spawn(|| {
            let sum: usize = (0..4).map(|n| thread::spawn(move || vec![n; 1 << 16].len()).join().unwrap()).sum();
            (sum, refused(File::open("/etc/passwd")), refused(UdpSocket::bind("127.0.0.1:0")))
        });
        assert_eq!(found.join().unwrap(), (4 << 16, true, true));
        assert!(thread::available_parallelism().is_ok());
    });
    // Those that were not inside are as before.
    assert!(File::open("/etc/passwd").is_ok() && UdpSocket::bind("127.0.0.1:0").is_ok());
}

/// What is found where the kernel does not know these calls.
fn without(calls: &'static [i64]) -> Confinement {
    let confined = move || {
        let rules: BTreeMap<i64, Vec<_>> = calls.iter().map(|&call| (call, Vec::new())).collect();
        let processor = std::env::consts::ARCH.try_into().unwrap();
        let absent = SeccompAction::Errno(libc::ENOSYS as u32);
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, absent, processor).unwrap();
        let program: BpfProgram = filter.try_into().unwrap();
        apply_filter(&program).unwrap();
        let confinement = Sandbox::new().enter();
        // The program goes on.
        assert_eq!(File::open("/etc/passwd").is_ok(), confinement.files.is_some());
        assert_eq!(UdpSocket::bind("127.0.0.1:0").is_ok(), confinement.calls.is_some());
        confinement
    };
    thread::spawn(confined).join().unwrap()
}

#[test]
fn a_kernel_that_has_none_is_told_of_and_does_not_stop_anything() {
    assert!(Sandbox::support().is_whole());
    let no_files = without(&[libc::SYS_landlock_create_ruleset]);
    assert!(no_files.files.is_some() && no_files.calls.is_none(), "{no_files}");
    assert!(no_files.to_string().contains("files are not refused"), "{no_files}");
    let no_calls = without(&[libc::SYS_seccomp]);
    assert!(no_calls.files.is_none() && no_calls.calls.is_some(), "{no_calls}");
    let neither = without(&[libc::SYS_landlock_create_ruleset, libc::SYS_seccomp]);
    assert!(!neither.is_whole() && neither.to_string().contains("none"), "{neither}");
}
