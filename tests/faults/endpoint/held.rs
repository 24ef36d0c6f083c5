//! Keeps the lock of a socket for a known time: recv() into memory that is not there yet, and that this process, which is
//! asked for it (userfaultfd), provides only after a while. The kernel copies, and so waits, with the socket locked.

use std::io;
use std::net::TcpStream;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

const PAGE: usize = 4096;

// include/uapi/linux/userfaultfd.h
const API: u64 = 0xaa;
const MODE_MISSING: u64 = 1;
const PAGEFAULT: u8 = 0x12;
const UFFDIO_API: libc::c_ulong = 0xc018_aa3f;
const UFFDIO_REGISTER: libc::c_ulong = 0xc020_aa00;
const UFFDIO_ZEROPAGE: libc::c_ulong = 0xc020_aa04;

/// Receives at most a page, the socket locked for `time`; gives the bytes received.
pub fn receive(stream: &TcpStream, time: Duration) -> io::Result<u64> {
    let (fd, page) = missing_page()?;
    let provider = std::thread::spawn(move || provide(&fd, page, time));
    // SAFETY: the page was mapped for this and is as long as is said.
    let length = unsafe { libc::recv(stream.as_raw_fd(), page as *mut libc::c_void, PAGE, 0) };
    let received = u64::try_from(length).map_err(|_| io::Error::last_os_error());
    provider.join().map_err(|_| io::Error::other("the provider of the page panicked"))??;
    received
}

/// A page of memory that is not there until it is provided.
fn missing_page() -> io::Result<(OwnedFd, usize)> {
    // SAFETY: the descriptor is new and ours; the mapping is new, and the structures are as long as the kernel's.
    unsafe {
        let fd = libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        let fd = OwnedFd::from_raw_fd(fd as i32);
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        let page = libc::mmap(std::ptr::null_mut(), PAGE, protection, flags, -1, 0);
        if page == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        ask(&fd, UFFDIO_API, &mut [API, 0, 0])?;
        ask(&fd, UFFDIO_REGISTER, &mut [page as u64, PAGE as u64, MODE_MISSING, 0])?;
        Ok((fd, page as usize))
    }
}

/// Waits until the page is wanted, lets `time` pass, and provides it.
fn provide(fd: &OwnedFd, page: usize, time: Duration) -> io::Result<()> {
    let mut message = [0; 32];
    rustix::io::read(fd, &mut message)?;
    if message[0] != PAGEFAULT {
        return Err(io::Error::other("something else than the page is wanted"));
    }
    std::thread::sleep(time);
    ask(fd, UFFDIO_ZEROPAGE, &mut [page as u64, PAGE as u64, 0, 0])
}

fn ask<const N: usize>(fd: &OwnedFd, request: libc::c_ulong, words: &mut [u64; N]) -> io::Result<()> {
    // SAFETY: each request's structure is made of as many words.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), request, words.as_mut_ptr()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
