//! Buffers between pages that nobody may touch.

#![expect(unsafe_code, reason = "maps memory")]

use std::ops::{Deref, DerefMut};

/// At which end of the buffer the forbidden page begins at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::kernels::nhwc) enum Side {
    Start,
    End,
}

/// Numbers with a forbidden page before and after them, of which one is adjacent.
pub(in crate::kernels::nhwc) struct Guarded<T> {
    mapping: *mut u8,
    mapped: usize,
    values: *mut T,
    len: usize,
}

impl<T: Copy> Guarded<T> {
    pub(in crate::kernels::nhwc) fn new(side: Side, values: &[T]) -> Self {
        let page = 4096;
        let bytes = size_of_val(values);
        let inner = bytes.div_ceil(page).max(1) * page;
        let mapped = inner + 2 * page;
        let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a mapping of its own, of which the middle stays accessible; the values lie in the middle.
        unsafe {
            let mapping = libc::mmap(std::ptr::null_mut(), mapped, access, flags, -1, 0).cast::<u8>();
            assert_ne!(mapping.cast(), libc::MAP_FAILED);
            assert_eq!(libc::mprotect(mapping.cast(), page, libc::PROT_NONE), 0);
            assert_eq!(libc::mprotect(mapping.add(page + inner).cast(), page, libc::PROT_NONE), 0);
            let start = if side == Side::Start { page } else { page + inner - bytes };
            let guarded = Self { mapping, mapped, values: mapping.add(start).cast(), len: values.len() };
            guarded.values.copy_from_nonoverlapping(values.as_ptr(), values.len());
            guarded
        }
    }
}

impl<T> Deref for Guarded<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `len` values were written there.
        unsafe { std::slice::from_raw_parts(self.values, self.len) }
    }
}

impl<T> DerefMut for Guarded<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.values, self.len) }
    }
}

impl<T> Drop for Guarded<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`.
        unsafe { libc::munmap(self.mapping.cast(), self.mapped) };
    }
}
