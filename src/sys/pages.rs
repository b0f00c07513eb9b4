//! Memory that was used once and is not now: of the stack, and of buffers.

use std::hint::black_box;
use std::mem::MaybeUninit;

use nix::libc::{_SC_PAGESIZE, MADV_DONTNEED, c_void, madvise, sysconf};

/// How deep the stack is given back, bytes. A login goes some 100 KiB deep.
const DEPTH: usize = 1024 * 1024;

/// Gives the pages below this call back to the kernel, which has them zeroed before anybody sees them
/// again: reading configuration and keys goes deep once, and the tunnel then lives for years in a few
/// pages.
#[inline(never)]
pub fn give_back_stack() {
    let here = 0_u8;
    let page = page_bytes();
    // A whole page stays below this frame, for the call itself and for what the ABI lets a function use
    // below its frame.
    let end = (black_box(&raw const here) as usize / page).saturating_sub(1) * page;
    let begin = end.saturating_sub(DEPTH);
    // SAFETY: nothing below the frame of the function that runs is in use; the stack grows down, and the
    // kernel keeps other mappings out of the reach of its largest size (128 MiB and more), so that there is
    // nothing else in the range. What of it is not mapped is left alone.
    unsafe { madvise(begin as *mut c_void, end - begin, MADV_DONTNEED) };
}

/// What may have any bytes in it, zeros among them.
///
/// # Safety
/// Every pattern of bits is a value of the type.
pub unsafe trait Bytes {}
// SAFETY: a number.
unsafe impl Bytes for u8 {}
// SAFETY: nothing is asked of it.
unsafe impl Bytes for MaybeUninit<u8> {}

/// Gives the whole pages of `unused` back to the kernel; what is in them afterwards is of no interest.
pub fn give_back<T: Bytes>(unused: &mut [T]) {
    let page = page_bytes();
    let range = unused.as_mut_ptr_range();
    let begin = (range.start as usize).next_multiple_of(page);
    let end = range.end as usize / page * page;
    if begin < end {
        // SAFETY: the pages are wholly inside of what is lent here, and are the allocator's, so that they read
        // as zeros from now on, which every `Bytes` may be.
        unsafe { madvise(begin as *mut c_void, end - begin, MADV_DONTNEED) };
    }
}

fn page_bytes() -> usize {
    // SAFETY: takes and gives numbers.
    unsafe { sysconf(_SC_PAGESIZE) as usize }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[inline(never)]
    fn touch() -> u8 {
        let used = [7_u8; 300 * 1024];
        black_box(&used)[black_box(1000)]
    }

    /// What of this thread's stack is in memory, KiB.
    fn resident() -> u64 {
        let here = 0_u8;
        resident_at(black_box(&raw const here))
    }

    /// What of the mapping at an address is in memory, KiB.
    fn resident_at<T>(address: *const T) -> u64 {
        let here = address as u64;
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap_or_default();
        let mut inside = false;
        for line in maps.lines() {
            let range = line
                .split(' ')
                .next()
                .and_then(|range| range.split_once('-'));
            let number = |text| u64::from_str_radix(text, 16).ok();
            if let Some((Some(from), Some(to))) = range.map(|(a, b)| (number(a), number(b))) {
                inside = (from..to).contains(&here);
            } else if inside && let Some(size) = line.strip_prefix("Anonymous:") {
                let size = size.trim().trim_end_matches(" kB");
                return size.parse().unwrap_or_default();
            }
        }
        0
    }

    #[test]
    fn what_a_deep_call_touched_is_given_back_and_the_caller_goes_on() {
        let own = [9_u8; 5000];
        assert_eq!(touch(), 7);
        let before = resident();
        give_back_stack();
        let after = resident();
        assert!(
            before >= 300 && after + 250 < before,
            "{before} KiB, then {after}"
        );
        assert_eq!(black_box(&own), &[9; 5000]);
        assert_eq!(touch(), 7);
    }

    #[test]
    fn the_pages_of_a_buffer_are_given_back_and_its_neighbours_are_left() {
        let mut buffer = vec![5_u8; 2 * 1024 * 1024];
        let before = resident_at(buffer.as_ptr());
        let (kept, unused) = buffer.split_at_mut(10_000);
        give_back(unused);
        assert!(kept.iter().all(|byte| *byte == 5));
        let after = resident_at(buffer.as_ptr());
        assert!(
            before >= 2048 && after + 1900 < before,
            "{before} KiB, then {after}"
        );
        assert_eq!(black_box(&buffer)[1024 * 1024], 0);
    }

    #[test]
    fn less_than_a_page_is_left_alone() {
        let mut small = [5_u8; 100];
        give_back(&mut small);
        give_back::<u8>(&mut []);
        assert_eq!(small, [5; 100]);
    }
}
