//! A real Prometheus on the node that scrapes one page, asked by PromQL.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::lab::{Lab, need};
use super::{influx, within};

pub struct Prometheus<'a> {
    lab: &'a Lab,
    dir: PathBuf,
    port: u16,
    flags: &'a [&'a str],
    child: Option<Child>,
}

impl<'a> Prometheus<'a> {
    /// Scrapes `/metrics` of `page` five times a second.
    pub fn start(lab: &'a Lab, port: u16, page: &str, flags: &'a [&'a str]) -> Self {
        need("prometheus", "prometheus");
        let dir = lab.dir.path().join(format!("prometheus-{port}"));
        std::fs::create_dir(&dir).unwrap();
        let config = format!(
            "global: {{ scrape_interval: 200ms, scrape_timeout: 200ms }}\n\
             scrape_configs: [{{ job_name: owlk8s, static_configs: [{{ targets: ['{page}'] }}] }}]\n"
        );
        std::fs::write(dir.join("conf.yml"), config).unwrap();
        let mut prometheus = Self {
            lab,
            dir,
            port,
            flags,
            child: None,
        };
        prometheus.up();
        prometheus
    }

    /// Starts it with the data that it had.
    pub fn up(&mut self) {
        let path = |name: &str| self.dir.join(name);
        let child = self
            .lab
            .command("node", "prometheus")
            .arg(format!("--config.file={}", path("conf.yml").display()))
            .arg(format!("--storage.tsdb.path={}", path("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{}", self.port))
            .args(self.flags)
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(path("log")).unwrap())
            .spawn()
            .unwrap();
        self.child = Some(child);
        within(
            Duration::from_secs(30),
            "prometheus is ready",
            || match self.get("/-/ready") {
                Ok((200, _)) => Ok(()),
                other => Err(format!(
                    "{other:?}\n{}",
                    std::fs::read_to_string(self.dir.join("log")).unwrap()
                )),
            },
        );
    }

    /// Ends it; its data stay.
    pub fn down(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = Command::new("kill").arg(child.id().to_string()).status();
            child.wait().unwrap();
        }
    }

    fn get(&self, target: &str) -> std::io::Result<(u16, String)> {
        let to = format!("127.0.0.1:{}", self.port).parse().unwrap();
        let mut asked = self.lab.connect("node", to)?;
        asked.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(asked, "GET {target} HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        asked.read_to_string(&mut answer)?;
        let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
        let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
        Ok((status.unwrap_or(0), body.to_owned()))
    }

    /// The vector of an instant query; the error is the server's.
    pub fn query(&self, promql: &str) -> Result<Vec<Value>, String> {
        let target = format!("/api/v1/query?query={}", influx::percent_encoded(promql));
        let (_, body) = self.get(&target).map_err(|error| error.to_string())?;
        let answer: Value =
            serde_json::from_str(&body).map_err(|error| format!("{error}: {body}"))?;
        if answer["status"] != "success" {
            return Err(body);
        }
        Ok(answer["data"]["result"]
            .as_array()
            .cloned()
            .unwrap_or_default())
    }

    /// The only value of an instant query.
    pub fn value(&self, promql: &str) -> Result<f64, String> {
        match self.query(promql)?.as_slice() {
            [one] => one["value"][1]
                .as_str()
                .and_then(|text| text.parse().ok())
                .ok_or_else(|| one.to_string()),
            other => Err(format!("{} values; {}", other.len(), self.complaint())),
        }
    }

    /// Why the last scrape failed, as the server says it.
    pub fn complaint(&self) -> String {
        let targets = self.get("/api/v1/targets").unwrap_or_default().1;
        let targets: Value = serde_json::from_str(&targets).unwrap_or_default();
        targets["data"]["activeTargets"][0]["lastError"].to_string()
    }
}

impl Drop for Prometheus<'_> {
    fn drop(&mut self) {
        self.down();
    }
}
