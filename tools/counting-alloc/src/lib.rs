//! A global allocator that counts what each thread allocates.
//!
//! ```text
//! device, file <-> sample <-> token <-> byte <-> packet <-> network
//! ```
//!
//! It is no step of this path, but looks at all of them: tests and benches see by [`allocations`] that the steps which run in a call's threads
//! allocate nothing. It counts calls of the allocator, not bytes.
//!
//! ```
//! #[global_allocator]
//! static COUNTING: counting_alloc::Counting = counting_alloc::Counting;
//!
//! let before = counting_alloc::allocations();
//! let something = vec![0_u8; 10];
//! assert_eq!(counting_alloc::allocations() - before, 1);
//! # drop(something);
//! ```

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, counted.
#[derive(Debug)]
pub struct Counting;

/// Allocations of the calling thread so far, reallocations included.
pub fn allocations() -> u64 {
    ALLOCATIONS.with(Cell::get)
}

// SAFETY: every call is passed on unchanged to the system's allocator, which keeps the contract; counting in a
// const-initialised thread-local without a destructor neither allocates nor unwinds. (`realloc` and `alloc_zeroed` come
// through `alloc` by the trait's own default.)
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(pointer, layout) }
    }
}
