//! The host, the world, and containers.

use std::cell::Cell;
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, pause, pipe};
use shared::container::{self, Running, Streams};
use shared::home::Home;
use shared::journal::{Due, Journal};
use shared::netlink::{Netlink, Veth, index_of};
use shared::ownership::Owned;
use shared::part::{Request, User};
use shared::process;
use shared::recipe::Recipe;
use shared::spec::{Attachment, Network, Port, Protocol, Service, Spec};

/// The host's address on the cable to the world.
pub const HOST: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
/// The world's.
pub const WORLD: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);
/// What must not arrive is waited for so long.
const PATIENCE: Duration = Duration::from_millis(400);

thread_local! {
    static WORLD_PID: Cell<i32> = const { Cell::new(0) };
}

/// Enters namespaces of our own and makes the world.
pub fn enter() -> Result<(), String> {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)
        .map_err(|e| format!("no namespaces of our own: {e}"))?;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    // What we write to /run and /tmp is ours alone.
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), none).unwrap();
    mount(Some("tmpfs"), "/tmp", Some("tmpfs"), MsFlags::empty(), none).unwrap();
    fs::create_dir_all(std::env::temp_dir()).unwrap(); // TMPDIR may be a directory in /tmp.
    // A new network may begin as the machine's is.
    fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
    shared::netlink::loopback_up().unwrap();
    let world = namespace();
    WORLD_PID.set(world.as_raw());
    let cable = Veth {
        host_end: "world".into(),
        bridge: None,
        inner_end: "up0".into(),
        inner_mac: [2, 0, 0, 0, 0, 2],
        inside: world,
    };
    let mut netlink = Netlink::open().unwrap();
    netlink.add_veth(&cable).unwrap();
    let index = index_of("world").unwrap();
    netlink.add_address(index, format!("{HOST}/24").parse().unwrap()).unwrap();
    inside(world, || {
        let mut netlink = Netlink::open().unwrap();
        let index = index_of("up0").unwrap();
        netlink.add_address(index, format!("{WORLD}/24").parse().unwrap()).unwrap();
        netlink.set_up(index).unwrap();
        ""
    });
    // The world has a server of its own.
    if let ForkResult::Child = shared::sys::fork().unwrap() {
        set_pdeathsig(Signal::SIGKILL).unwrap();
        enter_network(world);
        crate::server::serve("world");
    }
    Ok(())
}

pub fn world() -> Pid {
    Pid::from_raw(WORLD_PID.get())
}

/// A process that waits in a network namespace of its own.
pub fn namespace() -> Pid {
    let (ready, readying) = pipe().unwrap();
    match shared::sys::fork().unwrap() {
        ForkResult::Child => {
            set_pdeathsig(Signal::SIGKILL).unwrap();
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            drop(ready);
            drop(readying);
            loop {
                pause();
            }
        }
        ForkResult::Parent { child } => {
            drop(readying);
            let _ = fs::File::from(ready).read(&mut [0]);
            child
        }
    }
}

/// Ends such a process.
pub fn end(process: Pid) {
    nix::sys::signal::kill(process, Signal::SIGKILL).unwrap();
    waitpid(process, None).unwrap();
}

fn enter_network(of: Pid) {
    let file = fs::File::open(format!("/proc/{of}/ns/net")).unwrap();
    setns(file.as_fd(), CloneFlags::CLONE_NEWNET).unwrap();
}

/// Runs `what` in the network of another process; its answer, as text, comes back.
pub fn inside<T: ToString>(of: Pid, what: impl FnOnce() -> T) -> String {
    let (answer, answering) = pipe().unwrap();
    match shared::sys::fork().unwrap() {
        ForkResult::Child => {
            drop(answer);
            enter_network(of);
            let text = what().to_string();
            let _ = fs::File::from(answering).write_all(text.as_bytes());
            shared::sys::exit_now(0)
        }
        ForkResult::Parent { child } => {
            drop(answering);
            let mut text = String::new();
            fs::File::from(answer).read_to_string(&mut text).unwrap();
            waitpid(child, None).unwrap();
            text
        }
    }
}

/// One TCP exchange: the first line of the answer, or what went wrong.
pub fn ask(address: Ipv4Addr, port: u16) -> String {
    let address = SocketAddr::new(IpAddr::V4(address), port);
    let result = TcpStream::connect_timeout(&address, PATIENCE).and_then(|mut stream| {
        stream.set_read_timeout(Some(PATIENCE))?;
        let message = "x".repeat(300_000);
        let mut writing = stream.try_clone()?;
        let sent = message.clone();
        let writer = std::thread::spawn(move || {
            writing.write_all(sent.as_bytes())?;
            writing.shutdown(std::net::Shutdown::Write)
        });
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        writer.join().unwrap()?;
        let (line, echo) = text.split_once('\n').unwrap_or((&text, ""));
        Ok(if echo == message { line.to_owned() } else { format!("cut to {}", echo.len()) })
    });
    result.unwrap_or_else(|e| format!("error {:?}", e.kind()))
}

/// One UDP exchange.
pub fn ask_udp(address: Ipv4Addr, port: u16) -> String {
    let result = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.connect((address, port))?;
        socket.send(b"hello")?;
        let mut buffer = [0; 2048];
        let length = socket.recv(&mut buffer)?;
        Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
    });
    result.unwrap_or_else(|e| format!("error {:?}", e.kind()))
}

/// A project with these networks.
pub fn project(networks: &[(&str, Network)]) -> Spec {
    Spec {
        file: "/tmp/service-specs.yml".into(),
        project: "test".into(),
        services: Default::default(),
        networks: networks.iter().map(|(name, n)| ((*name).to_owned(), n.clone())).collect(),
        volumes: Vec::new(),
    }
}

/// A service on one network.
pub fn service(name: &str, network: &str) -> Service {
    let mut service = Service {
        name: name.into(),
        image: "host".into(),
        command: vec!["/server".into(), "serve".into(), name.into()],
        ..Service::default()
    };
    service.networks.insert(network.into(), Attachment::default());
    service
}

pub fn port(host_ip: Option<Ipv4Addr>, published: Option<u16>, target: u16) -> Port {
    let protocol = if target == 53 { Protocol::Udp } else { Protocol::Tcp };
    Port { host_ip, published, target, protocol }
}

/// A home and a root file system with nothing but the server.
pub struct Lab {
    pub dir: tempfile::TempDir,
    pub home: Home,
}

impl Lab {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        // The only process of ours that looks at it has one thread.
        let home = Home::below(dir.path());
        let lab = Self { dir, home };
        lab.make_rootfs("rootfs");
        lab
    }

    pub fn make_rootfs(&self, name: &str) -> PathBuf {
        let rootfs = self.dir.path().join(name);
        for dir in ["proc", "sys", "dev", "bin", "tmp", "etc"] {
            fs::create_dir_all(rootfs.join(dir)).unwrap();
        }
        fs::copy("/proc/self/exe", rootfs.join("server")).unwrap();
        rootfs
    }

    pub fn request<'a>(
        &'a self,
        spec: &'a Spec,
        service: &'a Service,
        rootfs: &str,
    ) -> Request<'a> {
        Request {
            service,
            spec: Some(spec),
            name: format!("test-{}", service.name),
            rootfs: self.dir.path().join(rootfs),
            home: &self.home,
            user: User::current(),
            terminal: false,
            throw_away: true,
        }
    }

    /// Starts a service in a root file system of its own.
    pub fn start(&self, spec: &Spec, service: &Service) -> Container {
        match self.try_start(spec, service) {
            Ok(container) => container,
            Err(error) => panic!("{}: {error}", service.name),
        }
    }

    pub fn try_start(&self, spec: &Spec, service: &Service) -> shared::Result<Container> {
        self.make_rootfs(&format!("rootfs-{}", service.name));
        let request = self.request(spec, service, &format!("rootfs-{}", service.name));
        let recipe = part5_network::recipe(&request)?;
        let owned = Owned::create(&self.home, &request.name)?;
        let mut journal = Journal::open(owned.dir())?;
        let signals = container::catch_signals()?;
        match container::start(&recipe, &mut journal, &Streams::default(), None) {
            Ok(running) => {
                let container = Container { recipe, journal, owned: Some(owned), running, signals };
                wait_for(Path::new(&format!("/proc/{}/root/ready", container.pid())));
                Ok(container)
            }
            Err(error) => {
                drop(recipe);
                owned.remove()?;
                Err(error)
            }
        }
    }
}

fn wait_for(file: &Path) {
    let give_up = Instant::now() + Duration::from_secs(10);
    while !file.exists() {
        assert!(Instant::now() < give_up, "the server does not start");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A container that serves; stopped, and all that it did undone, when dropped.
pub struct Container {
    pub recipe: Recipe,
    pub journal: Journal,
    owned: Option<Owned>,
    pub running: Running,
    signals: SignalFd,
}

impl Container {
    /// Its address on its first network.
    pub fn address(&self) -> Ipv4Addr {
        let addresses = self.recipe.addresses.borrow();
        addresses[0].1.split('/').next().unwrap().parse().unwrap()
    }

    pub fn pid(&self) -> Pid {
        self.running.pid
    }

    /// A file as the container sees it.
    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(format!("/proc/{}/root{path}", self.pid())).unwrap_or_default()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        process::send_signal(self.running.pidfd.as_fd(), Signal::SIGKILL as i32).unwrap();
        let streams = Streams::default();
        container::supervise(&self.recipe, &self.running, &self.signals, &streams).unwrap();
        self.journal.play_back(Due::Stop).unwrap();
        if let Some(owned) = self.owned.take() {
            owned.remove().unwrap();
        }
    }
}

/// Nothing of ours is left: no interface, rule, setting, process or directory.
pub fn assert_clean() {
    // The kernel takes interfaces of ended namespaces away a moment later.
    let give_up = Instant::now() + Duration::from_secs(5);
    let links = || -> Vec<String> {
        let names = nix::net::if_::if_nameindex().unwrap();
        let names = names.iter().map(|link| link.name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with("id-")).collect()
    };
    while !links().is_empty() && Instant::now() < give_up {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(links(), Vec::<String>::new());
    assert!(!shared::netlink::nft::has_table(), "the firewall's table is still there");
    assert_eq!(fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap(), "0\n");
    let left: Vec<_> = match fs::read_dir("/run/inside-docker") {
        Ok(entries) => entries.flatten().map(|entry| entry.file_name()).collect(),
        Err(_) => Vec::new(),
    };
    assert!(left.is_empty(), "{left:?}");
}
