//! What stands in paths.

use proptest::prelude::*;

use super::escape;

/// Undoes percent-encoding as RFC 3986, section 2.1 has it.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next().unwrap(), rest.next().unwrap()];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap());
        } else {
            bytes.push(byte);
        }
    }
    bytes
}

#[test]
fn names_cannot_leave_their_segment() {
    assert_eq!(escape("ada-1_2.b~"), "ada-1_2.b~");
    assert_eq!(escape("a/b?c#d%e f"), "a%2Fb%3Fc%23d%25e%20f");
    assert_eq!(escape("é"), "%C3%A9");
    assert_eq!((escape("."), escape(".."), escape("...")), ("%2E".into(), "%2E%2E".into(), "...".into()));
}

proptest! {
    #[test]
    fn any_name_comes_back(name in ".*") {
        let escaped = escape(&name);
        prop_assert!(escaped.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~%".contains(&byte)));
        prop_assert_eq!(unescape(&escaped), name.into_bytes());
    }
}
