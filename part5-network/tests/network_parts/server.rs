//! The program in the containers: says who it is and who asks, then echoes.

use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};

/// TCP on port 80, UDP on port 53; never comes back.
pub fn serve(name: &str) -> ! {
    let udp = UdpSocket::bind("0.0.0.0:53").expect("bind udp");
    let own = name.to_owned();
    std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((length, peer)) = udp.recv_from(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            let _ = udp.send_to(format!("{own} {} {text}", peer.ip()).as_bytes(), peer);
        }
    });
    let listener = TcpListener::bind("0.0.0.0:80").expect("bind tcp");
    // Told to the test by a file: it waits for this, not for a while.
    std::fs::write("/ready", "").expect("ready");
    for stream in listener.incoming().flatten() {
        let name = name.to_owned();
        std::thread::spawn(move || {
            let mut stream = stream;
            let Ok(peer) = stream.peer_addr() else { return };
            let _ = stream.write_all(format!("{name} {}\n", peer.ip()).as_bytes());
            let mut all = Vec::new();
            let _ = stream.read_to_end(&mut all);
            let _ = stream.write_all(&all);
        });
    }
    std::process::exit(0)
}
