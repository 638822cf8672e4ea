//! What can be wrong with a problem.

/// A problem that can't be solved.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SolveError {
    /// A number is NaN or infinite.
    #[error("{place} is {value}; every term and every limit must be a finite number")]
    NotFinite {
        /// The term or limit.
        place: String,
        /// What stands there.
        value: f64,
    },
    /// A form does not fit the space.
    #[error("{place} has {found} values where the space has {expected}")]
    Shape {
        /// The form and its part.
        place: String,
        /// What the space asks for.
        expected: usize,
        /// What the form has.
        found: usize,
    },
    /// A limited cost has a term by the number of changed variables.
    #[error("cost {cost} has a term by the number of changed variables; only the objective may have one")]
    CountInLimit {
        /// The cost's name.
        cost: String,
    },
    /// Too many choices would have to be listed.
    #[error(
        "costs tie {variables} variables around {first} together, which leaves more than {cap} choices; \
         give them fewer widths or limit a cost without products of their widths"
    )]
    TooManyChoices {
        /// The first variable of the group.
        first: String,
        /// Number of variables in the group.
        variables: usize,
        /// The most choices that are listed.
        cap: usize,
    },
    /// The nodes were used up before any assignment was found that keeps the limits.
    #[error(
        "no bit config that keeps the limits was found in {nodes} nodes, and none was proved not to exist; allow more nodes"
    )]
    NotFound {
        /// The nodes that were looked at.
        nodes: u64,
    },
    /// No assignment keeps the limits.
    #[error("{}", infeasible(.reached))]
    Infeasible {
        /// Each limited cost with the values that it can have.
        reached: Vec<Reach>,
    },
}

/// What values a limited cost can have.
#[derive(Clone, Debug, PartialEq)]
pub struct Reach {
    /// The cost's name.
    pub cost: String,
    /// Its limit.
    pub at_most: f64,
    /// The least value of any assignment.
    pub least: f64,
    /// The least value of the assignments that keep the limits before this one; none if there is no such assignment.
    pub least_within: Option<f64>,
}

fn infeasible(reached: &[Reach]) -> String {
    let alone: Vec<_> = reached.iter().filter(|reach| reach.least > reach.at_most).collect();
    if !alone.is_empty() {
        let each = alone.iter().map(|reach| {
            format!("{} is at least {}, its limit is {}", reach.cost, reach.least, reach.at_most)
        });
        return format!("no bit config keeps the limits: {}", each.collect::<Vec<_>>().join("; "));
    }
    let together = reached.iter().find_map(|reach| {
        let least = reach.least_within.filter(|least| *least > reach.at_most)?;
        Some(format!(
            "within the limits before it {} is at least {least}, its limit is {}",
            reach.cost, reach.at_most
        ))
    });
    format!(
        "no bit config keeps all limits together, though each can be kept alone{}",
        together.map(|text| format!(": {text}")).unwrap_or_default()
    )
}
