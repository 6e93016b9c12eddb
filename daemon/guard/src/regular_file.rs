use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _},
    path::Path,
};

/// Why a file is not read. Each goes on from the file's name.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegularError {
    /// The system refuses it.
    #[error("{0}")]
    System(#[from] io::Error),
    /// A symbolic link, where none is followed.
    #[error("is a link to somewhere else, not a file: put a copy of the file in its place (cp --dereference)")]
    Link,
    /// A folder, pipe, socket or device.
    #[error("is {0}, not a file")]
    Kind(&'static str),
    /// Longer than it may be.
    #[error("has {found} bytes, and {most} at most are read")]
    Long {
        /// What it may have.
        most: u64,
        /// What it has, as far as it was looked at.
        found: u64,
    },
}

/// What is done with a path whose last part is a symbolic link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// It is followed.
    Follow,
    /// It is refused.
    Refuse,
}

/// Reads a file whole if it is a regular one of at most `most` bytes. Waits for nobody: a pipe without a writer is refused at once.
///
/// What is read is what was looked at: the file is opened once.
///
/// # Errors
/// If it is not there, is no regular file, is longer, or is a link where links are refused.
pub fn read_regular(path: &Path, most: u64, links: Links) -> Result<Vec<u8>, RegularError> {
    let file = open_regular(path, links)?;
    let length = file.metadata()?.len();
    if length > most {
        return Err(RegularError::Long { most, found: length });
    }
    // One byte more shows whether it has grown meanwhile; as many as it has are taken at once.
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    let found = bytes.len() as u64;
    if found > most { Err(RegularError::Long { most, found }) } else { Ok(bytes) }
}

/// Opens a regular file for reading. Waits for nobody: a pipe without a writer is refused at once.
///
/// # Errors
/// If it is not there, is no regular file, or is a link where links are refused.
pub fn open_regular(path: &Path, links: Links) -> Result<File, RegularError> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        let follow = if links == Links::Refuse { libc::O_NOFOLLOW } else { 0 };
        // Opening a pipe would wait for its writer, and a terminal could become the process's own.
        std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK | libc::O_NOCTTY | follow);
    }
    if links == Links::Refuse && path.symlink_metadata()?.is_symlink() {
        return Err(RegularError::Link);
    }
    // Before it is opened, as opening a device may act on it.
    refuse_other_kinds(&path.metadata()?)?;
    let file = options.open(path)?;
    refuse_other_kinds(&file.metadata()?)?;
    Ok(file)
}

fn refuse_other_kinds(there: &std::fs::Metadata) -> Result<(), RegularError> {
    let kind = there.file_type();
    if kind.is_file() {
        return Ok(());
    }
    if kind.is_dir() {
        return Err(RegularError::Kind("a folder"));
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt as _;
        if kind.is_fifo() {
            return Err(RegularError::Kind("a pipe"));
        }
        if kind.is_socket() {
            return Err(RegularError::Kind("a socket"));
        }
    }
    Err(RegularError::Kind("a device"))
}

#[cfg(all(test, unix))]
#[allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
mod tests {
    use std::{ffi::CString, fs, os::unix::ffi::OsStrExt as _};

    use super::*;

    #[test]
    fn only_regular_files_of_bounded_length_are_read_and_nothing_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file"), b"12345").unwrap();
        assert_eq!(read_regular(&at("file"), 5, Links::Refuse).unwrap(), b"12345");
        assert!(matches!(read_regular(&at("file"), 4, Links::Refuse), Err(RegularError::Long { most: 4, found: 5 })));

        std::os::unix::fs::symlink(at("file"), at("link")).unwrap();
        assert!(matches!(read_regular(&at("link"), 5, Links::Refuse), Err(RegularError::Link)));
        assert_eq!(read_regular(&at("link"), 5, Links::Follow).unwrap(), b"12345");
        std::os::unix::fs::symlink("/dev/zero", at("zeros")).unwrap();
        assert!(matches!(read_regular(&at("zeros"), 5, Links::Follow), Err(RegularError::Kind("a device"))));
        assert!(matches!(read_regular(Path::new("/dev/zero"), 5, Links::Refuse), Err(RegularError::Kind("a device"))));

        let pipe = CString::new(at("pipe").as_os_str().as_bytes()).unwrap();
        // SAFETY: `pipe` is a string ended by a zero that lives as long as the call.
        assert_eq!(unsafe { libc::mkfifo(pipe.as_ptr(), 0o600) }, 0);
        assert!(matches!(read_regular(&at("pipe"), 5, Links::Refuse), Err(RegularError::Kind("a pipe"))));
        assert!(matches!(read_regular(folder.path(), 5, Links::Refuse), Err(RegularError::Kind("a folder"))));
        assert!(matches!(read_regular(&at("none"), 5, Links::Refuse), Err(RegularError::System(_))));
    }
}
