//! IP headers, up to the transport header.

use std::net::IpAddr;

use dropwatch_common::tuple;
use etherparse::{IpNumber, Ipv4HeaderSlice, Ipv6HeaderSlice};

use super::{Addresses, ETHERTYPE_IPV4, ETHERTYPE_IPV6, List, Part, u16_at, u32_at};

/// Most extension headers that are followed.
pub const MAX_EXTENSIONS: usize = tuple::MAX_EXTENSIONS as usize;

/// Types of the options of an IPv4 header (RFC 791) in their order, padding
/// (end of list, no operation) left out.
pub type Ipv4Options = List<u8, 20>;

/// Numbers of IPv6 extension headers in their order.
pub type Ipv6Extensions = List<u8, MAX_EXTENSIONS>;

/// What an IP header says beyond the [`Tuple`](super::Tuple).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpHeader {
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// Options; `None` for IPv6.
    pub options: Option<Ipv4Options>,
    /// Extension headers; `None` for IPv4.
    pub extensions: Option<Ipv6Extensions>,
    /// What part of a packet this is. Absent from a whole IPv4 packet, and from
    /// an IPv6 packet without fragment header.
    pub fragment: Part<Fragment>,
    /// Security parameters index of the first AH or ESP header (RFC 4302,
    /// RFC 4303).
    pub spi: Part<u32>,
}

/// A fragment of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Bytes between the start of what was fragmented and this.
    pub offset: u16,
    /// Whether more fragments follow.
    pub more: bool,
}

/// An IP header and what lies between it and the transport header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ip<'a> {
    pub(super) addresses: Addresses,
    pub(super) header: IpHeader,
    /// The protocol of the transport header; `None` where that can't be known.
    pub(super) protocol: Option<IpNumber>,
    /// From the transport header on; empty in a later fragment.
    pub(super) payload: &'a [u8],
}

impl<'a> Ip<'a> {
    /// Reads the header that `ethertype` names.
    pub(super) fn read(ethertype: u16, bytes: &'a [u8]) -> Option<Self> {
        match ethertype {
            ETHERTYPE_IPV4 => Self::read_ipv4(bytes),
            ETHERTYPE_IPV6 => Self::read_ipv6(bytes),
            _ => None,
        }
    }

    fn read_ipv4(bytes: &'a [u8]) -> Option<Self> {
        let header = Ipv4HeaderSlice::from_slice(bytes).ok()?;
        let len = header.slice().len();
        let payload_len = usize::from(header.total_len()).checked_sub(len);
        let fragment = Fragment {
            offset: header.fragments_offset().value() * 8,
            more: header.more_fragments(),
        };
        let chain = Chain {
            fragment: if header.is_fragmenting_payload() {
                Part::Known(fragment)
            } else {
                Part::Absent
            },
            is_later_fragment: fragment.offset > 0,
            ..Chain::new(bytes.get(len..)?, payload_len)
        };
        let is_extension = |number| number == IpNumber::AUTHENTICATION_HEADER;
        let chain = chain.follow(header.protocol(), is_extension);
        let options = options(header.options());
        Some(Self {
            addresses: Addresses {
                source: IpAddr::V4(header.source_addr()),
                destination: IpAddr::V4(header.destination_addr()),
            },
            header: chain.header(header.ttl(), Some(options), None),
            protocol: chain.protocol,
            payload: chain.payload,
        })
    }

    fn read_ipv6(bytes: &'a [u8]) -> Option<Self> {
        let header = Ipv6HeaderSlice::from_slice(bytes).ok()?;
        let payload_len = match header.payload_length() {
            0 => None,
            len => Some(usize::from(len)),
        };
        let chain = Chain::new(bytes.get(header.slice().len()..)?, payload_len)
            .follow(header.next_header(), is_ipv6_extension);
        Some(Self {
            addresses: Addresses {
                source: IpAddr::V6(header.source_addr()),
                destination: IpAddr::V6(header.destination_addr()),
            },
            header: chain.header(header.hop_limit(), None, Some(chain.extensions)),
            protocol: chain.protocol,
            payload: chain.payload,
        })
    }
}

/// `ipv6_ext_hdr` in the kernel's `net/ipv6/exthdrs_core.c`, without "no next
/// header".
fn is_ipv6_extension(number: IpNumber) -> bool {
    matches!(
        number,
        IpNumber::IPV6_HEADER_HOP_BY_HOP
            | IpNumber::IPV6_ROUTE_HEADER
            | IpNumber::IPV6_FRAGMENTATION_HEADER
            | IpNumber::AUTHENTICATION_HEADER
            | IpNumber::IPV6_DESTINATION_OPTIONS
    )
}

/// Types of the options in `bytes`.
fn options(mut bytes: &[u8]) -> Ipv4Options {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;

    let mut options = Ipv4Options::default();
    loop {
        let (kind, len) = match bytes {
            [] | [END, ..] => return options,
            [NO_OPERATION, rest @ ..] => {
                bytes = rest;
                continue;
            }
            [kind] => (*kind, 0),
            [kind, len, ..] => (*kind, usize::from(*len)),
        };
        options.push(kind);
        match bytes.get(len..) {
            Some(rest) if len >= 2 => bytes = rest,
            // Its length can't be true.
            _ => {
                options.cut();
                return options;
            }
        }
    }
}

/// The headers between the IP header and the transport header.
///
/// etherparse's own iterator over them is not used: it is unchecked where a
/// header is cut off.
struct Chain<'a> {
    extensions: Ipv6Extensions,
    /// The first one, if there are several.
    fragment: Part<Fragment>,
    is_later_fragment: bool,
    spi: Part<u32>,
    protocol: Option<IpNumber>,
    /// What has not been read.
    payload: &'a [u8],
}

impl<'a> Chain<'a> {
    /// Headers in `bytes`, of which only the first `len` belong to the packet.
    fn new(bytes: &'a [u8], len: Option<usize>) -> Self {
        Self {
            extensions: Ipv6Extensions::default(),
            fragment: Part::Absent,
            is_later_fragment: false,
            spi: Part::Absent,
            protocol: None,
            payload: len.and_then(|len| bytes.get(..len)).unwrap_or(bytes),
        }
    }

    /// Reads headers, starting with one of the number `number`, as long as
    /// `is_extension` holds.
    fn follow(mut self, mut number: IpNumber, is_extension: fn(IpNumber) -> bool) -> Self {
        while is_extension(number) {
            match self.read(number) {
                Some(next) => number = next,
                None => {
                    self.extensions.cut();
                    return self;
                }
            }
        }
        self.protocol = Some(number);
        if self.is_later_fragment {
            self.payload = &[];
        }
        if number == IpNumber::ENCAPSULATING_SECURITY_PAYLOAD {
            self.found_spi(0);
        }
        self
    }

    /// Reads one header and gives the number of the next one.
    fn read(&mut self, number: IpNumber) -> Option<IpNumber> {
        if self.is_later_fragment {
            // The header is in the first fragment.
            self.payload = &[];
        } else {
            self.extensions.push(number.0);
        }
        if number == IpNumber::AUTHENTICATION_HEADER {
            self.found_spi(4);
        }
        if number == IpNumber::IPV6_FRAGMENTATION_HEADER {
            self.found_fragment();
        }
        if self.extensions.is_cut() {
            return None;
        }
        let &[next, len] = self.payload.first_chunk()?;
        let len = match number {
            IpNumber::IPV6_FRAGMENTATION_HEADER => 8,
            // `ipv6_authlen` in the kernel's `include/net/ipv6.h`.
            IpNumber::AUTHENTICATION_HEADER => (usize::from(len) + 2) * 4,
            // `ipv6_optlen`, likewise.
            _ => (usize::from(len) + 1) * 8,
        };
        self.payload = self.payload.get(len..)?;
        Some(IpNumber(next))
    }

    /// Takes the security parameters index at `offset`.
    fn found_spi(&mut self, offset: usize) {
        if self.spi == Part::Absent {
            self.spi = Part::present(u32_at(self.payload, offset));
        }
    }

    /// Takes what the fragment header says (RFC 8200, 4.5).
    fn found_fragment(&mut self) {
        let fragment = u16_at(self.payload, 2).map(|field| Fragment {
            offset: field & !7,
            more: field & 1 != 0,
        });
        if self.fragment == Part::Absent {
            self.fragment = Part::present(fragment);
        }
        self.is_later_fragment |= fragment.is_some_and(|fragment| fragment.offset > 0);
    }

    fn header(
        &self,
        ttl: u8,
        options: Option<Ipv4Options>,
        extensions: Option<Ipv6Extensions>,
    ) -> IpHeader {
        IpHeader {
            ttl,
            options,
            extensions,
            fragment: self.fragment,
            spi: self.spi,
        }
    }
}
