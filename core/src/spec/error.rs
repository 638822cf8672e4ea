use std::fmt;

/// One thing wrong with a file, on one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where: keys and positions, as in `quantization.weights.bits[1]`; `file` for the whole of it, or the line and
    /// column of text that is no YAML.
    pub path: String,
    /// What is wrong.
    pub problem: String,
    /// What to write instead; empty where the problem says it.
    pub hint: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.problem)?;
        if !self.hint.is_empty() {
            write!(f, "; {}", self.hint)?;
        }
        Ok(())
    }
}

/// A file that cannot be used, with everything that has to be mended, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", lines(.mistakes))]
pub struct SpecError {
    /// What is wrong; at least one.
    pub mistakes: Vec<Mistake>,
}

fn lines(mistakes: &[Mistake]) -> String {
    mistakes.iter().map(Mistake::to_string).collect::<Vec<_>>().join("\n")
}
