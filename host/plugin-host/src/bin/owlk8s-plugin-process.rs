//! The processes that the agent starts, alone, for this crate's tests: the agent's binary is not built with
//! them. And one more: `attempt` seals itself as they do, and then tries what it is told.

use std::io::{self, BufRead, Error, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use owlk8s_plugin_host::{
    SinkConfig, compile_process, plugin_process, seal_as_compiler, seal_as_plugins,
};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        None => plugin_process(),
        Some("compile") => compile_process(),
        Some("attempt") => attempt(arguments),
        Some(other) => panic!("no process is called {other}"),
    }
}

/// `attempt USER [SINKS]`: sealed for these sinks (JSON), or as a compile child where there are none. Each line of
/// the input is answered by a line: `ok`, or the number of the error.
fn attempt(mut arguments: impl Iterator<Item = String>) -> ExitCode {
    let user = arguments.next().and_then(|user| user.parse().ok());
    let user = user.unwrap_or_else(|| panic!("attempt USER [SINKS]"));
    let sealed = match arguments.next() {
        Some(sinks) => {
            let sinks: Vec<SinkConfig> =
                serde_json::from_str(&sinks).unwrap_or_else(|error| panic!("SINKS: {error}"));
            seal_as_plugins(&sinks, user).map(|status| format!("{status:?}"))
        }
        None => seal_as_compiler(user).map(|()| String::new()),
    };
    match sealed {
        Ok(status) => answer(&format!("sealed {status}")),
        Err(error) => answer(&format!("not sealed: {error}")),
    }
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        let words: Vec<&str> = line.split(' ').collect();
        match tried(&words) {
            Ok(()) => answer("ok"),
            Err(error) => answer(&error.raw_os_error().unwrap_or(-1).to_string()),
        }
    }
    ExitCode::SUCCESS
}

fn answer(text: &str) {
    let mut output = io::stdout().lock();
    let written = writeln!(output, "{text}").and_then(|()| output.flush());
    written.unwrap_or_else(|error| panic!("cannot answer: {error}"));
}

fn tried(words: &[&str]) -> io::Result<()> {
    let number = |word: &str| {
        word.parse()
            .unwrap_or_else(|_| panic!("{word} is no number"))
    };
    match words {
        ["read", path] => std::fs::read(path).map(drop),
        ["list", path] => std::fs::read_dir(path).map(drop),
        ["append", path] => {
            let file = std::fs::OpenOptions::new()
                .append(true)
                .create(true)
                .open(path);
            file?.write_all(b"x")
        }
        ["rename", from, to] => std::fs::rename(from, to),
        ["remove", path] => std::fs::remove_file(path),
        ["exec", path] => Err(Command::new(path).exec()),
        ["thread"] => {
            let thread = std::thread::Builder::new().spawn(|| ())?;
            thread.join().map_err(|_| Error::other("it panicked"))
        }
        ["socket", family, kind, protocol] => call(
            libc::SYS_socket,
            [number(family), number(kind), number(protocol)],
        ),
        ["call", call_number] => call(number(call_number), [0; 3]),
        ["call", call_number, a] => call(number(call_number), [number(a), 0, 0]),
        _ => panic!("{words:?} is nothing to try"),
    }
}

/// A system call by its number.
fn call(number: libc::c_long, arguments: [libc::c_long; 3]) -> io::Result<()> {
    let [a, b, c] = arguments;
    // SAFETY: the tests ask for calls that fail with these arguments, or that make a descriptor or a process;
    // none of them is given an address but null.
    match unsafe { libc::syscall(number, a, b, c, 0, 0, 0) } {
        -1 => Err(Error::last_os_error()),
        _ => Ok(()),
    }
}
