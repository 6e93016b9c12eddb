//! Which part of a file a request asks for (RFC 9110, section 14).

use axum::http::{HeaderMap, header};

/// What is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// All of it.
    Whole,
    /// From the first byte up to the last, both included.
    Bytes {
        /// The first.
        first: u64,
        /// The last.
        last: u64,
    },
    /// Nothing: what is asked for lies behind the end.
    Beyond,
}

/// What the heads of a GET ask for of a file of so many bytes, whose strong tag is this. What is no range of bytes, or several, is passed
/// over, as section 14.2 allows.
pub(super) fn part(heads: &HeaderMap, bytes: u64, tag: &str) -> Part {
    let one = |name| heads.get(name).and_then(|value| value.to_str().ok());
    // What was got before is of another state of the file: all is sent anew (section 13.1.5).
    if heads.contains_key(header::IF_RANGE) && one(header::IF_RANGE) != Some(tag) {
        return Part::Whole;
    }
    if heads.get_all(header::RANGE).iter().count() > 1 {
        return Part::Whole;
    }
    one(header::RANGE).map_or(Part::Whole, |range| parse(range, bytes).unwrap_or(Part::Whole))
}

fn parse(range: &str, bytes: u64) -> Option<Part> {
    let (unit, range) = range.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = range.trim().split_once('-')?;
    let number = |text: &str| match text.bytes().all(|digit| digit.is_ascii_digit()) && !text.is_empty() {
        // More than fits is more than there is.
        true => Some(text.parse().unwrap_or(u64::MAX)),
        false => None,
    };
    let end = bytes.checked_sub(1);
    let part = match (first.trim_end(), last.trim_start()) {
        // The last so many.
        ("", count) => match (number(count)?, end) {
            (1.., Some(end)) => Part::Bytes { first: bytes.saturating_sub(number(count)?), last: end },
            _ => Part::Beyond,
        },
        (first, "") => between(number(first)?, u64::MAX, end),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            if last < first {
                return None;
            }
            between(first, last, end)
        }
    };
    Some(part)
}

fn between(first: u64, last: u64, end: Option<u64>) -> Part {
    match end {
        Some(end) if first <= end => Part::Bytes { first, last: last.min(end) },
        _ => Part::Beyond,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn asked(range: &str, bytes: u64) -> Part {
        let mut heads = HeaderMap::new();
        heads.insert(header::RANGE, HeaderValue::from_str(range).unwrap());
        part(&heads, bytes, "\"a\"")
    }

    #[test]
    fn ranges_are_those_of_the_rfc() {
        let bytes = |first, last| Part::Bytes { first, last };
        for (range, expected) in [
            ("bytes=0-0", bytes(0, 0)),
            ("bytes=0-", bytes(0, 9)),
            ("bytes=3-5", bytes(3, 5)),
            ("Bytes=3-99999999999999999999999", bytes(3, 9)),
            ("bytes=-3", bytes(7, 9)),
            ("bytes=-30", bytes(0, 9)),
            ("bytes=9-", bytes(9, 9)),
            ("bytes=10-", Part::Beyond),
            ("bytes=99999999999999999999999-", Part::Beyond),
            ("bytes=-0", Part::Beyond),
            // No ranges, or several.
            ("bytes=5-3", Part::Whole),
            ("bytes=a-", Part::Whole),
            ("bytes=-", Part::Whole),
            ("bytes=+1-2", Part::Whole),
            ("bytes=0-1,3-4", Part::Whole),
            ("seconds=0-1", Part::Whole),
            ("", Part::Whole),
        ] {
            assert_eq!(asked(range, 10), expected, "{range}");
        }
        assert_eq!(asked("bytes=0-", 0), Part::Beyond);
        assert_eq!(part(&HeaderMap::new(), 10, "\"a\""), Part::Whole);
    }

    #[test]
    fn a_part_of_another_state_of_the_file_is_not_given() {
        for (tag, expected) in
            [("\"a\"", Part::Bytes { first: 1, last: 2 }), ("\"b\"", Part::Whole), ("W/\"a\"", Part::Whole)]
        {
            let mut heads = HeaderMap::new();
            heads.insert(header::RANGE, HeaderValue::from_static("bytes=1-2"));
            heads.insert(header::IF_RANGE, HeaderValue::from_str(tag).unwrap());
            assert_eq!(part(&heads, 10, "\"a\""), expected, "{tag}");
        }
    }

    proptest! {
        #[test]
        fn what_is_given_lies_in_the_file(range in "(bytes=)?[0-9]{0,21}-?[0-9]{0,21}(,[0-9]-)?|[ -~]{0,30}", bytes: u64) {
            if let Part::Bytes { first, last } = asked(&range, bytes) {
                prop_assert!(first <= last && last < bytes);
            }
        }
    }
}
