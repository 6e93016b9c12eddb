use proptest::prelude::*;

use super::*;

#[test]
fn the_text_is_as_it_always_was() {
    let zero = Ticket::from_bytes([0; 16]);
    assert_eq!(zero.to_string().len(), 34);
    let ticket = Ticket::from_bytes(*b"a shared secret!");
    // Made also by a program in another language, from the description alone.
    assert_eq!(ticket.to_string(), "c4g76-t31e9-jp883-kcnhq-4sbm4-5pxt");
    assert_eq!(ticket.to_string().to_uppercase().replace('-', "").replace('0', "O").parse(), Ok(ticket));
    assert_eq!(format!("{ticket:?}"), "Ticket(..)");
}

#[test]
fn nonsense_is_refused() {
    assert_eq!("".parse::<Ticket>(), Err(TicketError::Length(0)));
    assert_eq!("0".repeat(30).parse::<Ticket>(), Err(TicketError::Length(30)));
    assert_eq!("u".parse::<Ticket>(), Err(TicketError::Sign('u')));
    assert_eq!("7\u{e9}".parse::<Ticket>(), Err(TicketError::Sign('\u{e9}')));
    assert_eq!(("0".repeat(28) + "1").parse::<Ticket>(), Err(TicketError::Check));
}

proptest! {
    #[test]
    fn text_and_bytes_are_the_same(bytes: [u8; 16]) {
        let ticket = Ticket::from_bytes(bytes);
        prop_assert_eq!(ticket.to_string().parse(), Ok(ticket));
    }

    #[test]
    fn one_wrong_letter_is_noticed(bytes: [u8; 16], at in 0..CHARACTERS, digit in 0..32_usize) {
        let ticket = Ticket::from_bytes(bytes);
        let mut text = ticket.to_string().replace('-', "").into_bytes();
        let letter = ALPHABET[digit];
        prop_assume!(text[at] != letter);
        text[at] = letter;
        prop_assert_eq!(String::from_utf8(text).unwrap().parse::<Ticket>(), Err(TicketError::Check));
    }

    #[test]
    fn any_text_may_come(text: String) {
        let _ = text.parse::<Ticket>();
    }
}
