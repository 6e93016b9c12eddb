//! Names of recordings: `YYYY-MM-DD-HHMMSS-peer`, UTC.

use std::{
    fs::{File, OpenOptions},
    io,
    path::{Path, PathBuf},
};

const EXTENSION: &str = ".ptk";

/// The most characters of a name.
const LONGEST: usize = 100;

/// The most characters of the peer in it.
const LONGEST_PEER: usize = 40;

/// The most recordings of one peer that begin in the same second.
const MOST_ALIKE: u32 = 1000;

/// Whether this can be a recording's name: letters, digits, `-`, `_` and `.`, the last not in front.
pub(super) fn is_name(name: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !name.is_empty() && name.len() <= LONGEST && !name.starts_with('.') && name.bytes().all(good)
}

/// The file of this name, which [`is_name`].
pub(super) fn file(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}{EXTENSION}"))
}

/// The recording's name, if a file of this name is one.
pub(super) fn of_file(file_name: &str) -> Option<&str> {
    file_name.strip_suffix(EXTENSION).filter(|name| is_name(name))
}

/// Creates the file of a recording that begins so many seconds after 1970-01-01 UTC. Gives its name, path, and the file.
///
/// # Errors
/// If it cannot be created: the path, and what the system said.
pub(super) fn create(folder: &Path, seconds: u64, peer: &str) -> Result<(String, PathBuf, File), (PathBuf, io::Error)> {
    let base = format!("{}-{}", stamp(seconds), safe(peer));
    let mut number = 1;
    loop {
        let name = if number == 1 { base.clone() } else { format!("{base}-{number}") };
        let path = file(folder, &name);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        // Recordings are nobody else's business.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        match options.open(&path) {
            Ok(file) => return Ok((name, path, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < MOST_ALIKE => number += 1,
            Err(error) => return Err((path, error)),
        }
    }
}

/// What can be shown of a peer's name or address in a file's name.
fn safe(peer: &str) -> String {
    let mut safe = String::new();
    for character in peer.chars() {
        let good = character.is_ascii_alphanumeric() || character == '_';
        if good {
            safe.push(character);
        } else if !safe.is_empty() && !safe.ends_with('-') {
            safe.push('-');
        }
        if safe.len() == LONGEST_PEER {
            break;
        }
    }
    let safe = safe.trim_end_matches('-');
    if safe.is_empty() { "unknown".to_owned() } else { safe.to_owned() }
}

/// `YYYY-MM-DD-HHMMSS`, UTC.
fn stamp(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}-{hour:02}{minute:02}{second:02}")
}

/// Year, month and day, so many days after 1970-01-01, by the Gregorian calendar.
fn date(days: u64) -> (u64, u64, u64) {
    // Years begin with March here, so that the leap day is the last; eras are of 400 years, and begin with year 0.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // Months of 31, 30, 31, 30, 31 days, twice, and the rest.
    let month = (5 * day + 2) / 153;
    let day_of_month = day - (153 * month + 2) / 5 + 1;
    let (month, turn) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + turn, month, day_of_month)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        // As `date -u -d @SECONDS` has them.
        for (seconds, expected) in [
            (0, "1970-01-01-000000"),
            (951_782_399, "2000-02-28-235959"),
            (951_782_400, "2000-02-29-000000"),
            (951_868_800, "2000-03-01-000000"),
            (1_800_000_000, "2027-01-15-080000"),
            (4_107_542_399, "2100-02-28-235959"),
            (4_107_542_400, "2100-03-01-000000"),
        ] {
            assert_eq!(stamp(seconds), expected);
        }
        let lengths = |leap: bool| [31, 28 + u64::from(leap), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let mut day = 0;
        for year in 1970_u64..2410 {
            let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
            for (month, length) in lengths(leap).into_iter().enumerate() {
                for day_of_month in 1..=length {
                    assert_eq!(date(day), (year, month as u64 + 1, day_of_month));
                    day += 1;
                }
            }
        }
    }

    #[test]
    fn peers_are_made_safe() {
        for (peer, expected) in [
            ("ann", "ann"),
            ("Ann_B 2", "Ann_B-2"),
            ("../../etc/passwd", "etc-passwd"),
            ("[2001:db8::1]:7276", "2001-db8-1-7276"),
            ("Jürgen", "J-rgen"),
            ("", "unknown"),
            ("日本", "unknown"),
        ] {
            assert_eq!(safe(peer), expected);
        }
    }

    proptest! {
        #[test]
        fn any_peer_at_any_time_has_a_good_name(peer in "\\PC{0,80}", seconds in 0..300_000_000_000_u64) {
            let name = format!("{}-{}-{MOST_ALIKE}", stamp(seconds), safe(&peer));
            prop_assert!(is_name(&name));
            let file_name = format!("{name}.ptk");
            prop_assert_eq!(of_file(&file_name), Some(&name[..]));
            prop_assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
        }
    }

    #[test]
    fn recordings_of_the_same_second_are_numbered() {
        let folder = tempfile::tempdir().unwrap();
        let names: Vec<String> = (0..3).map(|_| create(folder.path(), 60, "a b").unwrap().0).collect();
        assert_eq!(names, ["1970-01-01-000100-a-b", "1970-01-01-000100-a-b-2", "1970-01-01-000100-a-b-3"]);
        let (path, error) = create(&folder.path().join("nowhere"), 60, "a").unwrap_err();
        assert_eq!((path.ends_with("1970-01-01-000100-a.ptk"), error.kind()), (true, io::ErrorKind::NotFound));
    }
}
