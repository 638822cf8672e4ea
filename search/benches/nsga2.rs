//! What evolutionary and greedy searches take: `cargo bench -p bitloop-search --bench nsga2`.
//!
//! 102 variables of 5 widths, two objectives, of which one has a term by count, and a limit with 51 pair terms: the
//! size of a search over the weights and activations of MobileNetV2.

#[path = "common/clock.rs"]
mod clock;

use bitloop_core::bits::Bits;
use bitloop_core::graph::PointKind;
use bitloop_core::rng::rng;
use bitloop_search::cost::Cost;
use bitloop_search::form::{Form, Two};
use bitloop_search::solve::greedy::Greedy;
use bitloop_search::solve::nsga2::{Evaluate, Forms, GreedyRepair, Nsga2, Settings, minimise};
use bitloop_search::solve::{Limit, Problem};
use bitloop_search::space::{Space, Variable};

use crate::clock::median_ms;

const VARIABLES: usize = 102;
const WIDTHS: [u8; 5] = [4, 5, 6, 7, 8];

fn space() -> Space {
    let widths = || WIDTHS.map(|bits| Bits::new(bits).expect("4 to 8 are widths")).to_vec();
    let variable =
        |index| Variable { name: format!("point_{index}"), kind: PointKind::Weight, widths: widths() };
    Space { variables: (0..VARIABLES).map(variable).collect() }
}

fn objectives(space: &Space) -> [Form; 2] {
    let mut rng = rng(1, 0);
    let mut form = || {
        let mut form = Form::constant(0.0, space);
        for term in &mut form.one {
            let damage = rng.uniform() * rng.uniform();
            *term = WIDTHS.map(|bits| damage * f64::from(8 - bits) / 4.0).to_vec();
        }
        form
    };
    let [first, mut second] = [form(), form()];
    second.by_changed = (0..=VARIABLES).map(|changed| (changed as f64).sqrt()).collect();
    [first, second]
}

fn limit(space: &Space) -> Limit {
    let mut rng = rng(2, 0);
    let mut bops = Form::constant(0.0, space);
    for pair in 0..VARIABLES / 2 {
        let macs = rng.uniform();
        let products = WIDTHS.iter().flat_map(|a| WIDTHS.map(|b| macs * f64::from(*a) * f64::from(b)));
        bops.two.push(Two { a: 2 * pair, b: 2 * pair + 1, values: products.collect() });
    }
    let at_most = 0.6 * bops.value(space, &space.reference());
    Limit { cost: Cost { name: "bops_g".to_owned(), rows: vec![bops] }, at_most }
}

fn main() {
    let space = space();
    let (objectives, limit) = (objectives(&space), limit(&space));
    let forms = Forms::new(&space, &objectives, std::slice::from_ref(&limit));
    let [_, objective] = objectives;
    let problem = Problem { space: space.clone(), objective, limits: vec![limit] };
    let search = || Nsga2::new(forms.counts(), Settings::published(1), &[]).expect("settings are sound");

    let evaluating = median_ms(9, || {
        let levels = space.reference();
        let sum: f64 = (0..10_000).map(|_| forms.score(std::hint::black_box(&levels)).objectives[0]).sum();
        std::hint::black_box(sum);
    });
    let searching = median_ms(9, || {
        std::hint::black_box(minimise(search(), &forms).expect("scores fit together"));
    });
    let repairing = median_ms(3, || {
        let search = search().with_repair(Box::new(GreedyRepair::new(&problem)));
        std::hint::black_box(minimise(search, &forms).expect("scores fit together"));
    });
    let greedy = Greedy::new(&problem);
    let descending = median_ms(9, || {
        std::hint::black_box(greedy.descend(&space.reference()));
    });
    let exchanging = median_ms(5, || {
        std::hint::black_box(greedy.descend_and_exchange(&space.reference()));
    });
    eprintln!("10000 evaluations of forms alone     {evaluating:8.2} ms");
    eprintln!("NSGA-II, 100 generations of 100       {searching:8.2} ms");
    eprintln!("the same with greedy repair           {repairing:8.2} ms");
    eprintln!("one greedy descent from the reference {descending:8.2} ms");
    eprintln!("the same with exchanges               {exchanging:8.2} ms");
}
