//! Free ports that stay ours until a server has bound them.
//!
//! Guarantee: two testbeds on one machine never get the same port, also between
//! the moment it is found and the moment its server listens, and while a killed
//! server is down before its restart. The UDP port of the same number is bound
//! as a lock; the kernel frees it with the process.
//!
//! Assumption: nobody else wants TCP ports of this range, which lies below the
//! one the kernel hands out by itself.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU16, Ordering};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};

use crate::error::Error;

const FIRST: u16 = 18_000;
const LAST: u16 = 31_999;

/// A port of 127.0.0.1 that nobody else of us gets while this lives.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _lock: UdpSocket,
}

impl Port {
    /// Finds a free one.
    ///
    /// # Errors
    /// `NoPort` when all are taken.
    pub fn reserve() -> Result<Self, Error> {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        // Processes start at different places, so that they rarely meet.
        let range = LAST - FIRST + 1;
        let scattered = std::process::id().wrapping_mul(7919) % u32::from(range);
        let start = u16::try_from(scattered).unwrap_or_default();
        for _ in 0..range {
            let offset = NEXT.fetch_add(1, Ordering::Relaxed) % range;
            let number = FIRST + (start + offset) % range;
            let Ok(lock) = UdpSocket::bind((Ipv4Addr::LOCALHOST, number)) else {
                continue;
            };
            if probe(number).is_ok() {
                return Ok(Self {
                    number,
                    _lock: lock,
                });
            }
        }
        Err(Error::NoPort {
            from: FIRST,
            to: LAST,
        })
    }

    /// Its number.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.number
    }
}

/// Binds a TCP port that nobody listens on, without listening: a process that is started at this moment has a copy of
/// the socket until it is another program, and a copy that listened would keep the server from its port.
fn probe(number: u16) -> rustix::io::Result<OwnedFd> {
    let socket = socket_with(
        AddressFamily::INET,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    // Two sockets may share a port with this as long as neither listens; servers set it too.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, number))?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::net::TcpListener;

    #[test]
    fn a_probe_that_lasts_keeps_no_server_from_its_port_and_a_server_is_noticed() {
        let port = Port::reserve().unwrap();
        let _lasts = probe(port.number()).unwrap();
        let _server = TcpListener::bind((Ipv4Addr::LOCALHOST, port.number())).unwrap();
        assert!(probe(port.number()).is_err());
    }

    #[test]
    fn a_reserved_port_can_be_listened_on_and_is_given_once() {
        let ports: Vec<Port> = (0..50).map(|_| Port::reserve().unwrap()).collect();
        let numbers: BTreeSet<u16> = ports.iter().map(Port::number).collect();
        assert_eq!(numbers.len(), 50);
        TcpListener::bind((Ipv4Addr::LOCALHOST, ports[0].number())).unwrap();
    }
}
