//! A program on a terminal: a pty of util-linux's `script`, and what it draws there as a terminal shows it.

use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::lab::{Lab, need};
use super::within;

pub struct Terminal {
    script: Child,
    keys: ChildStdin,
    parser: Arc<Mutex<vt100::Parser>>,
    reading: Option<JoinHandle<()>>,
}

impl Terminal {
    /// Runs a shell command on the node, on a screen of this size.
    pub fn start(lab: &Lab, command: &str, rows: u16, columns: u16) -> Self {
        need("script", "bsdutils");
        let command = format!("stty rows {rows} cols {columns}; exec {command}");
        let mut script = lab
            .command("node", "script")
            .args(["--quiet", "--return", "--flush", "--command", &command])
            .arg("/dev/null")
            .env("TERM", "xterm-256color")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (keys, mut out) = (script.stdin.take().unwrap(), script.stdout.take().unwrap());
        let parser = Arc::new(Mutex::new(vt100::Parser::new(rows, columns, 0)));
        let shown = Arc::clone(&parser);
        let read = move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = out.read(&mut bytes) {
                shown.lock().unwrap().process(&bytes[..count]);
            }
        };
        Self {
            script,
            keys,
            parser,
            reading: Some(std::thread::spawn(read)),
        }
    }

    pub fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    pub fn screen(&self) -> vt100::Screen {
        self.parser.lock().unwrap().screen().clone()
    }

    /// Waits until the screen has this text.
    pub fn until(&self, text: &str) -> vt100::Screen {
        within(Duration::from_secs(20), text, || {
            let screen = self.screen();
            match screen.contents().contains(text) {
                true => Ok(screen),
                false => Err(format!("no {text:?} in\n{}", screen.contents())),
            }
        })
    }

    /// The program's id, and its terminal.
    pub fn program(&self) -> (u32, PathBuf) {
        within(Duration::from_secs(5), "the program runs", || {
            let id = self.script.id();
            let children = format!("/proc/{id}/task/{id}/children");
            let children = std::fs::read_to_string(children).unwrap_or_default();
            let child = children.split_whitespace().next().ok_or("no child")?;
            let terminal = std::fs::read_link(format!("/proc/{child}/fd/0"));
            let terminal = terminal.map_err(|error| error.to_string())?;
            Ok((child.parse().unwrap(), terminal))
        })
    }

    /// As a user who pulls at the window's corner.
    pub fn resize(&self, rows: u16, columns: u16) {
        let terminal = self.program().1;
        assert!(std::fs::metadata(&terminal).unwrap().rdev() > 0);
        self.parser
            .lock()
            .unwrap()
            .screen_mut()
            .set_size(rows, columns);
        let size = [rows, columns].map(|n| n.to_string());
        let done = Command::new("stty")
            .arg("-F")
            .arg(terminal)
            .args(["rows", &size[0], "cols", &size[1]])
            .status();
        assert!(done.unwrap().success());
    }

    /// How it ended, and what its terminal was left with.
    pub fn end(mut self) -> (ExitStatus, vt100::Screen) {
        let script = &mut self.script;
        let status = within(Duration::from_secs(10), "the program ends", || {
            let ended = script.try_wait().unwrap();
            ended.ok_or_else(|| "it runs".to_owned())
        });
        self.reading.take().unwrap().join().unwrap();
        (status, self.screen())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if self.script.try_wait().is_ok_and(|ended| ended.is_none()) {
            let _ = self.script.kill();
            let _ = self.script.wait();
        }
    }
}
