//! Open files from one process to the other: a byte with a file, or without one.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// Send `file`, or that there is none.
pub(crate) fn send(socket: impl AsFd, file: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let files: Vec<BorrowedFd<'_>> = file.into_iter().collect();
    if !files.is_empty() {
        // One fits: the space is for one.
        control.push(SendAncillaryMessage::ScmRights(&files));
    }
    sendmsg(
        socket,
        &[IoSlice::new(&[1])],
        &mut control,
        SendFlags::NOSIGNAL,
    )?;
    Ok(())
}

/// What the other side sent: one file at most; the kernel closes more.
pub(crate) fn receive(socket: impl AsFd) -> io::Result<Option<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let received = recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut byte)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let file = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut files) => files.next(),
        _ => None,
    });
    match received.bytes {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(file),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;

    #[test]
    fn file_arrives_with_its_byte_and_none_without() {
        let (a, mut b) = UnixStream::pair().unwrap();
        let (carried, mut other) = UnixStream::pair().unwrap();
        send(&a, Some(carried.as_fd())).unwrap();
        send(&a, None).unwrap();
        (&a).write_all(b"more").unwrap();
        let mut got = UnixStream::from(receive(&b).unwrap().unwrap());
        assert!(receive(&b).unwrap().is_none());
        let mut more = [0; 4];
        b.read_exact(&mut more).unwrap();
        got.write_all(b"x").unwrap();
        other.read_exact(&mut more[..1]).unwrap();
        assert_eq!(&more, b"xore");
        drop(a);
        assert_eq!(
            receive(&b).unwrap_err().kind(),
            io::ErrorKind::UnexpectedEof
        );
    }
}
