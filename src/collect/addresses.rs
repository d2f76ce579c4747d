//! Internet addresses: those of our namespace's interfaces (rtnetlink's RTM_GETADDR), and how they
//! are read and shown. Sources: kernel `include/uapi/linux/if_addr.h`; RFC 5952.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Instant;

use super::netlink::{Attributes, Netlink, NetlinkError, u32_at};

const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
/// Bytes of `struct ifaddrmsg`.
const ADDRESS_HEADER_BYTES: usize = 8;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;

/// An interface's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) index: u32,
    pub(crate) ip: IpAddr,
    pub(crate) prefix_bits: u8,
}

impl Address {
    fn parse(payload: &[u8]) -> Option<Self> {
        let attributes = Attributes::after(payload, ADDRESS_HEADER_BYTES);
        // On a point-to-point interface IFA_ADDRESS is the peer's.
        let ip = attributes.get(IFA_LOCAL).or_else(|| attributes.get(IFA_ADDRESS))?;
        Some(Self { index: u32_at(payload, 4)?, ip: from_bytes(ip)?, prefix_bits: *payload.get(1)? })
    }
}

/// Hands the addresses of every interface to `each`.
///
/// # Errors
/// As [`Netlink::dump`].
pub(crate) fn for_each(
    socket: &mut Netlink,
    deadline: Instant,
    mut each: impl FnMut(Address),
) -> Result<(), NetlinkError> {
    socket.dump(RTM_GETADDR, &[0; ADDRESS_HEADER_BYTES], deadline, |kind, payload| {
        if kind == RTM_NEWADDR
            && let Some(address) = Address::parse(payload)
        {
            each(address);
        }
    })
}

/// An address from 4 or 16 bytes in network order.
pub(crate) fn from_bytes(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(Ipv4Addr::from(*bytes.first_chunk::<4>()?).into()),
        16 => Some(Ipv6Addr::from(*bytes.first_chunk::<16>()?).into()),
        _ => None,
    }
}

/// As every Go program writes it: an IPv4 address mapped into IPv6 is written as IPv4.
pub(crate) fn shown(ip: IpAddr) -> String {
    ip.to_canonical().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_addresses() {
        for (given, want) in
            [("::ffff:10.0.0.1", "10.0.0.1"), ("2001:DB8:0:0::1", "2001:db8::1"), ("::", "::")]
        {
            assert_eq!(shown(given.parse().unwrap()), want);
        }
        assert_eq!(from_bytes(&[1, 2, 3]), None);
    }
}
