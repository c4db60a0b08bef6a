//! What a machine said, read: which checks passed, and of those that did not, which tests. Pure.

use std::fmt;
use std::time::Duration;

use super::Check;
use crate::kernel::version;
use crate::run::human;

/// Checks and tests that do not hold on older kernels: the first version on which they do, and why not before.
const LATER: [(&str, (u32, u32), &str); 4] = [
    ("doctor with two capabilities", (6, 17), NEEDS_PERFMON),
    (
        "two_capabilities_are_all_it_needs_to_count",
        (6, 17),
        NEEDS_PERFMON,
    ),
    (
        "detached_probe_leaves_no_descriptor_and_no_entry",
        (6, 8),
        "the two descriptors of the program that stands in on sockets stay",
    ),
    (
        "kernel_memory_is_fixed_but_for_a_little_of_each_target",
        (6, 4),
        "the kernel tells the room of tables, not what they use",
    ),
];
const NEEDS_PERFMON: &str = "the verifier accepts the program only with CAP_PERFMON";

/// Of one kernel.
#[derive(Debug)]
pub(super) struct Report {
    release: String,
    outcomes: Vec<Outcome>,
    took: Duration,
}

#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    name: String,
    /// None: the machine ended before it did.
    code: Option<i32>,
    passed: usize,
    failed: Vec<String>,
    /// That it, or some of its tests, do not hold on this kernel, and why.
    lacking: Vec<String>,
    /// What `doctor` warns of.
    warnings: Vec<String>,
}

/// `=== end CODE NAME`: the code and the name.
pub(super) fn ended(line: &str) -> Option<(i32, &str)> {
    let (code, name) = line.trim_end().strip_prefix("=== end ")?.split_once(' ')?;
    Some((code.parse().ok()?, name))
}

impl Report {
    pub(super) fn read(release: &str, checks: &[Check], said: &str, took: Duration) -> Self {
        Self {
            release: release.to_owned(),
            outcomes: checks
                .iter()
                .map(|check| Outcome::read(release, &check.name, said))
                .collect(),
            took,
        }
    }

    pub(super) fn is_passed(&self) -> bool {
        self.outcomes.iter().all(Outcome::is_passed)
    }
}

impl Outcome {
    fn read(release: &str, name: &str, said: &str) -> Self {
        let begin = format!("=== begin {name}");
        let lines = said.lines().skip_while(|line| *line != begin).skip(1);
        let mut outcome = Self {
            name: name.to_owned(),
            code: None,
            passed: 0,
            failed: Vec::new(),
            lacking: Vec::new(),
            warnings: Vec::new(),
        };
        for line in lines {
            if let Some((code, of)) = ended(line) {
                outcome.code = (of == name).then_some(code);
                break;
            }
            outcome.take(line);
        }
        outcome.excuse(release);
        outcome
    }

    /// Takes what is known not to hold on this kernel for no failure.
    fn excuse(&mut self, release: &str) {
        let Some(version) = version(release) else {
            return;
        };
        for (name, since, why) in LATER {
            if version >= since {
                continue;
            }
            let whole = self.name == name && self.code.is_some_and(|code| code != 0);
            let before = self.failed.len();
            self.failed.retain(|test| test != name);
            if whole || self.failed.len() < before {
                self.lacking
                    .push(format!("{name}: not before {}.{}, {why}", since.0, since.1));
            }
        }
        // The exit code says no more than they do.
        if !self.lacking.is_empty() && self.failed.is_empty() && matches!(self.code, Some(1 | 101))
        {
            self.code = Some(0);
        }
    }

    /// A line of the test harness's (`test result: ok. 3 passed; ...`, `---- NAME stdout ----`) or of `doctor`'s.
    fn take(&mut self, line: &str) {
        if let Some(result) = line.strip_prefix("test result: ") {
            let mut words = result.split_whitespace();
            let passed = words.by_ref().nth(1).and_then(|number| number.parse().ok());
            self.passed = passed.unwrap_or_default();
        } else if let Some(test) = line.strip_prefix("---- ") {
            self.failed
                .extend(test.strip_suffix(" stdout ----").map(str::to_owned));
        } else if line.starts_with("warning ") || line.starts_with("FAILED ") {
            self.warnings
                .push(line.split_whitespace().collect::<Vec<_>>().join(" "));
        }
    }

    fn is_passed(&self) -> bool {
        self.code == Some(0) && self.failed.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n  Linux {} ({})", self.release, human(self.took))?;
        for outcome in &self.outcomes {
            write!(f, "{outcome}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.is_passed() { "passed" } else { "FAILED" };
        write!(f, "    {verdict}  {}", self.name)?;
        match (self.passed, self.code) {
            (_, None) => write!(f, ": the machine ended before it did")?,
            (0, Some(0)) => {}
            (0, Some(code)) if self.failed.is_empty() => write!(f, ": exit code {code}")?,
            (passed, _) => write!(f, ": {passed} of {} tests", passed + self.failed.len())?,
        }
        writeln!(f)?;
        for test in &self.failed {
            writeln!(f, "            {test}")?;
        }
        for lacking in &self.lacking {
            writeln!(f, "      not here: {lacking}")?;
        }
        for warning in &self.warnings {
            writeln!(f, "            {warning}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(said: &str) -> Report {
        let checks = ["doctor", "probe/veth", "demo"].map(|name| Check::new(name, ""));
        Report::read("6.1.0", &checks, said, Duration::from_secs(9))
    }

    const SAID: &str = "\
=== begin doctor
ok       kernel  Linux 6.1
warning  jit     the kernel interprets
=== end 0 doctor
=== begin probe/veth
running 2 tests
test a ... ok
test b ... ok

test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.52s

=== end 0 probe/veth
=== begin demo
=== end 0 demo
";

    #[test]
    fn tests_that_passed_are_counted_and_what_doctor_warns_of_is_shown() {
        let report = report(SAID);
        assert!(report.is_passed());
        let text = report.to_string();
        assert!(
            text.contains("passed  probe/veth: 2 of 2 tests\n"),
            "{text}"
        );
        assert!(text.contains("warning jit the kernel interprets"), "{text}");
    }

    #[test]
    fn test_that_failed_is_named() {
        let failing = "---- b stdout ----\n\ntest result: FAILED. 1 passed";
        let said = SAID
            .replace("test result: ok. 2 passed", failing)
            .replace("end 0 probe", "end 101 probe");
        let report = report(&said);
        assert!(!report.is_passed());
        let text = report.to_string();
        assert!(
            text.contains("FAILED  probe/veth: 1 of 2 tests\n            b\n"),
            "{text}"
        );
    }

    #[test]
    fn test_that_needs_a_newer_kernel_is_listed_and_no_failure() {
        let name = "two_capabilities_are_all_it_needs_to_count";
        let failing = format!("---- {name} stdout ----\n\ntest result: FAILED. 1 passed");
        let said = SAID
            .replace("test result: ok. 2 passed", &failing)
            .replace("end 0 probe", "end 101 probe");
        let old = report(&said);
        assert!(old.is_passed(), "{old}");
        assert!(
            old.to_string()
                .contains(&format!("not here: {name}: not before 6.17")),
            "{old}"
        );
        let checks = ["probe/veth"].map(|name| Check::new(name, ""));
        let new = Report::read("6.17.0", &checks, &said, Duration::from_secs(9));
        assert!(!new.is_passed(), "{new}");
    }

    #[test]
    fn check_that_never_ended_has_failed() {
        for cut in ["=== end 0 demo\n", "=== begin demo\n=== end 0 demo\n"] {
            let report = report(SAID.strip_suffix(cut).expect("the end of it"));
            assert!(!report.is_passed());
            assert!(
                report
                    .to_string()
                    .contains("demo: the machine ended before it did"),
                "{report}"
            );
        }
    }
}
