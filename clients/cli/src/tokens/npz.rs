//! NumPy's archives: a ZIP file of arrays, none of them compressed (APPNOTE.TXT 6.3; numpy.lib.format version 1.0).

use std::{
    fs::File,
    io::{BufWriter, Read as _, Seek as _, Write},
};

use parlo_archive::ArchiveError;

use crate::scratch::Scratch;

/// Writes arrays one after another.
pub(super) struct Zip<'a, W> {
    out: &'a mut W,
    written: u64,
    directory: Vec<u8>,
    count: u16,
}

impl<'a, W: Write> Zip<'a, W> {
    pub(super) fn new(out: &'a mut W) -> Self {
        Self { out, written: 0, directory: Vec::new(), count: 0 }
    }

    /// Writes an array of this type (as NumPy describes it), shape, and bytes in C order.
    pub(super) fn array(&mut self, name: &str, kind: &str, shape: &[usize], data: &[u8]) -> Result<(), ArchiveError> {
        let head = head(kind, shape);
        let length = (head.len() + data.len()) as u64;
        self.file(&format!("{name}.npy"), length, |take| {
            take(&head)?;
            take(data)
        })
    }

    /// The same of bytes that are kept in these columns, one after another.
    pub(super) fn columns(
        &mut self,
        name: &str,
        kind: &str,
        shape: &[usize],
        columns: &mut [Column],
    ) -> Result<(), ArchiveError> {
        let head = head(kind, shape);
        let mut length = head.len() as u64;
        for column in &mut *columns {
            column.0.flush().map_err(ArchiveError::Write)?;
            length += column.0.get_ref().metadata().map_err(ArchiveError::Read)?.len();
        }
        self.file(&format!("{name}.npy"), length, |take| {
            take(&head)?;
            let mut piece = vec![0; 1 << 16];
            for column in &*columns {
                let mut file: &File = column.0.get_ref();
                file.rewind().map_err(ArchiveError::Read)?;
                loop {
                    let count = file.read(&mut piece).map_err(ArchiveError::Read)?;
                    if count == 0 {
                        break;
                    }
                    take(&piece[..count])?;
                }
            }
            Ok(())
        })
    }

    /// Writes a file of the archive. `bytes` gives all of it each time that it is called: once for the checksum.
    fn file(
        &mut self,
        name: &str,
        length: u64,
        bytes: impl Fn(&mut dyn FnMut(&[u8]) -> Result<(), ArchiveError>) -> Result<(), ArchiveError>,
    ) -> Result<(), ArchiveError> {
        let too_long =
            || ArchiveError::Write(std::io::Error::other("an array is longer than a ZIP file holds (4 GiB)"));
        let length = u32::try_from(length).map_err(|_| too_long())?;
        let place = u32::try_from(self.written).map_err(|_| too_long())?;
        let mut sum = Crc::new();
        bytes(&mut |piece| {
            sum.take(piece);
            Ok(())
        })?;
        // Version 2.0, UTF-8, stored, 1980-01-01.
        let mut common = vec![20, 0, 0, 8, 0, 0, 0, 0, 0x21, 0];
        common.extend_from_slice(&sum.value().to_le_bytes());
        common.extend_from_slice(&length.to_le_bytes());
        common.extend_from_slice(&length.to_le_bytes());
        common.extend_from_slice(&(name.len() as u16).to_le_bytes());
        common.extend_from_slice(&[0, 0]);
        self.put(b"PK\x03\x04")?;
        self.put(&common)?;
        self.put(name.as_bytes())?;
        bytes(&mut |piece| self.put(piece))?;
        self.directory.extend_from_slice(b"PK\x01\x02\x14\x00");
        self.directory.extend_from_slice(&common);
        self.directory.extend_from_slice(&[0; 10]);
        self.directory.extend_from_slice(&place.to_le_bytes());
        self.directory.extend_from_slice(name.as_bytes());
        self.count += 1;
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<(), ArchiveError> {
        let (place, directory) = (self.written as u32, std::mem::take(&mut self.directory));
        self.put(&directory)?;
        let mut end = b"PK\x05\x06\0\0\0\0".to_vec();
        end.extend_from_slice(&[self.count.to_le_bytes(), self.count.to_le_bytes()].concat());
        end.extend_from_slice(&(directory.len() as u32).to_le_bytes());
        end.extend_from_slice(&place.to_le_bytes());
        end.extend_from_slice(&[0, 0]);
        self.put(&end)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        self.written += bytes.len() as u64;
        self.out.write_all(bytes).map_err(ArchiveError::Write)
    }
}

/// Bytes on their way into an array, in a file without a name: nobody knows how many they will be.
pub(super) struct Column(BufWriter<Scratch>);

impl Column {
    pub(super) fn new() -> Result<Self, ArchiveError> {
        Ok(Self(BufWriter::new(Scratch::new().map_err(ArchiveError::Write)?)))
    }

    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        self.0.write_all(bytes).map_err(ArchiveError::Write)
    }
}

/// What stands before an array's bytes.
fn head(kind: &str, shape: &[usize]) -> Vec<u8> {
    let shape: String = shape.iter().map(|length| format!("{length}, ")).collect();
    let mut head = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({}), }}", shape.trim_end());
    // All of it takes a multiple of 64 bytes.
    let padded = (10 + head.len() + 1).next_multiple_of(64) - 10;
    head.push_str(&" ".repeat(padded - head.len() - 1));
    head.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend_from_slice(&(head.len() as u16).to_le_bytes());
    bytes.extend_from_slice(head.as_bytes());
    bytes
}

/// The checksum of ZIP files (ISO 3309), bit by bit eight at a time.
struct Crc {
    table: [u32; 256],
    sum: u32,
}

impl Crc {
    fn new() -> Self {
        let table = std::array::from_fn(|n| {
            (0..8).fold(n as u32, |crc, _| if crc & 1 == 1 { 0xEDB8_8320 ^ crc >> 1 } else { crc >> 1 })
        });
        Self { table, sum: u32::MAX }
    }

    fn take(&mut self, bytes: &[u8]) {
        self.sum = bytes.iter().fold(self.sum, |crc, &byte| self.table[usize::from(crc as u8 ^ byte)] ^ crc >> 8);
    }

    fn value(&self) -> u32 {
        !self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_zip() {
        let mut sum = Crc::new();
        assert_eq!(sum.value(), 0);
        sum.take(b"1234");
        sum.take(b"56789");
        assert_eq!(sum.value(), 0xCBF4_3926);
    }

    #[test]
    fn arrays_lie_where_the_directory_says() {
        let mut bytes = Vec::new();
        let mut zip = Zip::new(&mut bytes);
        zip.array("a", "<i2", &[2, 3], &[1; 12]).unwrap();
        zip.array("b", "<u4", &[], &[7; 4]).unwrap();
        zip.finish().unwrap();
        assert!(bytes[30..].starts_with(
            b"a.npy\x93NUMPY\x01\x00\x76\x00{'descr': '<i2', 'fortran_order': False, 'shape': (2, 3,), }"
        ));
        let end = bytes.len() - 22;
        let place = u32::from_le_bytes(bytes[end + 16..end + 20].try_into().unwrap()) as usize;
        assert!(bytes[place..].starts_with(b"PK\x01\x02"));
        // Of the second: where it is.
        let second = place + 46 + 5;
        let at = u32::from_le_bytes(bytes[second + 42..second + 46].try_into().unwrap()) as usize;
        assert!(bytes[at..].starts_with(b"PK\x03\x04") && bytes[at + 30..].starts_with(b"b.npy"));
        assert!(bytes[..place].ends_with(&[7; 4]));
    }
}
