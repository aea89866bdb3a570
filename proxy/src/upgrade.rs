//! Upgrade without a gap: the running process hands its listening sockets to a new one.
//!
//! The new process (`--upgrade`) listens on a socket in the data folder. On SIGQUIT the old one
//! freezes the routing, connects, sends its sockets with their names, and waits for the word that the
//! new one serves. Then it stops accepting and drains; without that word it goes on as if nothing had
//! happened. Both accept from the same queues in between, so no connection is refused.

use std::io::{self, IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};

use crate::listen::{Inherited, bind_private};

/// How long the new process waits for the old one's SIGQUIT.
pub const WAIT_FOR_OLD: Duration = Duration::from_secs(60);

/// How long the old process waits for the new one to come up.
const WAIT_TO_MEET: Duration = Duration::from_secs(10);

/// How often it looks.
const MEET_AGAIN: Duration = Duration::from_millis(20);

/// How long the old process waits for the new one to serve.
const WAIT_FOR_NEW: Duration = Duration::from_secs(30);

/// The word that the new process serves.
const SERVING: u8 = b'S';

/// The most sockets one message can carry (the kernel's SCM_MAX_FD is 253).
const MAX_SOCKETS: usize = 128;

/// Where the two processes meet.
#[must_use]
pub fn meeting_point(data_dir: &Path) -> PathBuf {
    data_dir.join("upgrade.sock")
}

/// The new process's side: the sockets, and how to say that they are served.
#[derive(Debug)]
pub struct Takeover {
    /// The sockets by name.
    pub sockets: Inherited,
    old: UnixStream,
}

impl Takeover {
    /// Waits for the old process to hand over.
    ///
    /// # Errors
    /// When nobody comes in time, or what comes cannot be understood.
    pub fn wait(data_dir: &Path) -> io::Result<Self> {
        let path = meeting_point(data_dir);
        std::fs::create_dir_all(data_dir)?;
        let listener = bind_private(&path)?;
        let accepted = accept_within(&listener, WAIT_FOR_OLD);
        // Nobody else is to come. That the file is gone already would be just as well.
        let _ = std::fs::remove_file(&path);
        let old = accepted?;
        old.set_read_timeout(Some(WAIT_FOR_NEW))?;
        let sockets = receive(&old)?;
        Ok(Self { sockets, old })
    }

    /// Says that the sockets are served: the old process stops accepting.
    ///
    /// # Errors
    /// When the old process is gone, which then does not matter any more.
    pub fn serving(mut self) -> io::Result<()> {
        self.old.write_all(&[SERVING])
    }
}

fn accept_within(listener: &UnixListener, limit: Duration) -> io::Result<UnixStream> {
    use rustix::event::{PollFd, PollFlags, poll};
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("no running proxy handed over within {} s; send it SIGQUIT", limit.as_secs()),
            ));
        }
        let timeout = rustix::time::Timespec { tv_sec: left.as_secs().cast_signed() + 1, tv_nsec: 0 };
        match poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&timeout)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(listener.accept()?.0),
            Err(error) => return Err(error.into()),
        }
    }
}

/// The old process's side: finds the new one, which may still be starting. Blocks.
///
/// # Errors
/// When there is no new process.
pub fn meet(data_dir: &Path) -> io::Result<UnixStream> {
    meet_within(data_dir, WAIT_TO_MEET)
}

fn meet_within(data_dir: &Path, limit: Duration) -> io::Result<UnixStream> {
    let path = meeting_point(data_dir);
    let deadline = Instant::now() + limit;
    loop {
        match UnixStream::connect(&path) {
            Ok(new) => return Ok(new),
            Err(error) if Instant::now() >= deadline => {
                return Err(io::Error::new(
                    error.kind(),
                    format!(
                        "no new process waits at {} ({error}); start one with --upgrade first",
                        path.display()
                    ),
                ));
            }
            Err(_) => pause(MEET_AGAIN),
        }
    }
}

/// Waits a moment on a thread that may block.
fn pause(moment: Duration) {
    let timeout = rustix::time::Timespec { tv_sec: 0, tv_nsec: i64::from(moment.subsec_nanos()) };
    // Woken early by a signal is just as well.
    let _ = rustix::event::poll(&mut [], Some(&timeout));
}

/// Hands the sockets over and waits for the word that they are served. Blocks.
///
/// # Errors
/// When the new process does not come to serve; this one then goes on.
pub fn hand_over(mut new: UnixStream, sockets: &[(String, OwnedFd)]) -> io::Result<()> {
    new.set_read_timeout(Some(WAIT_FOR_NEW))?;
    send(&new, sockets)?;
    let mut word = [0];
    match new.read_exact(&mut word) {
        Ok(()) if word[0] == SERVING => Ok(()),
        Ok(()) => Err(io::Error::other("the new process answered something else")),
        Err(error) => {
            Err(io::Error::new(error.kind(), format!("the new process did not come to serve: {error}")))
        }
    }
}

fn send(stream: &UnixStream, sockets: &[(String, OwnedFd)]) -> io::Result<()> {
    if sockets.len() > MAX_SOCKETS {
        return Err(io::Error::other(format!("at most {MAX_SOCKETS} sockets can be handed over")));
    }
    let names: Vec<&str> = sockets.iter().map(|(name, _)| name.as_str()).collect();
    let text = serde_json::to_vec(&names)?;
    let fds: Vec<_> = sockets.iter().map(|(_, fd)| fd.as_fd()).collect();
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_SOCKETS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(io::Error::other("too many sockets for one message"));
    }
    // The length goes with the descriptors, so that they arrive with the first bytes.
    let length = u32::try_from(text.len()).map_err(io::Error::other)?.to_be_bytes();
    let sent = rustix::net::sendmsg(stream, &[IoSlice::new(&length)], &mut ancillary, SendFlags::empty())?;
    if sent != length.len() {
        return Err(io::Error::other("the sockets were not sent whole"));
    }
    (&*stream).write_all(&text)
}

fn receive(stream: &UnixStream) -> io::Result<Inherited> {
    let mut length = [0; 4];
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_SOCKETS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let got = rustix::net::recvmsg(
        stream,
        &mut [IoSliceMut::new(&mut length)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    if got.bytes != length.len() {
        return Err(io::Error::other("the running proxy hung up while handing over"));
    }
    let fds: Vec<OwnedFd> = ancillary
        .drain()
        .filter_map(
            |message| if let RecvAncillaryMessage::ScmRights(fds) = message { Some(fds) } else { None },
        )
        .flatten()
        .collect();
    let mut text = vec![0; u32::from_be_bytes(length) as usize];
    (&*stream).read_exact(&mut text)?;
    let names: Vec<String> = serde_json::from_slice(&text)?;
    if names.len() != fds.len() {
        return Err(io::Error::other(format!("{} sockets were named but {} came", names.len(), fds.len())));
    }
    Ok(names.into_iter().zip(fds).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn a_socket_that_was_handed_over_accepts_what_was_queued_before() {
        let folder = tempfile::tempdir().expect("a folder");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let early = TcpStream::connect(address).expect("queued");
        let new = std::thread::spawn({
            let folder = folder.path().to_owned();
            move || {
                let mut takeover = Takeover::wait(&folder).expect("handed over");
                let socket = takeover.sockets.remove("tcp here").expect("the named socket");
                let accepted = TcpListener::from(socket).accept().expect("the queued connection").1;
                takeover.serving().expect("told");
                accepted
            }
        });
        let sockets = vec![("tcp here".to_owned(), OwnedFd::from(listener))];
        hand_over(meet(folder.path()).expect("a new process"), &sockets).expect("handed over");
        assert_eq!(new.join().expect("the new side"), early.local_addr().expect("an address"));
    }

    #[test]
    fn without_a_new_process_the_old_one_is_told_what_to_do() {
        let folder = tempfile::tempdir().expect("a folder");
        let error = meet_within(folder.path(), Duration::ZERO).expect_err("nobody is there");
        assert!(error.to_string().contains("start one with --upgrade first"), "{error}");
    }
}
