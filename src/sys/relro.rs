//! Tables of addresses that are written once, before main() (elf(5), `PT_GNU_RELRO`).

use std::ffi::{c_int, c_void};

use nix::libc::{
    _SC_PAGESIZE, PROT_READ, PT_GNU_RELRO, dl_iterate_phdr, dl_phdr_info, mprotect, sysconf,
};

/// Makes them read-only: a dynamic linker does, and musl's start of a static program does not.
pub fn protect() {
    extern "C" fn first(object: *mut dl_phdr_info, _: usize, _: *mut c_void) -> c_int {
        // SAFETY: it points to one object's data, with so many program headers.
        let (base, headers) = unsafe {
            let object = &*object;
            let count = usize::from(object.dlpi_phnum);
            let headers = std::slice::from_raw_parts(object.dlpi_phdr, count);
            (object.dlpi_addr as usize, headers)
        };
        // SAFETY: takes and gives numbers.
        let page = unsafe { sysconf(_SC_PAGESIZE) } as usize;
        for header in headers
            .iter()
            .filter(|header| header.p_type == PT_GNU_RELRO)
        {
            let begin = base + header.p_vaddr as usize;
            let end = begin + header.p_memsz as usize;
            // The linker lets the segment begin on a page of its own, and end at the end of one.
            let (begin, end) = (begin / page * page, end / page * page);
            // SAFETY: nothing of the segment is written from main() on.
            unsafe { mprotect(begin as *mut c_void, end.saturating_sub(begin), PROT_READ) };
        }
        // No more objects: the first is the program (ld.so(8)).
        1
    }
    // SAFETY: `first` makes no use of the data.
    unsafe { dl_iterate_phdr(Some(first), std::ptr::null_mut()) };
}
