//! A management library of NVIDIA's without a GPU: the calls that the gpu collector makes, with the answers of
//! a scenario file, which the environment variable `FAKE_NVML` names and which is read again when it changes.
//!
//! ```text
//! driver 580.95.05                    what the whole driver says
//! xid 1 79                            an event of GPU 1, told once
//! [gpu]                               the lines of one GPU
//! uuid GPU-1                          or any key below
//! nvmlDeviceGetPowerUsage 72743       one call's answer, by its name
//! nvmlDeviceGetClockInfo.1 345        ... for a choice
//! nvmlDeviceGetPcieReplayCounter 7+2  a counter that moves by 2 each time it is asked
//! field.82 38                         a field's value; field.138.all for all links
//! gpm.5 92.5                          a performance monitor metric
//! process 4711 1048576 2              pid, bytes, MIG instance
//! used 4711 97 29 0 0                 pid and percent of SM, memory, encoder, decoder
//! error 15                            all calls fail so; for one call: nvmlDeviceGetPowerUsage error 15
//! wait error 15                       waits for events fail so, of a queue that this GPU is registered with
//! hang                                all calls wait until the file says otherwise
//! [instance]                          the lines of a MIG instance of the GPU above
//! ```
//!
//! What a scenario does not say is not supported. Invariant: nothing here panics into its caller's C frames.

#![expect(unsafe_code, reason = "a C library: raw pointers from a caller that keeps nvml.h's contract")]
#![allow(non_snake_case, reason = "names of nvml.h")]
#![allow(clippy::missing_safety_doc, missing_docs, reason = "documented by nvml.h")]
#![allow(clippy::cast_precision_loss, clippy::cast_sign_loss, reason = "numbers of a scenario are small")]
#![allow(clippy::cast_possible_truncation, reason = "as above")]

mod calls;
mod scenario;
