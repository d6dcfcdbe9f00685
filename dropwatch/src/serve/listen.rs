//! What `--listen` says.

use std::net::{Ipv6Addr, SocketAddr, SocketAddrV4};

use anyhow::{Context as _, Result};

/// Takes an address and its port apart. IPv6 has to be in brackets, as in a URL (RFC 3986, 3.2.2):
/// `fd00::1:9466` is an address as well. IPv4 may be, for those who do not know which one they
/// will get.
///
/// # Errors
/// Says what is wrong, and what to write.
pub fn address(text: &str) -> Result<SocketAddr> {
    let address = text.parse().ok().or_else(|| ipv4_in_brackets(text));
    address.with_context(|| format!("--listen {text}: {}", what_is_wrong(text)))
}

fn ipv4_in_brackets(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.strip_prefix('[')?.split_once("]:")?;
    let address: SocketAddrV4 = format!("{address}:{port}").parse().ok()?;
    Some(address.into())
}

fn what_is_wrong(text: &str) -> String {
    if text.parse::<Ipv6Addr>().is_ok() {
        return "an IPv6 address takes brackets and a port, as [fd00::1]:9466".to_owned();
    }
    let is_port = |text: &str| text.parse::<u16>().is_ok();
    let (host, port) = match text.rsplit_once(':') {
        Some(parts) => parts,
        None if is_port(text) => ("", text),
        None => return "no port; write ADDRESS:PORT, as 127.0.0.1:9466".to_owned(),
    };
    if !is_port(port) {
        format!("'{port}' is no port; write ADDRESS:PORT, as 127.0.0.1:9466")
    } else if host.is_empty() {
        format!(
            "no address; write 127.0.0.1:{port} for this host alone, [::]:{port} for everybody who \
             can reach it"
        )
    } else {
        format!("'{host}' is no IP address, and names are not looked up; write 127.0.0.1:{port}")
    }
}

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    fn addresses() {
        for (text, expected) in [
            ("127.0.0.1:9466", "127.0.0.1:9466"),
            ("[127.0.0.1]:9466", "127.0.0.1:9466"),
            ("[fd00::1]:9466", "[fd00::1]:9466"),
            ("[::]:0", "[::]:0"),
            ("[::ffff:10.0.0.1]:1", "[::ffff:10.0.0.1]:1"),
        ] {
            assert_eq!(address(text).unwrap().to_string(), expected);
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_remedy() {
        for (text, remedy) in [
            // An address without port, or one that lacks its brackets: nobody knows.
            ("fd00::1:9466", "[fd00::1]:9466"),
            ("::1", "[fd00::1]:9466"),
            (
                "localhost:9470",
                "names are not looked up; write 127.0.0.1:9470",
            ),
            ("[localhost]:9470", "write 127.0.0.1:9470"),
            (":9470", "write 127.0.0.1:9470"),
            ("9470", "write 127.0.0.1:9470"),
            ("127.0.0.1", "no port"),
            ("localhost", "no port"),
            ("", "no port"),
            ("127.0.0.1:", "'' is no port"),
            ("127.0.0.1:65536", "'65536' is no port"),
            ("[::1]", "is no port"),
            ("[127.0.0.1:9466", "write 127.0.0.1:9466"),
            ("http://127.0.0.1:9466", "write 127.0.0.1:9466"),
        ] {
            let error = address(text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("--listen {text}: ")), "{error}");
            assert!(error.contains(remedy), "{text}: {error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }
}
