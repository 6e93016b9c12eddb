//! Which rows the screen has.

/// A part of the screen, from top to bottom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Title,
    Tabs,
    Microphone,
    Loudspeaker,
    Sending,
    Wire,
    Loss,
    Delay,
    Bits,
    Heard,
    Notices,
    Keys,
}

/// How a part grows.
struct Wish {
    part: Part,
    /// Which part gets its first row before which: less is sooner.
    first: u8,
    /// Rows that it has use for.
    most: u16,
}

const WISHES: [Wish; 12] = [
    Wish { part: Part::Title, first: 0, most: 1 },
    Wish { part: Part::Tabs, first: 2, most: 1 },
    Wish { part: Part::Microphone, first: 3, most: 1 },
    Wish { part: Part::Loudspeaker, first: 4, most: 1 },
    Wish { part: Part::Sending, first: 11, most: 1 },
    Wish { part: Part::Wire, first: 6, most: 2 },
    Wish { part: Part::Loss, first: 7, most: 1 },
    Wish { part: Part::Delay, first: 8, most: 2 },
    Wish { part: Part::Bits, first: 10, most: 6 },
    Wish { part: Part::Heard, first: 9, most: 2 },
    Wish { part: Part::Notices, first: 5, most: 4 },
    Wish { part: Part::Keys, first: 1, most: 1 },
];

/// Parts, in order, with their rows: at most `height` in all.
pub(super) fn plan(height: u16, tabs: bool) -> Vec<(Part, u16)> {
    let mut rows = [0_u16; WISHES.len()];
    let mut left = height;
    let wanted = |index: usize| tabs || WISHES[index].part != Part::Tabs;
    let mut order: Vec<usize> = (0..WISHES.len()).filter(|&index| wanted(index)).collect();
    order.sort_by_key(|&index| WISHES[index].first);
    for &index in &order {
        if left > 0 {
            rows[index] = 1;
            left -= 1;
        }
    }
    // Legends before taller pictures.
    for most in 2..=6 {
        for &index in &order {
            if left > 0 && rows[index] > 0 && rows[index] < WISHES[index].most.min(most) {
                rows[index] += 1;
                left -= 1;
            }
        }
    }
    WISHES.iter().zip(rows).filter(|(_, rows)| *rows > 0).map(|(wish, rows)| (wish.part, rows)).collect()
}
