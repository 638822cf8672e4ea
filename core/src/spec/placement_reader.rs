use super::error::SpecError;
use super::file::read_file_like;
use super::reader::{Fields, Place};
use super::{GRANULARITIES, PlacementSource, UnknownRules};
use crate::placement::{
    Activations, DEFAULT_RULES, Exception, LayerPlace, Operator, Placement, Selector, Supergroup, Treatment,
    WeightRules,
};
use crate::trial::{Biases, Granularity};

const EXAMPLE: &str = "docs/placement.md describes rules files";
const KEYS: [&str; 11] = [
    "version",
    "inputs",
    "weights",
    "biases",
    "activations",
    "supergroups",
    "pass_through",
    "shared",
    "tied",
    "float",
    "exceptions",
];

const INPUTS: [(&str, bool); 2] = [("quantized", true), ("float", false)];
const BIASES: [(&str, Biases); 2] = [("float", Biases::Float), ("int32", Biases::Int32)];
const ACTIVATIONS: [(&str, Activations); 2] =
    [("outputs", Activations::Outputs), ("layer_inputs", Activations::LayerInputs)];
const LAYER_PLACES: [(&str, LayerPlace); 3] =
    [("first", LayerPlace::First), ("last", LayerPlace::Last), ("shortcut", LayerPlace::Shortcut)];
const TREATMENTS: [(&str, Treatment); 3] =
    [("none", Treatment::None), ("keep", Treatment::Keep), ("fixed", Treatment::Fixed)];

impl Placement {
    /// Reads a rules file; `docs/placement.md` describes its keys.
    ///
    /// A key that is left out has the value that it has in the default rules.
    ///
    /// Errors: every mistake in the text, in the order of the file.
    pub fn parse(text: &str) -> Result<Self, SpecError> {
        let defaults = if text == DEFAULT_RULES { nothing() } else { Self::default() };
        read_file_like(EXAMPLE, text, &KEYS, |fields| placement(fields, defaults))
    }
}

/// What the default rules themselves fall back on; a test sees that they leave nothing out.
fn nothing() -> Placement {
    Placement {
        inputs: false,
        weights: WeightRules { operators: Vec::new(), granularity: Granularity::PerTensor },
        biases: Biases::Float,
        activations: Activations::LayerInputs,
        supergroups: Vec::new(),
        pass_through: Vec::new(),
        shared: Vec::new(),
        tied: Vec::new(),
        float: Vec::new(),
        exceptions: Vec::new(),
    }
}

fn placement(fields: &Fields<'_>, defaults: Placement) -> Option<Placement> {
    let inputs = fields.optional("inputs", defaults.inputs, |place| place.word(&INPUTS));
    let weights = fields.optional("weights", defaults.weights.clone(), |place| weights(place, &defaults));
    let biases = fields.optional("biases", defaults.biases, |place| place.word(&BIASES));
    let activations = fields.optional("activations", defaults.activations, |place| place.word(&ACTIVATIONS));
    let supergroups = fields.optional("supergroups", defaults.supergroups, supergroups);
    let list = |key, default, known: &'static [(&'static str, Operator)]| {
        fields.optional(key, default, |place| operators(place, known))
    };
    let pass_through = list("pass_through", defaults.pass_through, &Operator::MOVING);
    let shared = list("shared", defaults.shared, &Operator::SHARING);
    let tied = list("tied", defaults.tied, &Operator::JOINING);
    let float = list("float", defaults.float, &Operator::ALL);
    let exceptions = fields.optional("exceptions", defaults.exceptions, exceptions);
    let rules = Placement {
        inputs: inputs?,
        weights: weights?,
        biases: biases?,
        activations: activations?,
        supergroups: supergroups?,
        pass_through: pass_through?,
        shared: shared?,
        tied: tied?,
        float: float?,
        exceptions: exceptions?,
    };
    without_contradiction(fields, &rules)?;
    Some(rules)
}

fn weights(place: &Place<'_>, defaults: &Placement) -> Option<WeightRules> {
    let fields = place.fields(&["operators", "granularity"])?;
    let layers = |place: &Place<'_>| operators(place, &Operator::LAYERS);
    let operators = fields.optional("operators", defaults.weights.operators.clone(), layers);
    let granularity =
        fields.optional("granularity", defaults.weights.granularity, |place| place.word(&GRANULARITIES));
    Some(WeightRules { operators: operators?, granularity: granularity? })
}

/// A list, perhaps empty, of operators of which none stands there twice.
fn operators(place: &Place<'_>, known: &[(&'static str, Operator)]) -> Option<Vec<Operator>> {
    let mut operators = Vec::new();
    let mut complete = true;
    for item in place.any_items("[conv2d, relu]")? {
        match item.word(known) {
            Some(operator) if operators.contains(&operator) => {
                complete = false;
                item.mistake::<()>(format!("`{}` is already in the list", operator.as_str()), "remove it");
            }
            Some(operator) => operators.push(operator),
            None => complete = false,
        }
    }
    complete.then_some(operators)
}

fn supergroups(place: &Place<'_>) -> Option<Vec<Supergroup>> {
    let groups: Vec<_> = place.any_items("[[conv2d, relu], [add, relu]]")?.iter().map(supergroup).collect();
    groups.into_iter().collect()
}

fn supergroup(place: &Place<'_>) -> Option<Supergroup> {
    const EXAMPLE: &str = "[conv2d, batch_norm, [relu, relu6]]";
    let steps = place.items(EXAMPLE)?;
    if steps.len() == 1 {
        return place
            .mistake("a chain has at least two operators", format!("write a list such as `{EXAMPLE}`"));
    }
    let steps: Vec<_> = steps
        .iter()
        .map(|step| match step.is_list() {
            true => step.items("[relu, relu6]").and_then(|_| operators(step, &Operator::ALL)),
            false => step.word(&Operator::ALL).map(|operator| vec![operator]),
        })
        .collect();
    steps.into_iter().collect::<Option<Vec<_>>>().map(Supergroup)
}

fn exceptions(place: &Place<'_>) -> Option<Vec<Exception>> {
    let exceptions: Vec<_> =
        place.any_items("[{ point: fc.weight, quantizer: none }]")?.iter().map(exception).collect();
    exceptions.into_iter().collect()
}

fn exception(place: &Place<'_>) -> Option<Exception> {
    let pattern = |place: &Place<'_>| place.text().map(str::to_owned);
    let fields = place.fields(&["point", "node", "layer", "quantizer"])?;
    let treatment = fields.required("quantizer", "quantizer: none", |place| place.word(&TREATMENTS));
    let selectors = [
        fields.optional("point", None, |place| Some(pattern(place).map(Selector::Point)))?,
        fields.optional("node", None, |place| Some(pattern(place).map(Selector::Node)))?,
        fields.optional("layer", None, |place| Some(place.word(&LAYER_PLACES).map(Selector::Layer)))?,
    ];
    let given = ["point", "node", "layer"].iter().filter(|key| fields.has(key)).count();
    if given != 1 {
        let problem = format!("expected one of `point`, `node` and `layer`, found {given} of them");
        return place.mistake(problem, "write an exception such as `{ point: fc.weight, quantizer: none }`");
    }
    let selector = selectors.into_iter().flatten().next();
    Some(Exception { selector: selector?, treatment: treatment? })
}

/// Each of the four lists says something else about an operator's output.
fn without_contradiction(fields: &Fields<'_>, rules: &Placement) -> Option<()> {
    let lists = [
        ("pass_through", &rules.pass_through),
        ("shared", &rules.shared),
        ("tied", &rules.tied),
        ("float", &rules.float),
    ];
    let mut consistent = true;
    for (index, (key, list)) in lists.iter().enumerate() {
        for (other_key, other) in &lists[..index] {
            for operator in list.iter().filter(|operator| other.contains(operator)) {
                consistent = false;
                // The list that is written down is the one to mend.
                let (at, also) = if fields.has(key) { (*key, *other_key) } else { (*other_key, *key) };
                fields.mistake::<()>(
                    at,
                    format!("`{}` is in `{also}` too", operator.as_str()),
                    "keep it in one of them; a list that is left out is the default's",
                );
            }
        }
    }
    consistent.then_some(())
}

/// Where an experiment's rules come from: the name of built-in ones, or a file.
pub(super) fn placement_source(place: &Place<'_>) -> Option<PlacementSource> {
    let text = super::shared::file_name(place)?;
    match text.parse() {
        Ok(source) => Some(source),
        Err(UnknownRules(_)) => place.expected(
            "`default`, `per_tensor`, `pairwise_mpq` or the path of a rules file",
            "a path has a `/` or ends in `.yaml`",
        ),
    }
}
