use std::os::unix::fs::symlink;

use super::*;

#[test]
fn an_old_kernel_fails_and_says_what_is_needed() {
    for old in ["5.15.0-generic", "5.4.0", "4.19.0-27-amd64"] {
        let check = kernel::version(old);
        assert_eq!(check.verdict, Verdict::Failed, "{old}");
        assert!(check.remedy.contains("5.17"), "{}", check.remedy);
    }
    for new in ["5.17.0", "6.1.0-28-cloud-amd64", "6.18.44", "10.0-rc1"] {
        assert_eq!(kernel::version(new).verdict, Verdict::Ok, "{new}");
    }
}

#[test]
fn what_makes_packets_dear_or_the_filter_refused_is_a_warning() {
    assert_eq!(kernel::jit("0").verdict, Verdict::Warning);
    assert_eq!(kernel::jit("1").verdict, Verdict::Ok);
    let confidential = kernel::lockdown("none integrity [confidentiality]");
    assert_eq!(confidential.verdict, Verdict::Warning);
    assert_eq!(
        kernel::lockdown("[none] integrity confidentiality").found,
        "none"
    );
}

#[test]
fn the_network_plugin_is_told_by_its_interfaces() {
    let links = tempfile::tempdir().unwrap();
    let at = |name: &str| links.path().join(name);
    assert_eq!(network::check_in(links.path()).verdict, Verdict::Warning);
    for name in ["lo", "eth0", "cni0", "veth1", "veth2", "cali123"] {
        std::fs::create_dir(at(name)).unwrap();
    }
    for port in ["veth1", "veth2"] {
        symlink("../cni0", at(port).join("master")).unwrap();
    }
    let found = network::check_in(links.path()).found;
    assert_eq!(found, "1 of Calico, 2 of a veth on bridge cni0");
}

#[test]
fn the_worst_check_is_the_verdict_and_what_was_skipped_is_none() {
    let report = |checks: Vec<Check>| Report::new(checks).verdict;
    assert_eq!(report(vec![]), Verdict::Ok);
    assert_eq!(report(vec![Check::skipped("a", "")]), Verdict::Ok);
    let worst = vec![
        Check::ok("a", ""),
        Check::failed("b", ""),
        Check::warning("c", ""),
    ];
    assert_eq!(report(worst), Verdict::Failed);
}

#[test]
fn the_report_is_a_line_each_with_the_remedy_below() {
    let report = Report::new(vec![
        Check::ok("kernel", "Linux 6.18"),
        Check::failed("capabilities", "CAP_BPF missing").remedy("grant it"),
    ]);
    assert_eq!(
        report.text(),
        "ok       kernel        Linux 6.18\n\
         FAILED   capabilities  CAP_BPF missing\n\
         \u{20}                      -> grant it\n"
    );
    let json: serde_json::Value = serde_json::from_str(&report.json().unwrap()).unwrap();
    assert_eq!(json["verdict"], "failed");
    assert_eq!(json["checks"][1]["remedy"], "grant it");
}
