#![expect(clippy::unwrap_used, reason = "a test panics where it fails")]

use super::*;

/// A fresh Debian with rustup's stable Rust and a C compiler, as root.
fn fresh() -> Machine {
    Machine {
        root: true,
        apt: true,
        rustup: Rustup::MayFetch,
        packages: BTreeSet::new(),
        commands: ["g++", "ip", "unshare", "python3", "rustup"]
            .map(String::from)
            .into(),
        bpf_linker: None,
        llvm: false,
        linters: true,
        modules: BTreeSet::new(),
        python_is_debian: true,
    }
}

/// A machine that lacks nothing.
fn complete() -> Machine {
    let mut machine = fresh();
    machine.rustup = Rustup::HasParts;
    machine.llvm = true;
    machine.bpf_linker = Some(BPF_LINKER);
    machine
        .commands
        .extend(TOOLS.iter().map(|tool| tool.command.to_owned()));
    machine.modules = MODULES
        .iter()
        .map(|module| module.import.to_owned())
        .collect();
    machine
}

fn with_packages(mut machine: Machine, packages: &[crate::needs::Package]) -> Machine {
    machine
        .packages
        .extend(packages.iter().map(|package| package.name.to_owned()));
    machine
}

fn names(step: &Step) -> Vec<&'static str> {
    match step {
        Step::Apt(packages) => packages.iter().map(|(name, _)| *name).collect(),
        other => panic!("not an apt step: {other:?}"),
    }
}

#[test]
fn complete_machine_needs_nothing_for_any_goal() {
    for goal in [Goal::Build, Goal::Demo, Goal::Test, Goal::Scenarios] {
        assert_eq!(plan(goal, &complete(), None), Ok(vec![]), "{goal:?}");
    }
}

#[test]
fn rustup_is_asked_before_debians_rust_is_installed() {
    let steps = plan(Goal::Build, &fresh(), None).unwrap();
    assert_eq!(names(&steps[0]), ["llvm-22-dev", "libpolly-22-dev"]);
    assert_eq!(
        steps[1..],
        [Step::RustupParts],
        "what follows waits for the answer"
    );
}

#[test]
fn after_rustup_gave_its_parts_only_the_linker_is_left() {
    let mut machine = with_packages(fresh(), DEBIAN_LLVM);
    machine.llvm = true;
    machine.rustup = Rustup::HasParts;
    assert_eq!(plan(Goal::Build, &machine, None), Ok(vec![Step::BpfLinker]));
}

#[test]
fn rustup_that_refused_is_replaced_by_debians_rust() {
    let mut machine = with_packages(fresh(), DEBIAN_LLVM);
    machine.llvm = true;
    machine.rustup = Rustup::Refused;
    let steps = plan(Goal::Build, &machine, None).unwrap();
    assert_eq!(names(&steps[0]).len(), DEBIAN_RUST.len());
    assert_eq!(steps[1..], [Step::BpfLinker]);
}

#[test]
fn installed_debian_rust_is_used_without_asking_the_network() {
    let machine = with_packages(fresh(), DEBIAN_RUST);
    assert_eq!(present_toolchain(&machine, None), Some(Toolchain::Debian));
    assert!(
        !plan(Goal::Build, &machine, None)
            .unwrap()
            .contains(&Step::RustupParts)
    );
}

#[test]
fn parts_of_rustup_are_preferred_where_both_are_there() {
    let machine = with_packages(complete(), DEBIAN_RUST);
    assert_eq!(present_toolchain(&machine, None), Some(Toolchain::Rustup));
    assert_eq!(
        present_toolchain(&machine, Some(Toolchain::Debian)),
        Some(Toolchain::Debian)
    );
}

#[test]
fn wished_debian_toolchain_is_installed_though_rustup_has_its_parts() {
    let steps = plan(Goal::Build, &complete(), Some(Toolchain::Debian)).unwrap();
    assert_eq!(names(&steps[0]).len(), DEBIAN_RUST.len());
}

#[test]
fn without_root_the_missing_packages_and_the_command_are_named() {
    let mut machine = fresh();
    machine.root = false;
    let Missing(text) = plan(Goal::Build, &machine, None).unwrap_err();
    assert!(
        text.contains("sudo apt-get install --no-install-recommends llvm-22-dev libpolly-22-dev"),
        "{text}"
    );
}

#[test]
fn without_root_build_works_when_everything_is_there() {
    let mut machine = complete();
    machine.root = false;
    assert_eq!(plan(Goal::Build, &machine, None), Ok(vec![]));
}

#[test]
fn without_apt_and_rustup_the_message_leads_to_rustup() {
    let mut machine = complete();
    machine.apt = false;
    machine.rustup = Rustup::Absent;
    let Missing(text) = plan(Goal::Build, &machine, None).unwrap_err();
    assert!(text.contains("https://rustup.rs"), "{text}");
}

#[test]
fn without_apt_the_linker_needs_llvm_or_a_ready_binary() {
    let mut machine = complete();
    machine.apt = false;
    machine.llvm = false;
    machine.bpf_linker = Some((0, 9, 15));
    let Missing(text) = plan(Goal::Build, &machine, None).unwrap_err();
    assert!(text.contains("cargo binstall bpf-linker@0.13.0"), "{text}");
}

#[test]
fn old_linker_is_replaced_and_newer_minor_is_kept() {
    let mut machine = complete();
    machine.bpf_linker = Some((0, 9, 15));
    assert_eq!(plan(Goal::Build, &machine, None), Ok(vec![Step::BpfLinker]));
    machine.bpf_linker = Some((0, 14, 2));
    assert_eq!(plan(Goal::Build, &machine, None), Ok(vec![]));
}

#[test]
fn test_tools_are_no_matter_of_the_build() {
    let mut machine = complete();
    machine.commands.remove("nginx");
    machine.commands.remove("nft");
    assert_eq!(plan(Goal::Demo, &machine, None), Ok(vec![]));
    assert_eq!(
        names(&plan(Goal::Test, &machine, None).unwrap()[0]),
        ["nginx"]
    );
    assert_eq!(
        names(&plan(Goal::Scenarios, &machine, None).unwrap()[0]),
        ["nginx", "nftables"]
    );
}

#[test]
fn python_modules_come_from_apt_for_debians_python_and_from_pip_for_another() {
    let mut machine = complete();
    machine.modules.clear();
    let steps = plan(Goal::Scenarios, &machine, None).unwrap();
    assert_eq!(names(&steps[0]), ["python3-h2", "python3-grpcio"]);
    machine.python_is_debian = false;
    assert_eq!(
        plan(Goal::Scenarios, &machine, None),
        Ok(vec![Step::Pip(vec!["h2", "grpcio"])])
    );
}

#[test]
fn linters_are_fetched_for_the_gate_only() {
    let mut machine = complete();
    machine.linters = false;
    assert_eq!(plan(Goal::Demo, &machine, None), Ok(vec![]));
    assert_eq!(plan(Goal::Test, &machine, None), Ok(vec![Step::Linters]));
}

#[test]
fn without_rustup_missing_linters_lead_to_it() {
    let mut machine = complete();
    machine.linters = false;
    machine.commands.remove("rustup");
    let Missing(text) = plan(Goal::Test, &machine, None).unwrap_err();
    assert!(text.contains("https://rustup.rs"), "{text}");
}
