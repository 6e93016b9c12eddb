//! The commands that mend, measure and mar networks, as people use them.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    fs,
    io::{BufRead, BufReader},
    net::{SocketAddr, UdpSocket},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use parlo_protocol::relay::{Join, RoomState};

fn parlo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_parlo"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Starts a command that says in its first line which address it has.
fn start(arguments: &[&str]) -> (Child, BufReader<std::process::ChildStderr>, SocketAddr) {
    let mut child = parlo(arguments).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    let address = line.split([' ', ';']).find_map(|word| word.parse().ok());
    (child, lines, address.unwrap_or_else(|| panic!("no address in {line:?}")))
}

/// Asks a command to end, as Ctrl-C does, and returns what it said last.
fn interrupt(mut child: Child, lines: BufReader<std::process::ChildStderr>) -> String {
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let said: Vec<String> = lines.lines().map(Result::unwrap).collect();
    assert!(child.wait().unwrap().success());
    said.join("\n")
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
    socket
}

#[test]
fn impair_delays_and_loses_as_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("stats.json");
    let echo = socket();
    let to = echo.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let mut datagram = [0; 100];
        while let Ok((length, from)) = echo.recv_from(&mut datagram) {
            echo.send_to(&datagram[..length], from).unwrap();
        }
    });
    let stats = file.to_str().unwrap();
    let words = "impair --listen 127.0.0.1:0 --loss 30% --burst 2 --delay 20ms --seed 4 --one-way --outage 1h+1s";
    let mut arguments: Vec<&str> = words.split(' ').collect();
    // There is no hour among the units: the message is to say what there is.
    let refused = parlo(&arguments).args(["--to", &to]).output().unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && said.contains("such as 10s+2s"), "{said}");
    arguments.truncate(arguments.len() - 2);
    arguments.extend(["--to", &to, "--stats", stats]);

    let (child, lines, address) = start(&arguments);
    let client = socket();
    client.connect(address).unwrap();
    client.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let begun = Instant::now();
    for number in 0..100 {
        client.send(&[number]).unwrap();
    }
    let mut datagram = [0; 10];
    let mut back = 0;
    while let Ok(1) = client.recv(&mut datagram) {
        assert!(back > 0 || begun.elapsed() >= Duration::from_millis(20));
        back += 1;
    }
    assert!((50..90).contains(&back), "{back}");
    let said = interrupt(child, lines);
    assert!(said.contains(&format!("up   100 datagrams: {back} delivered, {} lost at random", 100 - back)), "{said}");
    let figures = fs::read_to_string(file).unwrap();
    assert!(figures.contains(&format!("\"lost\": {}", 100 - back)), "{figures}");
}

#[test]
fn impair_says_what_cannot_be() {
    for (arguments, part) in [
        ("--to 127.0.0.1:9 --loss 90% --burst 2", "no path loses 90.0 %"),
        ("--to nowhere", "give HOST:PORT"),
        ("--to 127.0.0.1:9 --queue 1s", "--rate"),
        ("--to 127.0.0.1:9 --loss lots", "such as 20%"),
    ] {
        let mut command = parlo(&["impair", "--listen", "127.0.0.1:0", "--duration", "10ms"]);
        let output = command.args(arguments.split(' ')).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains(part), "{arguments}: {said}");
    }
}

#[test]
fn two_meet_at_a_relay_with_a_ticket() {
    let output = parlo(&["relay", "--ticket"]).output().unwrap();
    let ticket = String::from_utf8(output.stdout).unwrap().parse().unwrap();
    let (child, lines, relay) = start(&["relay", "--listen", "127.0.0.1:0", "--rooms", "1", "--kbps", "8"]);
    let peers = [socket(), socket()];
    let mut joins = [(); 2].map(|()| Join::dial(relay, ticket, Instant::now()));
    for (socket, join) in peers.iter().zip(&mut joins) {
        let (mut datagram, mut arrival) = (Vec::new(), [0; 100]);
        while join.state().is_none() {
            assert!(join.poll_transmit(&mut datagram));
            socket.send_to(&datagram, relay).unwrap();
            let (length, from) = socket.recv_from(&mut arrival).unwrap();
            join.handle(Instant::now(), from, &arrival[..length]);
        }
    }
    assert_eq!(joins[1].state(), Some(RoomState::Together));
    let mut arrival = [0; 100];
    let say = |datagram: &[u8]| {
        let tag = joins[0].tag(datagram).unwrap();
        peers[0].send_to(&[datagram, &tag].concat(), relay).unwrap();
    };
    say(b"\x80 sealed");
    // What has no tag is somebody else's.
    peers[0].send_to(b"\x80 forged", relay).unwrap();
    assert_eq!(peers[1].recv_from(&mut arrival).unwrap(), (8, relay));
    assert_eq!(&arrival[..8], b"\x80 sealed");
    // 8 kbps are 1000 bytes a second, but a whole datagram of 1400 with its headers always passes.
    peers[1].set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    for _ in 0..100 {
        say(&[0x80; 72]);
    }
    let mut carried = 0;
    while peers[1].recv_from(&mut arrival).is_ok() {
        carried += 1;
    }
    assert!((10..20).contains(&carried), "{carried}");
    let said = interrupt(child, lines);
    assert!(said.starts_with(&format!("{} datagrams carried", carried + 1)), "{said}");
    assert!(said.contains(", 1 forged,"), "{said}");
}

/// The answer is made by hand here, as RFC 8489 section 14.2 has it: the code that reads it did not write it.
#[test]
fn address_asks_a_stun_server() {
    let server = socket();
    let to = server.local_addr().unwrap().to_string();
    let answering = thread::spawn(move || {
        let mut datagram = [0; 100];
        let (length, from) = server.recv_from(&mut datagram).unwrap();
        assert_eq!((length, &datagram[..8]), (20, &[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..]));
        let mut answer = vec![1, 1, 0, 12, 0x21, 0x12, 0xa4, 0x42];
        answer.extend_from_slice(&datagram[8..20]);
        answer.extend_from_slice(&[0, 0x20, 0, 8, 0, 1, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43]);
        server.send_to(&answer, from).unwrap();
    });
    let output = parlo(&["address", "--stun", &to]).output().unwrap();
    answering.join().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "192.0.2.1:32853\n");
    assert!(output.status.success());
}
