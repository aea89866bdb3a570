//! The server: a thread for each connection, and an orderly end at SIGTERM.
//!
//! At SIGTERM nothing new is accepted, what is in flight is finished, and then the process ends with 0.

use std::io::{self, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use crate::answer::App;
use crate::request::Request;
use crate::{millis, number, pause, print_secrets, variable, version};

static TERMINATED: AtomicBool = AtomicBool::new(false);
static IN_FLIGHT: AtomicU64 = AtomicU64::new(0);
/// Where the signal handler writes the byte that wakes the main thread.
static WAKE: AtomicI32 = AtomicI32::new(-1);

const SIGINT: i32 = 2;
const SIGTERM: i32 = 15;
const IGNORE: usize = 1;

unsafe extern "C" {
    fn signal(number: i32, handler: usize) -> usize;
    fn pipe(ends: *mut i32) -> i32;
    fn write(descriptor: i32, bytes: *const u8, length: usize) -> isize;
}

extern "C" fn on_signal(_: i32) {
    // SAFETY: `write` is async-signal-safe, and the byte lives as long as the program.
    unsafe { write(WAKE.load(SeqCst), c"!".as_ptr().cast(), 1) };
}

/// Whether SIGTERM has come: what goes on for ever ends then.
pub(crate) fn terminated() -> bool {
    TERMINATED.load(SeqCst)
}

/// Serves until SIGTERM.
pub(crate) fn run() -> ExitCode {
    match try_run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("app: {error}");
            ExitCode::from(1)
        }
    }
}

fn try_run() -> io::Result<ExitCode> {
    let woken = listen_for_signals()?;
    if let Some(code) = start() {
        return Ok(code);
    }
    let port = number("PORT").and_then(|port| u16::try_from(port).ok()).unwrap_or(8080);
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
    println!("listening on {port} as {}", version());
    std::thread::spawn(move || accept(&listener));
    (&woken).read_exact(&mut [0])?;
    TERMINATED.store(true, SeqCst);
    // Wakes the acceptor, which then lets go of the port.
    let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, port));
    drain();
    Ok(ExitCode::SUCCESS)
}

fn listen_for_signals() -> io::Result<std::fs::File> {
    let mut ends = [0; 2];
    // SAFETY: the array holds the two descriptors that `pipe` writes; the first one is owned from here on.
    let reader = unsafe {
        if pipe(ends.as_mut_ptr()) != 0 {
            return Err(io::Error::last_os_error());
        }
        OwnedFd::from_raw_fd(ends[0])
    };
    WAKE.store(ends[1], SeqCst);
    let handler = on_signal as extern "C" fn(i32) as usize;
    let term = if variable("IGNORE_TERM").is_some() { IGNORE } else { handler };
    // SAFETY: the handler does nothing but an async-signal-safe write.
    unsafe {
        signal(SIGTERM, term);
        signal(SIGINT, handler);
    }
    Ok(reader.into())
}

/// What happens before it listens; an exit code when it never will.
fn start() -> Option<ExitCode> {
    println!("starting {}", version());
    if variable("PRINT_SECRETS").is_some() {
        print_secrets();
    }
    let required = variable("REQUIRE").unwrap_or_default();
    if let Some(missing) = required.split(',').find(|name| !name.is_empty() && variable(name).is_none()) {
        eprintln!("app: the variable {missing} is missing");
        return Some(ExitCode::from(78));
    }
    if let Some(megabytes) = number("MEMORY_AT_START_MB") {
        // An engine hears of the kernel's deed only where it listens before it, and it begins to after the start.
        pause(Duration::from_secs(1));
        take_memory(megabytes);
    }
    if let Some(code) = number("CRASH_AT_START") {
        eprintln!("app: crashing on purpose");
        return Some(ExitCode::from(u8::try_from(code).unwrap_or(1)));
    }
    if let Some(time) = millis("CRASH_AFTER_MS") {
        std::thread::spawn(move || {
            pause(time);
            eprintln!("app: crashing on purpose after {time:?}");
            std::process::exit(3);
        });
    }
    pause(millis("START_DELAY_MS").unwrap_or_default());
    None
}

/// Takes memory and never gives it back.
pub(crate) fn take_memory(megabytes: u64) {
    for taken in 1..=megabytes {
        std::mem::forget(std::hint::black_box(vec![1_u8; 1 << 20]));
        if taken % 16 == 0 {
            println!("holding {taken} MiB");
        }
    }
}

fn accept(listener: &TcpListener) {
    let app = std::sync::Arc::new(App::new());
    for stream in listener.incoming() {
        if terminated() {
            return;
        }
        let Ok(stream) = stream else { continue };
        let app = std::sync::Arc::clone(&app);
        std::thread::spawn(move || {
            // A connection that ends badly is the client's to count.
            let _ = converse(&app, stream);
        });
    }
}

/// Counts what is in flight while it lives.
struct InFlight;

impl InFlight {
    fn begin() -> Self {
        IN_FLIGHT.fetch_add(1, SeqCst);
        Self
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        IN_FLIGHT.fetch_sub(1, SeqCst);
    }
}

fn converse(app: &App, stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut to = stream.try_clone()?;
    let mut from = BufReader::new(stream);
    while let Some(request) = Request::read(&mut from)? {
        let _counted = InFlight::begin();
        let close = request.wants_close();
        let goes_on = app.answer(&request, &mut from, &mut to, close || terminated())?;
        if close || !goes_on || terminated() {
            break;
        }
    }
    Ok(())
}

fn drain() {
    let begun = Instant::now();
    let most = millis("DRAIN_MS").unwrap_or(Duration::from_secs(10));
    println!("SIGTERM: {} in flight", IN_FLIGHT.load(SeqCst));
    while IN_FLIGHT.load(SeqCst) > 0 && begun.elapsed() < most {
        pause(Duration::from_millis(2));
    }
    println!("ending with {} in flight", IN_FLIGHT.load(SeqCst));
}

/// Asks this container's own server for its health, as an image's HEALTHCHECK does.
pub(crate) fn check_health() -> ExitCode {
    let port = number("PORT").and_then(|port| u16::try_from(port).ok()).unwrap_or(8080);
    let ask = || {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(3)))?;
        stream.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        io::Result::Ok(answer)
    };
    match ask() {
        Ok(answer) => {
            println!("{}", answer.lines().last().unwrap_or_default());
            if answer.starts_with("HTTP/1.1 200") { ExitCode::SUCCESS } else { ExitCode::from(1) }
        }
        Err(error) => {
            println!("no answer: {error}");
            ExitCode::from(1)
        }
    }
}
