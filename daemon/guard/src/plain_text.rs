/// How many characters [`plain`] shows of a text.
pub const MOST_SHOWN: usize = 256;

/// Text that somebody else wrote, as it may be shown: one line, of at most [`MOST_SHOWN`] characters, that moves no cursor, colours
/// nothing, hides nothing, and is read in the order in which it is written.
///
/// Each character that could do otherwise becomes U+FFFD: control characters (C0, C1, DEL; Unicode's category Cc), line and paragraph
/// separators, what sets the direction of writing (UAX #9, section 2), and what shows nothing at all. Joiners (U+200C, U+200D) stay, as names
/// are spelt with them. A text that is cut ends in "...".
pub fn plain(text: &str) -> String {
    plain_up_to(text, MOST_SHOWN)
}

/// [`plain`] with another limit, for whole sentences and lists.
pub fn plain_up_to(text: &str, most: usize) -> String {
    let mut characters = text.chars().map(|c| if is_misleading(c) { char::REPLACEMENT_CHARACTER } else { c });
    let mut shown: String = characters.by_ref().take(most).collect();
    if characters.next().is_some() {
        let keep = shown.char_indices().nth(most.saturating_sub(3)).map_or(shown.len(), |(at, _)| at);
        shown.truncate(keep);
        shown.push_str("...");
    }
    shown
}

/// Text of ours with such text in it, on its way out: lines and tabs stay, and all of its length; what [`plain`] replaces is replaced.
pub fn plain_lines(text: &str) -> String {
    text.chars()
        .map(|c| if is_misleading(c) && c != '\n' && c != '\t' { char::REPLACEMENT_CHARACTER } else { c })
        .collect()
}

/// JSON text (RFC 8259) with the same characters written as `\uXXXX`: it says the same to programs, and does nothing to a terminal.
pub fn plain_json(json: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if is_misleading(c) && c != '\n' {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a string does not fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// Whether a character acts on the text around it, or cannot be seen.
fn is_misleading(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            // Soft hyphen, and blanks of Hangul and Braille that are no spaces.
            '\u{AD}' | '\u{115F}' | '\u{1160}' | '\u{3164}' | '\u{FFA0}' | '\u{2800}' | '\u{34F}' | '\u{17B4}' | '\u{17B5}'
            // Directions: marks, embeddings, overrides, isolates.
            | '\u{61C}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}'
            // No width, separators of lines, invisible operators, deprecated controls, byte order mark.
            | '\u{180B}'..='\u{180F}' | '\u{200B}' | '\u{2028}' | '\u{2029}' | '\u{2060}'..='\u{2065}' | '\u{206A}'..='\u{206F}' | '\u{FEFF}'
            // Annotations, shorthand and musical controls, tags.
            | '\u{FFF9}'..='\u{FFFB}' | '\u{1BCA0}'..='\u{1BCA3}' | '\u{1D173}'..='\u{1D17A}' | '\u{E0000}'..='\u{E0FFF}'
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_acts_on_a_terminal_or_on_reading_is_replaced() {
        let bad = [
            "\x1b[2J",
            "\x1b]0;title\x07",
            "\x1bP",
            "a\rb",
            "a\nb",
            "a\tb",
            "\x08",
            "\x7f",
            "\u{9b}31m",
            "\u{85}",
            "\u{202e}cod.exe",
            "\u{2066}",
            "\u{2069}",
            "\u{200e}",
            "\u{61c}",
            "\u{2028}",
            "\u{200b}",
            "\u{feff}",
            "\u{e0041}",
        ];
        for text in bad {
            let shown = plain(text);
            assert_eq!(shown.chars().count(), text.chars().count());
            assert!(shown.contains('\u{fffd}') && !shown.chars().any(is_misleading), "{text:?} is shown as {shown:?}");
        }
        // What people are called stays as it is.
        for name in
            ["Ann", "Zoë", "Jürgen Groß", "李小龍", "نرگس\u{200c}خانم", "अनुष्का", "👩\u{200d}🚀", "a b", "~/x.ptk"]
        {
            assert_eq!(plain(name), name);
        }
    }

    #[test]
    fn whole_lines_and_json_keep_what_they_say() {
        assert_eq!(plain_lines("a\tb\nc\x1b[2J\u{202e}d\r\n"), "a\tb\nc\u{fffd}[2J\u{fffd}d\u{fffd}\n");
        assert_eq!(plain_json("{\n \"a\u{202e}\u{7f}\u{e0041}é\": 1}"), "{\n \"a\\u202e\\u007f\\udb40\\udc41é\": 1}");
    }

    #[test]
    fn a_long_text_is_cut_where_it_says_so() {
        assert_eq!(plain(&"é".repeat(MOST_SHOWN)), "é".repeat(MOST_SHOWN));
        let cut = plain(&"é".repeat(MOST_SHOWN + 1));
        assert_eq!(cut, format!("{}...", "é".repeat(MOST_SHOWN - 3)));
        assert_eq!(plain_up_to("abcdef", 5), "ab...");
    }

    proptest! {
        #[test]
        fn nothing_shown_misleads_or_is_long(text in any::<String>(), more in "\\PC{0,400}") {
            for text in [&text, &more] {
                let shown = plain(text);
                prop_assert!(!shown.chars().any(is_misleading));
                prop_assert!(shown.chars().count() <= MOST_SHOWN);
                prop_assert_eq!(&plain(&shown), &shown);
            }
        }
    }
}
