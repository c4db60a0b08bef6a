//! What guards the node against the process that runs plugins.

use owlk8s_plugin_host::landlock_abi;

use super::Check;

const NAME: &str = "plugin-sandbox";

pub(super) fn check() -> Check {
    judge(landlock_abi())
}

fn judge(landlock: u32) -> Check {
    if landlock > 0 {
        return Check::ok(NAME, format!("seccomp, and landlock ABI {landlock}"));
    }
    Check::warning(
        NAME,
        "seccomp, and no landlock: files are guarded from plugins by their owner and mode alone, and compiled \
         plugins are not kept when the agent ends",
    )
    .remedy("boot with `landlock` among the names in lsm= (/sys/kernel/security/lsm), on Linux 5.13 or newer")
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::judge;

    #[test]
    fn kernel_without_landlock_is_a_warning_with_its_remedy() {
        let without = judge(0);
        assert_eq!(without.verdict, Verdict::Warning);
        assert!(without.remedy.contains("lsm="));
        assert_eq!(judge(7).verdict, Verdict::Ok);
    }
}
