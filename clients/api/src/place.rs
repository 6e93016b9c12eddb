//! Where the daemon is to be found, unless its configuration says otherwise.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

/// Name of the socket in the [folder].
const SOCKET: &str = "control.sock";
/// Name of the file with the token, beside the socket.
const TOKEN: &str = "token";

/// The folder of the socket: `$XDG_RUNTIME_DIR/parlo`, or `/tmp/parlo-UID` if that variable names no folder by its full path.
pub fn folder() -> PathBuf {
    folder_of(env::var_os("XDG_RUNTIME_DIR"), user())
}

/// The Unix socket: `control.sock` in the [folder].
pub fn socket() -> PathBuf {
    folder().join(SOCKET)
}

/// The file with the token that loopback TCP asks for: `token` in the [folder].
pub fn token() -> PathBuf {
    folder().join(TOKEN)
}

/// The file with the token of a daemon whose socket is here: `token` beside it.
pub fn token_beside(socket: &Path) -> PathBuf {
    socket.with_file_name(TOKEN)
}

fn folder_of(runtime: Option<OsString>, user: u32) -> PathBuf {
    match runtime.map(PathBuf::from).filter(|path| path.is_absolute()) {
        Some(runtime) => runtime.join("parlo"),
        None => PathBuf::from(format!("/tmp/parlo-{user}")),
    }
}

/// The number of the user that this program runs as; 0 where the system has no such numbers.
pub fn user() -> u32 {
    #[cfg(unix)]
    // SAFETY: geteuid takes nothing, touches no memory and cannot fail.
    return unsafe { libc::geteuid() };
    #[cfg(not(unix))]
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runtime_folder_counts_only_by_its_full_path() {
        let of = |runtime: Option<&str>| folder_of(runtime.map(OsString::from), 1000);
        assert_eq!(of(Some("/run/user/1000")), Path::new("/run/user/1000/parlo"));
        for none in [None, Some(""), Some("run"), Some("./run")] {
            assert_eq!(of(none), Path::new("/tmp/parlo-1000"), "{none:?}");
        }
    }

    #[test]
    fn socket_and_token_lie_side_by_side() {
        assert_eq!(socket().parent(), token().parent());
        assert_eq!(token_beside(&socket()), token());
    }
}
