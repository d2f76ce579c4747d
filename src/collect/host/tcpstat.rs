//! TCP sockets by state. Source: inet_diag over netlink (`include/uapi/linux/inet_diag.h`); it
//! describes the network namespace we run in.

use std::path::PathBuf;
use std::time::Instant;

use crate::collect::netlink::{Netlink, NetlinkError, Protocol, u32_at};
use crate::collect::{CollectError, Collector, Pass, Spec, parse};
use crate::model::{Batch, Kind};

pub(super) static SPEC: Spec = Spec {
    name: "tcpstat",
    on_by_default: false,
    help: "TCP sockets by state, and bytes in their queues.",
    flags: &[],
    build: |host, _| {
        Ok(Box::new(TcpStat {
            ipv6: host.paths.proc("net/tcp6"),
            socket: Netlink::new(Protocol::SocketDiagnostics),
        }))
    },
};

struct TcpStat {
    /// There only on a kernel with IPv6.
    ipv6: PathBuf,
    socket: Netlink,
}

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;
/// Bytes of `struct inet_diag_req_v2`.
const REQUEST_BYTES: usize = 56;

/// Names of the states, from 1 (`include/net/tcp_states.h`).
const STATES: [&str; 12] = [
    "established",
    "syn_sent",
    "syn_recv",
    "fin_wait1",
    "fin_wait2",
    "time_wait",
    "close",
    "close_wait",
    "last_ack",
    "listen",
    "closing",
    // A request of a handshake under way, which the kernel keeps apart since 4.4.
    "syn_recv",
];

#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    /// By state, the first unused.
    states: [u64; STATES.len() + 1],
    receive_queue_bytes: u64,
    transmit_queue_bytes: u64,
    sockets: u64,
}

impl Counts {
    /// From a `struct inet_diag_msg`.
    fn add(&mut self, payload: &[u8]) {
        let (Some(state), Some(receive), Some(transmit)) =
            (payload.get(1), u32_at(payload, 56), u32_at(payload, 60))
        else {
            return;
        };
        // Twelve and three are one name.
        let state = if *state == 12 { 3 } else { usize::from(*state) };
        if let Some(count) = self.states.get_mut(state) {
            *count += 1;
        }
        self.sockets += 1;
        self.receive_queue_bytes += u64::from(receive);
        self.transmit_queue_bytes += u64::from(transmit);
    }
}

impl Collector for TcpStat {
    fn collect(&mut self, pass: &Pass, out: &mut Batch) -> Result<(), CollectError> {
        let mut counts = Counts::default();
        self.dump(AF_INET, pass.deadline, &mut counts)?;
        if self.ipv6.exists() {
            self.dump(AF_INET6, pass.deadline, &mut counts)?;
        }
        let family = out.family("node_tcp_connection_states", "TCP sockets by state; bytes in their queues.", Kind::Gauge);
        for (state, count) in STATES.iter().zip(counts.states.iter().skip(1)).filter(|(_, count)| **count > 0) {
            out.sample(family, &[("state", state)], parse::value(*count));
        }
        if counts.sockets > 0 {
            out.sample(family, &[("state", "rx_queued_bytes")], parse::value(counts.receive_queue_bytes));
            out.sample(family, &[("state", "tx_queued_bytes")], parse::value(counts.transmit_queue_bytes));
        }
        Ok(())
    }
}

impl TcpStat {
    fn dump(&mut self, family: u8, deadline: Instant, counts: &mut Counts) -> Result<(), NetlinkError> {
        let mut request = [0; REQUEST_BYTES];
        let header = [family, IPPROTO_TCP, 0, 0, 0xff, 0xff, 0xff, 0xff];
        for (byte, value) in request.iter_mut().zip(header) {
            *byte = value;
        }
        self.socket.dump(SOCK_DIAG_BY_FAMILY, &request, deadline, |kind, payload| {
            if kind == SOCK_DIAG_BY_FAMILY {
                counts.add(payload);
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Fixture;
    use super::*;

    #[test]
    fn sockets_are_counted_by_state() {
        let mut counts = Counts::default();
        for state in [1, 1, 3, 12, 10, 99] {
            let mut message = vec![0; 72];
            message[1] = state;
            message[56..60].copy_from_slice(&5_u32.to_ne_bytes());
            message[60..64].copy_from_slice(&u32::MAX.to_ne_bytes());
            counts.add(&message);
        }
        counts.add(&[0; 63]);
        assert_eq!((counts.states[1], counts.states[3], counts.states[10], counts.sockets), (2, 2, 1, 6));
        assert_eq!((counts.receive_queue_bytes, counts.transmit_queue_bytes), (30, 6 * u64::from(u32::MAX)));
    }

    #[test]
    fn a_listener_of_ours_is_seen() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let text = Fixture::new().samples("tcpstat");
        assert!(text.contains("node_tcp_connection_states{state=\"listen\"} "), "{text}");
        drop(listener);
    }
}
