//! What goes in comes out, in order, or is counted where it is missing.

use futures_util::FutureExt;
use proptest::prelude::*;

use super::*;

/// What may happen to a queue.
#[derive(Debug, Clone, Copy)]
enum Step {
    Push,
    PushKept,
    Take,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![8 => Just(Step::Push), 1 => Just(Step::PushKept), 6 => Just(Step::Take)];
    prop::collection::vec(step, 0..400)
}

/// Reads on: every number is the next, or a gap of the right width stands before it. Kept items have odd numbers.
#[derive(Default)]
struct Reader {
    /// The droppable item that is expected next.
    next: u64,
    last_kept: Option<u64>,
    missed: u64,
}

impl Reader {
    fn read(&mut self, taken: Taken<(bool, u64)>) {
        match taken {
            Taken::Missed(count) => {
                assert!(count > 0);
                self.next += count;
                self.missed += count;
            }
            Taken::Item((false, number)) => {
                assert_eq!(number, self.next, "in order, with gaps told where they are");
                self.next += 1;
            }
            Taken::Item((true, number)) => {
                assert!(self.last_kept.is_none_or(|last| last < number));
                self.last_kept = Some(number);
            }
        }
    }
}

proptest! {
    #[test]
    fn every_item_comes_once_in_order_or_is_counted_as_missing(room in 1_usize..12, steps in steps()) {
        let (inlet, mut outlet) = queue(room);
        let mut reader = Reader::default();
        let (mut pushed, mut kept, mut dropped) = (0, 0, 0);
        for step in steps {
            match step {
                Step::Push => {
                    dropped += inlet.push((false, pushed));
                    pushed += 1;
                }
                Step::PushKept => {
                    dropped += inlet.push_kept((true, kept));
                    kept += 1;
                }
                Step::Take => if let Some(taken) = outlet.take() {
                    reader.read(taken);
                },
            }
            prop_assert!(inlet.0.lock().entries.len() <= room, "never longer than its room");
        }
        drop(inlet);
        while let Some(taken) = outlet.take() {
            reader.read(taken);
        }
        // A gap at the very end has nothing after it to stand before: only a kept item can follow it unseen.
        prop_assert_eq!(reader.next, pushed);
        prop_assert_eq!(reader.missed, dropped);
    }

    #[test]
    fn what_is_kept_outlives_what_is_not(room in 2_usize..12, many in 0_u64..100) {
        let (inlet, mut outlet) = queue(room);
        inlet.push_kept((true, 0));
        for number in 0..many {
            inlet.push((false, number));
        }
        prop_assert_eq!(outlet.take(), Some(Taken::Item((true, 0))));
        let most = room as u64 - 1;
        if many > most {
            prop_assert_eq!(outlet.take(), Some(Taken::Missed(many - most)));
        }
    }
}

#[tokio::test]
async fn whoever_waits_is_woken_and_told_of_the_end() {
    let (inlet, mut outlet) = queue(4);
    let reading = tokio::spawn(async move {
        let mut all = Vec::new();
        while let Some(taken) = outlet.next().await {
            all.push(taken);
        }
        all
    });
    for number in 0..3 {
        tokio::task::yield_now().await;
        inlet.push(number);
    }
    drop(inlet);
    assert_eq!(reading.await.unwrap(), [0, 1, 2].map(Taken::Item));
}

#[tokio::test]
async fn nothing_is_lost_when_waiting_is_given_up() {
    let (inlet, mut outlet) = queue(4);
    for number in 0..50 {
        assert!(outlet.next().now_or_never().is_none());
        inlet.push(number);
        assert_eq!(outlet.next().await, Some(Taken::Item(number)));
    }
}

#[test]
fn whoever_has_left_takes_nothing_along() {
    let (inlet, outlet) = queue(2);
    let item = Arc::new(());
    inlet.push(Arc::clone(&item));
    assert!(!inlet.is_left());
    drop(outlet);
    assert!(inlet.is_left());
    assert_eq!(inlet.push(Arc::clone(&item)), 0);
    assert_eq!(Arc::strong_count(&item), 1);
}

#[test]
fn a_reader_on_another_thread_gets_everything_or_its_count() {
    let (inlet, mut outlet) = queue(16);
    let total = 100_000_u64;
    let writer = std::thread::spawn(move || (0..total).map(|number| inlet.push((false, number))).sum::<u64>());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut reader = Reader::default();
    runtime.block_on(async {
        while let Some(taken) = outlet.next().await {
            reader.read(taken);
        }
    });
    assert_eq!((reader.next, reader.missed), (total, writer.join().unwrap()));
}
