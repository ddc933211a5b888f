//! `probe udp-echo PORT`: sends every datagram back to where it came from.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};

use crate::Outcome;
use crate::args::Args;

/// The largest datagram there can be.
const LARGEST: usize = 65_535;

/// Answers for ever.
pub fn run(words: Vec<String>) -> Outcome {
    let mut args = Args::new(words);
    let address: Option<IpAddr> = args.option("--bind")?;
    let port: u16 = args.word("PORT")?;
    args.end()?;
    let address = address.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
    let socket = UdpSocket::bind((address, port))
        .map_err(|error| format!("cannot listen on {address} port {port}: {error}"))?;
    if let Ok(local) = socket.local_addr() {
        println!("echoing datagrams on {local}");
    }
    let mut datagram = vec![0; LARGEST];
    loop {
        match socket.recv_from(&mut datagram) {
            // An answer that cannot be delivered is lost, as datagrams may be.
            Ok((length, from)) => drop(socket.send_to(&datagram[..length], from)),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {}
            Err(error) => return Err(format!("receiving: {error}")),
        }
    }
}
