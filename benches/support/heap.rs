//! Counts what is allocated: bytes alive, the most there were, and how often. Knows nothing of what they are for.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The system's allocator with counters; to be the binary's `#[global_allocator]`.
pub struct Counting;

static ALIVE: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);
static TIMES: AtomicUsize = AtomicUsize::new(0);

fn more(bytes: usize) {
    let alive = ALIVE.fetch_add(bytes, Relaxed) + bytes;
    MOST.fetch_max(alive, Relaxed);
    TIMES.fetch_add(1, Relaxed);
}

// SAFETY: every call goes on to the system's allocator unchanged; the counters allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        more(layout.size());
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        more(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        more(size);
        ALIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        ALIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

/// Returns the bytes alive now.
pub fn alive() -> usize {
    ALIVE.load(Relaxed)
}

/// Returns the most bytes alive since [`reset`].
pub fn most() -> usize {
    MOST.load(Relaxed)
}

/// Returns how often memory was asked for so far.
pub fn times() -> usize {
    TIMES.load(Relaxed)
}

/// Begins to look for the most anew.
pub fn reset() {
    MOST.store(alive(), Relaxed);
}
