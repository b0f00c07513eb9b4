//! Memory that is wiped when it is freed, while private keys are read.
//!
//! What is ours wipes itself (`Zeroizing`). ring does not: it frees the private exponent and a
//! copy of a prime as they are. So it is the allocator that wipes, from beginning to end of a
//! load; afterwards freeing costs what it costs everywhere.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, Ordering};

use zeroize::Zeroize;

/// The system's allocator, wiping while it is told to.
struct Wiping;

#[global_allocator]
static ALLOCATOR: Wiping = Wiping;
/// One thread sets it, reads keys, and clears it.
static WIPES: AtomicBool = AtomicBool::new(false);

/// How deep reading a key goes, bytes: frames are several times as large in a debug build.
const DEPTH: usize = if cfg!(debug_assertions) { 256 } else { 48 } * 1024;

/// Runs `work`; what it frees is wiped, and what it left on the stack. The supervisor never goes as
/// deep again, so nothing else would overwrite that.
pub fn what_is_freed_by<T>(work: impl FnOnce() -> T) -> T {
    WIPES.store(true, Ordering::Relaxed);
    let result = work();
    WIPES.store(false, Ordering::Relaxed);
    wipe_stack();
    result
}

/// Overwrites the part of the stack that deeper calls have used.
#[inline(never)]
fn wipe_stack() {
    let mut used = [0xff; DEPTH];
    used.zeroize();
    std::hint::black_box(&used);
}

/// # Safety
/// The `size` bytes at `block` are allocated, and nobody reads them any more.
unsafe fn wipe(block: *mut u8, size: usize) {
    for at in 0..size {
        // SAFETY: within the block, by the contract above. Volatile, since nobody reads it.
        unsafe { block.add(at).write_volatile(0) };
    }
}

// SAFETY: every block comes from `System` with the layout that was asked for, and goes back to it
// with the same; nothing here allocates or panics.
unsafe impl GlobalAlloc for Wiping {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the same.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if WIPES.load(Ordering::Relaxed) {
            // SAFETY: the block has this size, and its owner has done with it.
            unsafe { wipe(block, layout.size()) };
        }
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !WIPES.load(Ordering::Relaxed) {
            // SAFETY: the caller keeps the contract, which is the same.
            return unsafe { System.realloc(block, layout, size) };
        }
        // SAFETY: the caller promises that `size` is not zero and fits a layout of this
        // alignment; the old block is valid for the smaller of both sizes and does not overlap
        // the new one. It is freed only if there is a new one.
        unsafe {
            let new = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if !new.is_null() {
                std::ptr::copy_nonoverlapping(block, new, size.min(layout.size()));
                self.dealloc(block, layout);
            }
            new
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_that_grows_and_is_freed_keeps_its_bytes_to_itself() {
        let text = what_is_freed_by(|| {
            let mut text = Vec::with_capacity(1);
            for byte in 0..=255u8 {
                text.push(byte);
            }
            text.shrink_to_fit();
            text
        });
        assert!(text.iter().copied().eq(0..=255));
        let mut block = [7u8; 64];
        // SAFETY: the block is this array.
        unsafe { wipe(block.as_mut_ptr(), block.len()) };
        assert_eq!(block, [0; 64]);
    }
}
