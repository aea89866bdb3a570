//! The PROXY protocol, versions 1 and 2 (proxy-protocol.txt of HAProxy): the header in which a balancer names the
//! client whose connection it passes on. Read from balancers in front, written to upstreams behind.
//!
//! Pure. Invariant: no bytes make it panic, what it takes for a header is one to its last byte, and no header is
//! longer than [`LONGEST`]. Called by `introduction`, and by those who open connections to upstreams.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use switcher_config::settings::SentProxyProtocol;

/// The longest header that is read, in bytes: version 2 with all that balancers add of their own.
pub const LONGEST: usize = 4096;

/// The longest header of version 1, with its line break (section 2.1).
const LONGEST_V1: usize = 107;

const START_V1: &[u8] = b"PROXY ";

/// What version 2 begins with (section 2.2): no beginning of HTTP or TLS.
const START_V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The fixed part of version 2: the start, version and command, family, length.
const FIXED_V2: usize = START_V2.len() + 4;

/// Version 2 and the command that there is no client: the balancer asks for itself.
const LOCAL: u8 = 0x20;
/// Version 2 and the command that a client is named.
const PROXY: u8 = 0x21;
/// TCP over IPv4.
const TCP4: u8 = 0x11;
/// TCP over IPv6.
const TCP6: u8 = 0x21;
/// Addresses of IPv4: two of 4 bytes, two ports.
const SIZE_TCP4: usize = 12;
/// Addresses of IPv6: two of 16 bytes, two ports.
const SIZE_TCP6: usize = 36;

/// Both ends of a client's connection. They are of one family, and IPv4 is never mapped into IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// The client's.
    pub source: SocketAddr,
    /// That which the client connected to.
    pub destination: SocketAddr,
}

impl Addresses {
    /// Both ends, in one family where they come in two.
    #[must_use]
    pub fn new(source: SocketAddr, destination: SocketAddr) -> Self {
        let [source, destination] = [source, destination].map(plain);
        if source.is_ipv4() == destination.is_ipv4() {
            return Self { source, destination };
        }
        Self { source: mapped(source), destination: mapped(destination) }
    }
}

/// IPv4 as itself also where a socket of both families shows it mapped.
fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn mapped(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(v4) => SocketAddr::new(v4.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    }
}

/// What the first bytes of a connection are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// No header, whatever comes next.
    Nothing,
    /// The beginning of a header, or of something else that begins in the same way.
    Part,
    /// A header of so many bytes; without addresses the connection stands for nobody but itself.
    Header(usize, Option<Addresses>),
    /// A header that is none, and why.
    Broken(&'static str),
}

/// What the bytes are that have come so far.
#[must_use]
pub fn read(bytes: &[u8]) -> Found {
    let begins = |start: &[u8]| {
        let common = bytes.len().min(start.len());
        (bytes[..common] == start[..common]).then_some(common == start.len())
    };
    match (begins(START_V1), begins(START_V2)) {
        (Some(true), _) => read_v1(bytes),
        (_, Some(true)) => read_v2(bytes),
        (Some(false), _) | (_, Some(false)) => Found::Part,
        (None, None) => Found::Nothing,
    }
}

fn read_v1(bytes: &[u8]) -> Found {
    let within = &bytes[..bytes.len().min(LONGEST_V1)];
    let Some(end) = within.iter().position(|byte| *byte == b'\n') else {
        let is_long = bytes.len() >= LONGEST_V1;
        return if is_long { Found::Broken("its line has no end") } else { Found::Part };
    };
    let Some(line) = within[..end].strip_suffix(b"\r") else {
        return Found::Broken("its line ends without a carriage return");
    };
    let Ok(line) = std::str::from_utf8(&line[START_V1.len()..]) else {
        return Found::Broken("its line is no ASCII");
    };
    // Whatever follows UNKNOWN is to be ignored (section 2.1).
    if line == "UNKNOWN" || line.starts_with("UNKNOWN ") {
        return Found::Header(end + 1, None);
    }
    match addresses_v1(line) {
        Some(addresses) => Found::Header(end + 1, Some(addresses)),
        None => Found::Broken("its line names no addresses"),
    }
}

/// `TCP4 192.0.2.1 192.0.2.2 50000 443`, with one blank between each.
fn addresses_v1(line: &str) -> Option<Addresses> {
    let words: Vec<&str> = line.split(' ').collect();
    let [family, source, destination, source_port, destination_port] = words[..] else { return None };
    let ip = |text: &str| match family {
        "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::from),
        "TCP6" => text.parse::<Ipv6Addr>().ok().map(IpAddr::from),
        _ => None,
    };
    let (source, destination) = (ip(source)?, ip(destination)?);
    let (source_port, destination_port) = (port(source_port)?, port(destination_port)?);
    Some(Addresses::new((source, source_port).into(), (destination, destination_port).into()))
}

fn port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let leading = text.len() > 1 && text.starts_with('0');
    if digits && !leading { text.parse().ok() } else { None }
}

fn read_v2(bytes: &[u8]) -> Found {
    let Some((fixed, rest)) = bytes.split_at_checked(FIXED_V2) else { return Found::Part };
    let &[.., command, family, high, low] = fixed else { return Found::Part };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if !matches!(command, LOCAL | PROXY) {
        return Found::Broken("its version or command is unknown");
    }
    if FIXED_V2 + length > LONGEST {
        return Found::Broken("it is longer than 4096 bytes");
    }
    let Some(body) = rest.get(..length) else { return Found::Part };
    let whole = |addresses| Found::Header(FIXED_V2 + length, addresses);
    match (command, family) {
        (PROXY, TCP4) => match body.first_chunk::<SIZE_TCP4>() {
            Some(body) => whole(Some(ends::<4>(body))),
            None => Found::Broken("its addresses are too short"),
        },
        (PROXY, TCP6) => match body.first_chunk::<SIZE_TCP6>() {
            Some(body) => whole(Some(ends::<16>(body))),
            None => Found::Broken("its addresses are too short"),
        },
        // Unspecified, of UDP and of unix sockets: there is no address of a client of TCP (section 2.2).
        (LOCAL, _) | (PROXY, 0x00..=0x02 | 0x12 | 0x22 | 0x30..=0x32) => whole(None),
        (_, _) => Found::Broken("its family is unknown"),
    }
}

/// Two addresses of `SIZE` bytes and two ports.
fn ends<const SIZE: usize>(body: &[u8]) -> Addresses {
    let ip = |at: usize| match <[u8; 4]>::try_from(&body[at..at + SIZE]) {
        Ok(v4) => IpAddr::from(v4),
        Err(_) => {
            let mut v6 = [0; 16];
            v6.copy_from_slice(&body[at..at + SIZE]);
            IpAddr::from(v6)
        }
    };
    let port = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
    let source = (ip(0), port(2 * SIZE)).into();
    let destination = (ip(SIZE), port(2 * SIZE + 2)).into();
    Addresses::new(source, destination)
}

/// The header for whom a connection is made, in the version that is wanted; none where none is.
#[must_use]
pub fn write(version: SentProxyProtocol, whom: impl FnOnce() -> Option<Addresses>) -> Option<Vec<u8>> {
    match version {
        SentProxyProtocol::Off => None,
        SentProxyProtocol::V1 => Some(write_v1(whom())),
        SentProxyProtocol::V2 => Some(write_v2(whom())),
    }
}

/// A header of version 1. Without addresses it stands for nobody.
#[must_use]
pub fn write_v1(addresses: Option<Addresses>) -> Vec<u8> {
    let Some(Addresses { source, destination }) = addresses else { return b"PROXY UNKNOWN\r\n".to_vec() };
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let (from, to) = (source.ip(), destination.ip());
    format!("PROXY {family} {from} {to} {} {}\r\n", source.port(), destination.port()).into_bytes()
}

/// A header of version 2. Without addresses it stands for nobody: the proxy speaks for itself.
#[must_use]
pub fn write_v2(addresses: Option<Addresses>) -> Vec<u8> {
    let mut header = START_V2.to_vec();
    let Some(Addresses { source, destination }) = addresses else {
        header.extend_from_slice(&[LOCAL, 0, 0, 0]);
        return header;
    };
    let (family, size) = if source.is_ipv4() { (TCP4, SIZE_TCP4) } else { (TCP6, SIZE_TCP6) };
    // Both sizes fit in one byte.
    header.extend_from_slice(&[PROXY, family, 0, u8::try_from(size).unwrap_or_default()]);
    for address in [source, destination] {
        match address.ip() {
            IpAddr::V4(v4) => header.extend_from_slice(&v4.octets()),
            IpAddr::V6(v6) => header.extend_from_slice(&v6.octets()),
        }
    }
    for address in [source, destination] {
        header.extend_from_slice(&address.port().to_be_bytes());
    }
    header
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn between(source: &str, destination: &str) -> Addresses {
        Addresses::new(source.parse().expect("an address"), destination.parse().expect("an address"))
    }

    #[test]
    fn version_1_names_the_client_and_takes_no_byte_more() {
        let header = b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\nGET / HTTP/1.1\r\n";
        let named = between("192.0.2.7:56324", "198.51.100.1:443");
        assert_eq!(read(header), Found::Header(45, Some(named)));
        let header = b"PROXY TCP6 2001:db8::7 2001:db8::1 1 65535\r\n";
        let named = between("[2001:db8::7]:1", "[2001:db8::1]:65535");
        assert_eq!(read(header), Found::Header(header.len(), Some(named)));
    }

    #[test]
    fn a_connection_that_stands_for_nobody_says_so() {
        assert_eq!(read(b"PROXY UNKNOWN\r\n"), Found::Header(15, None));
        assert_eq!(read(b"PROXY UNKNOWN ffff:: whatever\r\nrest"), Found::Header(31, None));
        assert_eq!(read(&write_v2(None)), Found::Header(16, None));
        // A unix socket: its 216 bytes of paths are passed over.
        let unix = [START_V2, &[PROXY, 0x31, 0, 216], &[b'x'; 216], b"GET"].concat();
        assert_eq!(read(&unix), Found::Header(232, None));
        // LOCAL with addresses: they are not looked at.
        let local = [START_V2, &[LOCAL, TCP4, 0, 12], &[9; 12]].concat();
        assert_eq!(read(&local), Found::Header(28, None));
    }

    #[test]
    fn what_a_balancer_adds_behind_the_addresses_is_passed_over() {
        let named = between("192.0.2.7:56324", "198.51.100.1:443");
        let mut header = write_v2(Some(named));
        let extra = [0x04, 0, 3, 1, 2, 3];
        header[15] += u8::try_from(extra.len()).expect("small");
        header.extend_from_slice(&extra);
        let length = header.len();
        header.extend_from_slice(b"\x16\x03\x01");
        assert_eq!(read(&header), Found::Header(length, Some(named)));
    }

    #[test]
    fn what_is_no_header_is_told_from_what_may_become_one() {
        for nothing in [&b"GET / HTTP/1.1"[..], b"PRI * HTTP/2.0", b"\x16\x03\x01", b"\r\nGET", b"proxy "] {
            assert_eq!(read(nothing), Found::Nothing, "{nothing:?}");
        }
        for part in
            [&b""[..], b"P", b"PR", b"PROXY", b"PROXY TCP4 192.0.2.7", b"\r", b"\r\n\r\n\0\r\nQUIT\n\x21"]
        {
            assert_eq!(read(part), Found::Part, "{part:?}");
        }
    }

    #[test]
    fn broken_headers_are_refused() {
        let v2 = |tail: &[u8]| [START_V2, tail].concat();
        for (bytes, why) in [
            (b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\n".to_vec(), "carriage return"),
            (b"PROXY TCP4 192.0.2.7  198.51.100.1 56324 443\r\n".to_vec(), "no addresses"),
            (b"PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n".to_vec(), "no addresses"),
            (b"PROXY TCP4 192.0.2.7 198.51.100.1 65536 443\r\n".to_vec(), "no addresses"),
            (b"PROXY TCP4 192.0.2.7 198.51.100.1 +80 443\r\n".to_vec(), "no addresses"),
            (b"PROXY TCP4 192.0.2.07 198.51.100.1 80 443\r\n".to_vec(), "no addresses"),
            (b"PROXY TCP4 192.0.2.7 198.51.100.1 080 443\r\n".to_vec(), "no addresses"),
            (b"PROXY UDP4 192.0.2.7 198.51.100.1 80 443\r\n".to_vec(), "no addresses"),
            (b"PROXY \r\n".to_vec(), "no addresses"),
            (b"PROXY TCP4 \xff\r\n".to_vec(), "no ASCII"),
            ([b"PROXY UNKNOWN ", &[b'x'; 100][..]].concat(), "no end"),
            (v2(&[0x31, TCP4, 0, 12]), "version or command"),
            (v2(&[0x22, TCP4, 0, 12]), "version or command"),
            (v2(&[PROXY, 0x41, 0, 0]), "family"),
            (v2(&[PROXY, TCP4, 0, 4, 1, 2, 3, 4]), "too short"),
            (v2(&[PROXY, TCP6, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), "too short"),
            (v2(&[PROXY, TCP4, 0xff, 0xff]), "longer than"),
        ] {
            let Found::Broken(said) = read(&bytes) else {
                panic!("{bytes:?} is taken for {:?}", read(&bytes))
            };
            assert!(said.contains(why), "{bytes:?}: {said}");
        }
    }

    #[test]
    fn two_families_are_told_in_one() {
        let mixed = between("192.0.2.7:1", "[2001:db8::1]:2");
        assert!(mixed.source.is_ipv6() && mixed.destination.is_ipv6());
        let both = between("[::ffff:192.0.2.7]:1", "192.0.2.1:2");
        assert!(both.source.is_ipv4());
    }

    fn address() -> impl Strategy<Value = SocketAddr> {
        let v4 = any::<[u8; 4]>().prop_map(IpAddr::from);
        let v6 = any::<[u8; 16]>().prop_map(IpAddr::from);
        (prop_oneof![v4, v6], any::<u16>()).prop_map(SocketAddr::from)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(source in address(), destination in address(), rest in any::<Vec<u8>>()) {
            // Mapped addresses come back as what they are.
            let named = Addresses::new(source, destination);
            for header in [write_v1(Some(named)), write_v2(Some(named))] {
                let bytes = [&header[..], &rest].concat();
                let Found::Header(length, Some(read)) = read(&bytes) else { panic!("no header") };
                prop_assert_eq!(length, header.len());
                prop_assert_eq!(read, Addresses::new(named.source, named.destination));
                for cut in 0..header.len() {
                    prop_assert_eq!(super::read(&header[..cut]), Found::Part);
                }
            }
        }

        #[test]
        fn no_bytes_make_it_panic_and_a_header_is_never_longer_than_what_came(
            start in prop_oneof![Just(&b""[..]), Just(START_V1), Just(START_V2), Just(&b"PROXY TCP4 "[..])],
            command in any::<[u8; 2]>(),
            tail in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            for bytes in [[start, &tail].concat(), [start, &command, &[0, 36], &tail].concat()] {
                match read(&bytes) {
                    Found::Header(length, _) => prop_assert!(length <= bytes.len() && length <= LONGEST),
                    Found::Part => prop_assert!(bytes.len() < LONGEST),
                    Found::Nothing | Found::Broken(_) => {}
                }
            }
        }
    }
}
