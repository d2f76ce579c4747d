//! ICMP: an echo, and how long its reply takes.
//!
//! By a raw socket where the program may have one, else by a datagram socket, which Linux gives to the groups of
//! `net.ipv4.ping_group_range`. Source: RFC 792, RFC 4443; icmp(7).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Instant;

use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};
use tokio::net::UdpSocket;

use super::module::IcmpModule;
use super::report::{ICMP_DURATION, ICMP_HOPS, Report};
use crate::checks::net;
use crate::http_client::system_text;

const ECHO_V4: u8 = 8;
const REPLY_V4: u8 = 0;
const ECHO_V6: u8 = 128;
const REPLY_V6: u8 = 129;

/// Type, code, checksum, identifier, sequence number.
const HEADER_BYTES: usize = 8;

/// Tells replies to probes at the same time apart.
static SEQUENCE: AtomicU16 = AtomicU16::new(1);

struct Socket {
    io: UdpSocket,
    /// What comes in begins with the header of IP.
    raw_v4: bool,
    /// The kernel sets the identifier of a datagram socket itself, and gives only replies to it.
    raw: bool,
}

pub(super) async fn run(module: &IcmpModule, target: &str, report: &mut Report) -> Result<(), String> {
    let (address, took) = net::resolve(target, module.family).await;
    report.phase(ICMP_DURATION, "resolve", took);
    let address = report.resolved(address, took)?;
    let began = Instant::now();
    let socket = open(address, module).map_err(|error| {
        let why = system_text(&error);
        format!(
            "no socket for ICMP: {why}; give CAP_NET_RAW, or let net.ipv4.ping_group_range hold the group"
        )
    })?;
    let identifier = u16::try_from(std::process::id() & 0xffff).unwrap_or(1);
    let sequence = SEQUENCE.fetch_add(1, Ordering::Relaxed);
    let sent = echo(address, identifier, sequence, module.payload_size);
    report.phase(ICMP_DURATION, "setup", began.elapsed());
    let began = Instant::now();
    let failed = |error: io::Error| format!("{address}: {}", system_text(&error));
    socket.io.send_to(&sent, SocketAddr::new(address, 0)).await.map_err(failed)?;
    let mut buffer = vec![0; HEADER_BYTES + 60 + module.payload_size + 256];
    loop {
        let (length, from) = socket.io.recv_from(&mut buffer).await.map_err(failed)?;
        if socket.raw && from.ip() != address {
            continue;
        }
        let message = buffer.get(..length).unwrap_or_default();
        if let Some(hops) = socket.reply(message, address, identifier, sequence) {
            report.phase(ICMP_DURATION, "rtt", began.elapsed());
            if let Some(hops) = hops {
                report.set(ICMP_HOPS, f64::from(hops));
            }
            return Ok(());
        }
    }
}

fn open(address: IpAddr, module: &IcmpModule) -> io::Result<Socket> {
    let (family, protocol) = match address {
        IpAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP),
        IpAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6),
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let open = |kind| rustix::net::socket_with(family, kind, flags, Some(protocol));
    let (fd, raw) = match open(SocketType::RAW) {
        Ok(fd) => (fd, true),
        Err(_) => (open(SocketType::DGRAM)?, false),
    };
    if let Some(ttl) = module.ttl {
        match address {
            IpAddr::V4(_) => sockopt::set_ip_ttl(fd.as_fd(), u32::from(ttl))?,
            IpAddr::V6(_) => sockopt::set_ipv6_unicast_hops(fd.as_fd(), Some(ttl))?,
        }
    }
    if module.dont_fragment && address.is_ipv4() {
        // The flag is set, and what is too long for a network on the way is told, not what is remembered of it.
        sockopt::set_ip_mtu_discover(fd.as_fd(), sockopt::Ipv4PathMtuDiscovery::PROBE)?;
    }
    if let Some(source) = module.source {
        rustix::net::bind(fd.as_fd(), &SocketAddr::new(source, 0))?;
    }
    // It sends and receives datagrams with addresses; that is all that a socket of UDP is asked for.
    let io = UdpSocket::from_std(std::net::UdpSocket::from(fd))?;
    Ok(Socket { io, raw_v4: raw && address.is_ipv4(), raw })
}

fn echo(address: IpAddr, identifier: u16, sequence: u16, payload: usize) -> Vec<u8> {
    let kind = if address.is_ipv4() { ECHO_V4 } else { ECHO_V6 };
    let mut message = vec![kind, 0, 0, 0];
    message.extend(identifier.to_be_bytes());
    message.extend(sequence.to_be_bytes());
    message.extend(b"Outrigger".iter().copied().cycle().take(payload));
    // Of version 6 the kernel sums itself.
    if address.is_ipv4() {
        let sum = checksum(&message).to_be_bytes();
        if let Some(place) = message.get_mut(2..4) {
            place.copy_from_slice(&sum);
        }
    }
    message
}

/// RFC 1071.
fn checksum(message: &[u8]) -> u16 {
    let words = message.chunks(2).map(|pair| {
        let high = pair.first().copied().unwrap_or(0);
        u32::from(u16::from_be_bytes([high, pair.get(1).copied().unwrap_or(0)]))
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

impl Socket {
    /// Whether this is the reply, and how many hops it had left if that is told.
    fn reply(&self, message: &[u8], address: IpAddr, identifier: u16, sequence: u16) -> Option<Option<u8>> {
        reply(message, self.raw_v4, address.is_ipv4(), self.raw.then_some(identifier), sequence)
    }
}

fn reply(
    message: &[u8],
    raw_v4: bool,
    v4: bool,
    identifier: Option<u16>,
    sequence: u16,
) -> Option<Option<u8>> {
    let (hops, message) = if raw_v4 {
        let header = usize::from(message.first()? & 0x0f) * 4;
        (Some(*message.get(8)?), message.get(header..)?)
    } else {
        (None, message)
    };
    let [kind, 0, _, _, id_high, id_low, high, low] = *message.first_chunk::<HEADER_BYTES>()? else {
        return None;
    };
    let ours = identifier.is_none_or(|identifier| u16::from_be_bytes([id_high, id_low]) == identifier);
    let wanted = if v4 { REPLY_V4 } else { REPLY_V6 };
    (kind == wanted && ours && u16::from_be_bytes([high, low]) == sequence).then_some(hops)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where neither kind of socket is allowed, there is nothing to look at.
    #[tokio::test]
    async fn packets_stay_whole_if_they_must() {
        let family = net::Family::default();
        for (dont_fragment, address) in [(true, "127.0.0.1"), (false, "127.0.0.1"), (true, "::1")] {
            let module = IcmpModule { family, source: None, payload_size: 0, ttl: None, dont_fragment };
            let address: IpAddr = address.parse().unwrap();
            let Ok(socket) = open(address, &module) else { continue };
            if address.is_ipv4() {
                let set = sockopt::ip_mtu_discover(&socket.io).unwrap();
                assert_eq!(set == sockopt::Ipv4PathMtuDiscovery::PROBE, dont_fragment);
            }
        }
    }

    #[test]
    fn echoes_and_replies() {
        let v4: IpAddr = [127, 0, 0, 1].into();
        let sent = echo(v4, 0x1234, 7, 3);
        assert_eq!((sent.len(), checksum(&sent)), (11, 0));
        assert_eq!(echo([0_u16; 8].into(), 1, 1, 0), [128, 0, 0, 0, 0, 1, 0, 1]);
        let back = [&[0, 0, 0, 0], sent.get(4..).unwrap()].concat();
        assert_eq!(reply(&back, false, true, Some(0x1234), 7), Some(None));
        assert_eq!(reply(&back, false, true, None, 7), Some(None));
        assert_eq!(reply(&back, false, true, Some(0x1235), 7), None);
        assert_eq!(reply(&back, false, true, None, 8), None);
        assert_eq!(reply(&sent, false, true, None, 7), None);
        let mut ip = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 61, 1, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1];
        ip.extend(&back);
        assert_eq!(reply(&ip, true, true, Some(0x1234), 7), Some(Some(61)));
        for end in 0..ip.len() {
            let _ = reply(&ip[..end], true, true, None, 7);
        }
        assert_eq!(reply(&[0x4f; 9], true, true, None, 7), None);
    }
}
