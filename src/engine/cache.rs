//! Memory that will be needed is asked for ahead, while there is other work.
//!
//! The state of a thousand receivers does not fit a processor's caches beside what the kernel does
//! for each of their packets. Reading it ahead would not do: a processor does not go on for long without what
//! it reads. A prefetch instruction is a hint, without an effect that a program could see.

use branches::prefetch_read_data;

/// What processors fetch at a time.
const LINE_BYTES: usize = 64;

/// Fetches a value, all of it.
#[inline]
pub(super) fn fetch<T>(value: &T) {
    let start = std::ptr::from_ref(value).cast::<u8>();
    for offset in (0..size_of::<T>()).step_by(LINE_BYTES) {
        prefetch_read_data::<_, 0>(start.wrapping_add(offset));
    }
    // A value seldom begins where a line does.
    prefetch_read_data::<_, 0>(start.wrapping_add(size_of::<T>().saturating_sub(1)));
}

/// Fetches where the next element of a list goes, and the line after it.
#[inline]
pub(super) fn fetch_end<T>(list: &[T]) {
    let end = list.as_ptr_range().end.cast::<u8>();
    prefetch_read_data::<_, 0>(end);
    prefetch_read_data::<_, 0>(end.wrapping_add(LINE_BYTES));
}
