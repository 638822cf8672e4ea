//! What comes of configs that a device computes otherwise than simulated.

use super::*;

#[test]
fn what_a_device_computes_otherwise_is_not_recommended() {
    let of = |wrong| {
        let mut plan = experiment(&["one"], limited(vec![limit("one", Amount::Of(4.0))]));
        if let StagePlan::Probe(probe) = &mut plan.stages[2] {
            probe.fidelity = 100;
        }
        plan.stages.push(StagePlan::Verify { top: 2, uniform: false, difference_max_ppm: 5_000 });
        let driver = run(plan, &[("one", Board { wrong, ..PLAIN })]);
        assert_eq!(driver.status(), "finished");
        driver.results().searches.remove(0)
    };

    let right = of(0);
    assert_eq!((right.recommended().map(|(rank, _)| rank), right.refusals().len()), (Some(1), 0));

    let wrong = of(20);
    assert_eq!(wrong.recommended(), None);
    // The first two were compared; nobody knows of the others, on a device that differs.
    let ranks = wrong.top.len();
    assert!(ranks > 3, "{ranks}");
    let recognizes = |rank| {
        format!(
            "rank {rank} is not recommended: integer on board=one recognizes 960 of 2000 images, 1000 as simulated"
        )
    };
    let others = format!(
        "ranks 3 to {ranks} are not recommended: integer on board=one computes another config otherwise than simulated, and was \
         not compared here; `verify` compares as many as its `top` says"
    );
    assert_eq!(wrong.refusals(), [recognizes(1), recognizes(2), others]);
}

#[test]
fn networks_that_a_device_computes_otherwise_are_warned_of_where_nothing_is_verified() {
    let notes = |wrong, verify: Option<StagePlan>| {
        let mut plan = experiment(&["one"], limited(vec![limit("one", Amount::Of(4.0))]));
        if let StagePlan::Probe(probe) = &mut plan.stages[2] {
            probe.fidelity = 100;
        }
        plan.stages.extend(verify);
        let driver = run(plan, &[("one", Board { wrong, ..PLAIN })]);
        assert_eq!(driver.status(), "finished");
        let notes = driver.results().devices.remove(0).notes;
        notes.into_iter().filter(|note| note.contains("verify")).collect::<Vec<_>>()
    };

    let [warned] = <[String; 1]>::try_from(notes(20, None)).unwrap();
    assert!(
        warned.contains(
            "are computed otherwise than simulated, by more than 0.5 percentage points: integer on board=one recognizes 48 of 100 \
             images, 50 as simulated. Nothing compares what searches find: add a `verify` stage"
        ),
        "{warned}"
    );
    assert_eq!(notes(0, None), Vec::<String>::new());
    assert_eq!(notes(20, Some(StagePlan::verify(1, false))), Vec::<String>::new());
}
