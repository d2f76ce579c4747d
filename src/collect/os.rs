//! System calls that no safe crate offers. The only module of the program with `unsafe`.

#![expect(unsafe_code, reason = "raw system calls, each with its own safety argument")]

pub(super) mod btrfs;
pub(super) mod ethtool;

use std::io;

/// What the kernel says of its clock: `adjtimex(2)`.
pub(super) struct ClockState {
    /// The call's answer; [`libc::TIME_ERROR`] when the clock is not synchronised.
    pub(super) state: libc::c_int,
    /// The kernel's variables.
    pub(super) timex: libc::timex,
}

/// Reads the kernel's clock variables without changing them.
pub(super) fn clock_state() -> io::Result<ClockState> {
    // SAFETY: `timex` is a plain C structure of integers, for which all zeros is a valid value.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live, exclusively borrowed `timex`; `modes` 0 makes the call read only.
    let state = unsafe { libc::adjtimex(&raw mut timex) };
    if state < 0 { Err(io::Error::last_os_error()) } else { Ok(ClockState { state, timex }) }
}
