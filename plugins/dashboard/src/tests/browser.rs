//! A real Chromium without a window, driven over its pipe by the DevTools protocol.
//! <https://chromedevtools.github.io/devtools-protocol/>

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Its pipes are the descriptors 3 and 4.
const START: &str = "exec chromium \"$@\" 3<&0 4>&1 0</dev/null 1>/dev/null";

pub(super) struct Browser {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    session: Option<String>,
    last_id: u64,
    complaints: Vec<String>,
    profile: std::path::PathBuf,
}

impl Browser {
    /// A page of this size, loading.
    pub(super) fn open(url: &str, width: u32, height: u32) -> Self {
        Self::open_by(Command::new("sh"), url, width, height)
    }

    /// As [`open`](Self::open), by a shell that is somewhere else, such as in a network namespace.
    pub(super) fn open_by(mut shell: Command, url: &str, width: u32, height: u32) -> Self {
        static OPENED: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let opened = OPENED.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let profile =
            std::env::temp_dir().join(format!("owlk8s-page-{}-{opened}", std::process::id()));
        let mut child = shell
            .args([
                "-c",
                START,
                "sh",
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
            ])
            .args(["--remote-debugging-pipe", "--disable-background-networking"])
            .arg(format!("--user-data-dir={}", profile.display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (to, from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut browser = Self {
            child,
            to,
            from: BufReader::new(from),
            session: None,
            last_id: 0,
            complaints: Vec::new(),
            profile,
        };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let session = browser.call("Target.attachToTarget", attach)["sessionId"].clone();
        browser.session = session.as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500});
        browser.call("Emulation.setDeviceMetricsOverride", size);
        browser.call("Page.navigate", json!({"url": url}));
        browser
    }

    fn call(&mut self, method: &str, params: Value) -> Value {
        self.last_id += 1;
        let id = self.last_id;
        let mut call = json!({"id": id, "method": method, "params": params});
        if let Some(session) = &self.session {
            call["sessionId"] = json!(session);
        }
        let sent = write!(self.to, "{call}\0").and_then(|()| self.to.flush());
        sent.expect("chromium is missing: install the Debian package `chromium`");
        loop {
            let mut bytes = Vec::new();
            self.from.read_until(0, &mut bytes).unwrap();
            assert!(
                !bytes.is_empty(),
                "chromium is missing or ended: install the Debian package `chromium`"
            );
            bytes.pop();
            let message: Value = serde_json::from_slice(&bytes).unwrap();
            if message["id"] == id {
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].clone();
            }
            let entry = &message["params"]["entry"];
            if message["method"] == "Runtime.exceptionThrown"
                || (entry["level"] == "error" && message["method"] == "Log.entryAdded")
            {
                self.complaints.push(message["params"].to_string());
            }
        }
    }

    /// What an expression is in the page.
    pub(super) fn value(&mut self, expression: &str) -> Value {
        let wanted = json!({"expression": expression, "returnByValue": true});
        let answer = self.call("Runtime.evaluate", wanted);
        assert!(
            answer["exceptionDetails"].is_null(),
            "{expression}: {answer}"
        );
        answer["result"]["value"].clone()
    }

    /// Asks until the expression is true.
    pub(super) fn until(&mut self, expression: &str, what: &str) {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let wanted = json!({"expression": format!("!!({expression})"), "returnByValue": true});
            let answer = self.call("Runtime.evaluate", wanted);
            if answer["result"]["value"] == true {
                return;
            }
            assert!(
                Instant::now() < end,
                "{what}: {answer} {:?}",
                self.complaints
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Presses and lets go of a key.
    pub(super) fn key(&mut self, key: &str) {
        let text = match key {
            "Enter" => "\r",
            one if one.chars().count() == 1 => one,
            _ => "",
        };
        let code = match key {
            "Enter" => 13,
            "Escape" => 27,
            _ => 0,
        };
        for kind in ["keyDown", "keyUp"] {
            let mut event = json!({"type": kind, "key": key, "windowsVirtualKeyCode": code});
            if kind == "keyDown" && !text.is_empty() {
                event["text"] = json!(text);
            }
            self.call("Input.dispatchKeyEvent", event);
        }
    }

    /// Writes into what has the focus.
    pub(super) fn typed(&mut self, text: &str) {
        self.call("Input.insertText", json!({"text": text}));
    }

    /// As of a system that is set to dark.
    pub(super) fn dark(&mut self) {
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": "dark"}]});
        self.call("Emulation.setEmulatedMedia", features);
    }

    /// What is seen now, as a PNG in base64.
    pub(super) fn shot(&mut self) -> String {
        let shot = self.call("Page.captureScreenshot", json!({"format": "png"}));
        shot["data"].as_str().unwrap().to_owned()
    }

    /// Errors of the page's scripts, and what its policy refused.
    pub(super) fn complaints(&self) -> &[String] {
        &self.complaints
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.profile);
    }
}
