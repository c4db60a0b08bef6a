//! Generated conversations: the kernel counts what the model says. The same ones each time; `owlk8s-wire fuzz` goes on.

use owlk8s_wire::{Kernel, Plan, expected, shrink};

/// About 20 seconds of them.
const SEEDS: std::ops::Range<u64> = 0..2500;

#[test]
fn generated_conversations_count_as_the_model_says() {
    let mut kernel = Kernel::new();
    let (mut started, mut aborted) = (0, 0);
    for seed in SEEDS {
        let plan = Plan::random(seed);
        let case = plan.case();
        let (want, got) = (expected(&case), kernel.run(&case));
        (started, aborted) = (started + want.started, aborted + want.aborted);
        if want == got {
            continue;
        }
        let plan = shrink(plan, |plan| {
            let case = plan.case();
            expected(&case) != kernel.run(&case)
        });
        let case = plan.case();
        let (want, got) = (expected(&case), kernel.run(&case));
        panic!("seed {seed}, made smaller:\n{case}\nmodel:  {want:?}\nkernel: {got:?}");
    }
    assert!(
        started > 10_000 && aborted > 500,
        "{started} requests, {aborted} aborted: the generator says little"
    );
}
