//! A real InfluxDB 1.x on the node, asked by its own query language.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::lab::{Lab, need};
use super::within;

/// The node has a loopback of its own, so each lab's server can have the same.
const ADDRESS: &str = "127.0.0.1:8086";

pub struct Influx<'a> {
    lab: &'a Lab,
    dir: PathBuf,
    child: Option<Child>,
}

impl<'a> Influx<'a> {
    /// An empty one, answering.
    pub fn start(lab: &'a Lab) -> Self {
        need("influxd", "influxdb");
        let dir = lab.dir.path().join("influxdb");
        std::fs::create_dir(&dir).unwrap();
        let config = format!(
            "reporting-disabled = true\nbind-address = \"127.0.0.1:8088\"\n\
             [meta]\ndir = \"{0}/meta\"\n[data]\ndir = \"{0}/data\"\nwal-dir = \"{0}/wal\"\nquery-log-enabled = false\n\
             [http]\nbind-address = \"{ADDRESS}\"\nlog-enabled = false\n[monitor]\nstore-enabled = false\n",
            dir.display()
        );
        std::fs::write(dir.join("conf"), config).unwrap();
        let mut influx = Self {
            lab,
            dir,
            child: None,
        };
        influx.up();
        influx
    }

    /// Starts it with the data that it had.
    pub fn up(&mut self) {
        let log = std::fs::File::create(self.dir.join("log")).unwrap();
        let child = self
            .lab
            .command("node", "influxd")
            .arg("-config")
            .arg(self.dir.join("conf"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
        within(Duration::from_secs(30), "influxd answers", || {
            match self.ask("GET", "/ping") {
                Ok((204, _)) => Ok(()),
                other => Err(format!(
                    "{other:?}\n{}",
                    std::fs::read_to_string(self.dir.join("log")).unwrap()
                )),
            }
        });
    }

    /// Ends it; its data stay.
    pub fn down(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = Command::new("kill").arg(child.id().to_string()).status();
            child.wait().unwrap();
        }
    }

    /// Status and body. HTTP/1.0, so the answer is not chunked.
    fn ask(&self, method: &str, target: &str) -> std::io::Result<(u16, String)> {
        let mut asked = self.lab.connect("node", ADDRESS.parse().unwrap())?;
        asked.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(asked, "{method} {target} HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        asked.read_to_string(&mut answer)?;
        let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
        let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
        Ok((status.unwrap_or(0), body.to_owned()))
    }

    /// The series of a statement's only result; the error is the server's.
    pub fn query(&self, database: &str, statement: &str) -> Result<Vec<Value>, String> {
        let target = format!(
            "/query?db={database}&epoch=ns&q={}",
            percent_encoded(statement)
        );
        let (_, body) = self
            .ask("POST", &target)
            .map_err(|error| error.to_string())?;
        let answer: Value =
            serde_json::from_str(&body).map_err(|error| format!("{error}: {body}"))?;
        let result = &answer["results"][0];
        if !answer["error"].is_null() || !result["error"].is_null() {
            return Err(answer.to_string());
        }
        Ok(result["series"].as_array().cloned().unwrap_or_default())
    }

    /// The only row of a statement, without its time; zeros where there is no series.
    pub fn row<const N: usize>(&self, database: &str, statement: &str) -> Result<[f64; N], String> {
        let series = self.query(database, statement)?;
        let value = |column: usize| {
            let value = series
                .first()
                .map(|series| &series["values"][0][column + 1]);
            value.and_then(Value::as_f64).unwrap_or(0.0)
        };
        Ok(std::array::from_fn(value))
    }
}

impl Drop for Influx<'_> {
    fn drop(&mut self) {
        self.down();
    }
}

pub fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}
