//! What plans and workspaces hold.

use super::*;
use crate::engine::workspace::LINE_BYTES;

#[test]
fn a_workspace_is_as_large_as_the_last_plan_wants_and_tensors_keep_within_the_budget() {
    let prepared = everything();
    let engine = engine(&prepared, Numerics::Exact, Isa::best());
    let sweep = sweep(prepared.points.len(), 8, 4);
    let float = [vec![Choice::Float; prepared.points.len()]];
    let peak_alone = |config: &Config| {
        let (_, plan) = computed(&engine, std::slice::from_ref(config), 32, 0);
        plan.schedule.peak
    };
    let alone = sweep.iter().map(peak_alone).max().expect("a sweep has configs");
    let (images, mut workspace) = (images(), Workspace::default());

    // Large and small plans in turns, so that what one leaves would show in the next.
    for (configs, budget) in [(&sweep[..], PLENTY), (&float, 0), (&sweep, 10_000), (&sweep, 0), (&float, 0)] {
        let (_, plan) = computed(&engine, configs, 32, budget);
        plan.trim(&mut workspace, 32);
        for block in crate::network::blocks(0..IMAGES, 32) {
            plan.run((block.len(), images.pixels_of(block)), &mut workspace, |_, _| {});
        }

        let lines = plan.schedule.slots.len() * LINE_BYTES;
        let held = workspace.bytes();
        assert!((plan.bytes(32)..=plan.bytes(32) + lines).contains(&held), "{held} {}", plan.bytes(32));
        if configs.len() > 1 {
            assert!(plan.schedule.peak <= budget.saturating_add(alone), "{} {budget}", plan.schedule.peak);
        }
        // Slots do not shrink when a smaller tensor follows a larger one.
        assert!(plan.bytes(1) < 2 * plan.schedule.peak, "{} {}", plan.bytes(1), plan.schedule.peak);
    }
}
