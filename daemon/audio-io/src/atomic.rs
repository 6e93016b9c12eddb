//! Files that nobody sees half of.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufWriter, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use tempfile::NamedTempFile;

/// Temporary files of this process that have no name of their own yet; none once they were removed for good.
static TEMPORARY: Mutex<Option<Vec<PathBuf>>> = Mutex::new(Some(Vec::new()));

fn temporary() -> MutexGuard<'static, Option<Vec<PathBuf>>> {
    TEMPORARY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes all files that are not whole, and lets no more begin: the program is about to end, without unwinding its threads.
pub fn remove_temporary() {
    for file in temporary().take().unwrap_or_default() {
        // What cannot be removed stays; nobody is left to be told.
        let _ = std::fs::remove_file(file);
    }
}

/// The file that was begun before it is asked for, or why it could not be; and its path.
static PREPARED: Mutex<Option<(PathBuf, io::Result<AtomicFile>)>> = Mutex::new(None);

fn prepared() -> MutexGuard<'static, Option<(PathBuf, io::Result<AtomicFile>)>> {
    PREPARED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Begins the file `path` now, for the next [`AtomicFile::create`] of it, which gives it or says why it could not be begun. For programs that
/// will not have the right to make files by then. Gives the folder in which it will take its name, and the name that it has until then;
/// `None` if it could not be begun.
///
/// It is the program's only such file. If nobody asks for it, [`remove_temporary`] removes it.
pub fn prepare(path: &Path) -> Option<(PathBuf, PathBuf)> {
    let file = AtomicFile::create(path);
    let folder = match &file {
        Ok(AtomicFile { out: Out::Temporary { file, target }, .. }) => {
            Some((folder_of(target).to_owned(), file.get_ref().path().to_owned()))
        }
        _ => None,
    };
    *prepared() = Some((path.to_owned(), file));
    folder
}

/// The folder that a file is in.
fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A file that is written under a temporary name in the same folder, and takes its own name when it is whole. Dropped
/// before that, it leaves nothing behind, and whatever had the name before is untouched.
///
/// A symbolic link is followed: what it points to is replaced, not the link. What is no regular file (a device, a named
/// pipe) cannot be replaced, and is written to as it is.
#[derive(Debug)]
pub struct AtomicFile {
    out: Out,
    path: PathBuf,
}

#[derive(Debug)]
enum Out {
    Temporary { file: BufWriter<NamedTempFile>, target: PathBuf },
    InPlace(BufWriter<File>),
}

impl AtomicFile {
    /// Begins a file that will be `path`.
    ///
    /// # Errors
    /// If its folder cannot be written to, or `path` is a folder.
    pub fn create(path: &Path) -> io::Result<Self> {
        if let Some((_, begun)) = prepared().take_if(|(begun, _)| begun == path) {
            return begun;
        }
        let present = std::fs::metadata(path);
        let path = path.to_owned();
        if let Ok(metadata) = &present {
            if metadata.is_dir() {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            if !metadata.is_file() {
                let file = OpenOptions::new().write(true).open(&path)?;
                return Ok(Self { out: Out::InPlace(BufWriter::new(file)), path });
            }
        }
        let target = if present.is_ok() { path.canonicalize()? } else { path.clone() };
        let folder = folder_of(&target);
        let mut builder = tempfile::Builder::new();
        builder.prefix(".parlo-");
        // Known before anybody can ask for its removal.
        let mut all = temporary();
        let Some(names) = &mut *all else { return Err(io::ErrorKind::Interrupted.into()) };
        // What the system says of it; the crate's own error would name the temporary file, and not tell the system's number.
        let mut said = None;
        // As any created file: the umask takes away what it shall.
        let create = |path: &Path| {
            let made = OpenOptions::new().read(true).write(true).create_new(true).open(path);
            made.inspect_err(|error| said = error.raw_os_error())
        };
        let made = builder.make_in(folder, create);
        let file = made.map_err(|error| said.map_or(error, io::Error::from_raw_os_error))?;
        names.push(file.path().to_owned());
        drop(all);
        if let Ok(metadata) = present {
            file.as_file().set_permissions(metadata.permissions())?;
        }
        Ok(Self { out: Out::Temporary { file: BufWriter::new(file), target }, path })
    }

    /// The name that it will have.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Sets the time at which it was changed last. Of devices and pipes there is none.
    ///
    /// # Errors
    /// If what was written cannot be brought out, or its folder keeps no times.
    pub fn set_modified(&mut self, time: std::time::SystemTime) -> io::Result<()> {
        let Out::Temporary { file, .. } = &mut self.out else { return Ok(()) };
        file.flush()?;
        file.get_ref().as_file().set_modified(time)
    }

    /// Writes over the first bytes, and goes back to the end. Devices and pipes have no start to go back to: they are left.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write_at_start(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Out::Temporary { file, .. } = &mut self.out else { return Ok(()) };
        file.seek(SeekFrom::Start(0))?;
        file.write_all(bytes)?;
        file.seek(SeekFrom::End(0)).map(drop)
    }

    /// Gives the file its name. What had it before is replaced.
    ///
    /// # Errors
    /// If the rest cannot be written or the file not be renamed; it is gone then.
    pub fn commit(mut self) -> io::Result<()> {
        match &mut self.out {
            Out::InPlace(file) => file.flush(),
            Out::Temporary { file, target } => {
                file.flush()?;
                // Under the lock: it is either still to be removed, or has its name.
                let mut all = temporary();
                let Some(names) = &mut *all else { return Err(io::ErrorKind::Interrupted.into()) };
                let from = file.get_ref().path().to_owned();
                std::fs::rename(&from, target)?;
                names.retain(|name| *name != from);
                file.get_mut().disable_cleanup(true);
                Ok(())
            }
        }
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if let Out::Temporary { file, .. } = &mut self.out
            && let Some(names) = &mut *temporary()
        {
            let own = file.get_ref().path();
            // It is removed itself when its field is dropped; it may not be there to be removed twice.
            names.retain(|name| name != own);
        }
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.out {
            Out::Temporary { file, .. } => file.write(bytes),
            Out::InPlace(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.out {
            Out::Temporary { file, .. } => file.flush(),
            Out::InPlace(file) => file.flush(),
        }
    }
}
