//! Packets that go straight to the device inside a pod, as `bpf_redirect_peer` sends them: made without a compiler, from
//! a few instructions and two requests to traffic control.

use std::ffi::CString;
use std::io;
use std::mem::size_of_val;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

/// What comes out of the veth `from` goes into the pod behind the veth `to`, but for what is for the node itself. Both are
/// names in the calling thread's namespace.
pub(crate) fn redirect(from: &str, to: &str) -> io::Result<()> {
    const RTM_NEWQDISC: u16 = 36;
    const RTM_NEWTFILTER: u16 = 44;
    const CLSACT: u32 = 0xffff_fff1;
    const INGRESS: u32 = 0xffff_fff2;
    const ALL_PROTOCOLS: u32 = 0x0300;
    const PRIORITY: u32 = 1 << 16;
    const KIND: u16 = 1;
    const OPTIONS: u16 = 2;
    const FD: u16 = 6;
    const NAME: u16 = 7;
    const FLAGS: u16 = 8;
    const DIRECT: u32 = 1;
    let (from, to) = (index(from)?, index(to)?);
    let program = load(to)?;
    ask(
        RTM_NEWQDISC,
        [from, 0xffff_0000, CLSACT, 0],
        &attribute(KIND, b"clsact\0"),
    )?;
    let options = [
        attribute(FD, &program.as_raw_fd().to_ne_bytes()),
        attribute(NAME, b"bypass\0"),
        attribute(FLAGS, &DIRECT.to_ne_bytes()),
    ];
    let filter = [
        attribute(KIND, b"bpf\0"),
        attribute(OPTIONS, &options.concat()),
    ];
    ask(
        RTM_NEWTFILTER,
        [from, 0, INGRESS, PRIORITY | ALL_PROTOCOLS],
        &filter.concat(),
    )
}

fn index(interface: &str) -> io::Result<u32> {
    let name = CString::new(interface)?;
    // SAFETY: a C string that outlives the call.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}

/// `struct nlattr` and what follows.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let len = u16::try_from(4 + value.len()).unwrap();
    let mut bytes = [len.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// One request of traffic control by rtnetlink: `struct tcmsg` of an interface, a handle, a parent and what is special.
fn ask(kind: u16, message: [u32; 4], attributes: &[u8]) -> io::Result<()> {
    const REQUEST_ACK_CREATE: u16 = 0x1 | 0x4 | 0x400;
    let body = [
        vec![0; 4],
        message.map(u32::to_ne_bytes).concat(),
        attributes.to_vec(),
    ]
    .concat();
    let len = u32::try_from(16 + body.len()).unwrap();
    let mut request = len.to_ne_bytes().to_vec();
    request.extend(kind.to_ne_bytes());
    request.extend(REQUEST_ACK_CREATE.to_ne_bytes());
    request.extend([0; 8]);
    request.extend(body);
    // SAFETY: no pointer is passed.
    let fd = unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    assert!(fd >= 0, "{}", io::Error::last_os_error());
    // SAFETY: just opened, and nobody else's.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut answer = [0_u8; 4096];
    // SAFETY: both buffers are as long as is said, and outlive the calls.
    let received = unsafe {
        libc::send(
            socket.as_raw_fd(),
            request.as_ptr().cast(),
            request.len(),
            0,
        );
        libc::recv(
            socket.as_raw_fd(),
            answer.as_mut_ptr().cast(),
            answer.len(),
            0,
        )
    };
    assert!(received >= 20, "{}", io::Error::last_os_error());
    match i32::from_ne_bytes(answer[16..20].try_into().unwrap()) {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(-error)),
    }
}

/// The program of the data path: IPv4 that is not for the node (address .1) goes to the peer of the interface `to`.
fn load(to: u32) -> io::Result<OwnedFd> {
    const SCHED_CLS: u32 = 3;
    const REDIRECT_PEER: i32 = 155;
    const IPV4: i32 = 0x0800;
    let instruction = |code: u8, registers: u8, offset: i16, immediate: i32| -> [u8; 8] {
        let [o0, o1] = offset.to_ne_bytes();
        let [i0, i1, i2, i3] = immediate.to_ne_bytes();
        [code, registers, o0, o1, i0, i1, i2, i3]
    };
    let code = [
        instruction(0xbf, 0x16, 0, 0),             // r6 = r1, the packet
        instruction(0x28, 0, 0, 12),               // r0 = its EtherType
        instruction(0x55, 0, 6, IPV4),             // if r0 != IPV4 goto pass
        instruction(0x30, 0, 0, 33),               // r0 = last byte of its destination
        instruction(0x15, 0, 4, 1),                // if r0 == 1 goto pass
        instruction(0xb7, 1, 0, to.cast_signed()), // r1 = to
        instruction(0xb7, 2, 0, 0),                // r2 = 0
        instruction(0x85, 0, 0, REDIRECT_PEER),    // r0 = bpf_redirect_peer(r1, r2)
        instruction(0x95, 0, 0, 0),                // return r0
        instruction(0xb7, 0, 0, 0),                // pass: r0 = TC_ACT_OK
        instruction(0x95, 0, 0, 0),                // return r0
    ];
    #[repr(C)]
    struct LoadAttr {
        prog_type: u32,
        insn_cnt: u32,
        insns: u64,
        license: u64,
        log: [u64; 3],
    }
    const PROG_LOAD: libc::c_int = 5;
    let mut attr = LoadAttr {
        prog_type: SCHED_CLS,
        insn_cnt: u32::try_from(code.len()).unwrap(),
        insns: code.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        log: [0; 3],
    };
    // SAFETY: code and licence outlive the call.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, PROG_LOAD, &raw mut attr, size_of_val(&attr)) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just opened, and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).unwrap()) })
}
