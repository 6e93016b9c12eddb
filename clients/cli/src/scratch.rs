//! Files without a name, for what is too long for memory: gone with the program, whatever ends it.
//!
//! They can be made beforehand: where the program then gives up its right to make files, those that it has can still be used.

use std::{
    fs::File,
    io::{self, Seek as _},
    ops::{Deref, DerefMut},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// As many as anything here uses at a time: a column for each of 32 codes, two more, and one for the input.
pub(crate) const MOST: usize = 35;

static FREE: Mutex<Vec<File>> = Mutex::new(Vec::new());

fn free() -> MutexGuard<'static, Vec<File>> {
    FREE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes so many beforehand. What cannot be made now is tried again when it is needed.
pub(crate) fn prepare(count: usize) {
    let made = (0..count).map_while(|_| tempfile::tempfile().ok());
    free().extend(made);
}

/// An empty one. Dropped, it is there for the next.
#[derive(Debug)]
pub(crate) struct Scratch(Option<File>);

impl Scratch {
    pub(crate) fn new() -> io::Result<Self> {
        let kept = free().pop();
        Ok(Self(Some(kept.map_or_else(tempfile::tempfile, Ok)?)))
    }
}

impl Deref for Scratch {
    type Target = File;

    fn deref(&self) -> &File {
        match &self.0 {
            Some(file) => file,
            None => unreachable!("it has its file until it is dropped"),
        }
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut File {
        match &mut self.0 {
            Some(file) => file,
            None => unreachable!("it has its file until it is dropped"),
        }
    }
}

impl io::Read for Scratch {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        (**self).read(bytes)
    }
}

impl io::Write for Scratch {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (**self).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        (**self).flush()
    }
}

impl io::Seek for Scratch {
    fn seek(&mut self, place: io::SeekFrom) -> io::Result<u64> {
        (**self).seek(place)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some(mut file) = self.0.take()
            && file.set_len(0).and_then(|()| file.rewind()).is_ok()
        {
            free().push(file);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    #[test]
    fn one_that_is_used_again_is_empty() {
        prepare(1);
        for round in 0..3_u8 {
            let mut scratch = Scratch::new().unwrap();
            let mut found = Vec::new();
            scratch.read_to_end(&mut found).unwrap();
            assert!(found.is_empty());
            scratch.write_all(&[round; 1000]).unwrap();
            scratch.rewind().unwrap();
            scratch.read_to_end(&mut found).unwrap();
            assert_eq!(found, [round; 1000]);
        }
    }
}
