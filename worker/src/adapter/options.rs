use std::collections::BTreeMap;

/// What `--probe NAME[=OPTIONS]` says: a name, and `key=value` pairs with commas between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeOptions {
    name: String,
    /// Those that nobody has taken yet.
    pairs: BTreeMap<String, String>,
}

/// What is wrong with a probe's options.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// It is no `key=value`.
    #[error("`{part}` is no option of the probe `{name}`; write NAME=key=value,key=value")]
    Form {
        /// The probe.
        name: String,
        /// What was found.
        part: String,
    },
    /// It is given twice.
    #[error("the probe `{name}` is given the option `{key}` twice")]
    Twice {
        /// The probe.
        name: String,
        /// The option.
        key: String,
    },
    /// The probe does not know it.
    #[error("the probe `{name}` has no option `{key}`")]
    Unknown {
        /// The probe.
        name: String,
        /// The option.
        key: String,
    },
    /// Its value is none.
    #[error("the option `{key}` of the probe `{name}` cannot be `{value}`; give {expected}")]
    Value {
        /// The probe.
        name: String,
        /// The option.
        key: String,
        /// What was given.
        value: String,
        /// What it may be.
        expected: String,
    },
    /// It has to be given.
    #[error("the probe `{name}` needs the option `{key}` here; give the device's own: {expected}")]
    Missing {
        /// The probe.
        name: String,
        /// The option.
        key: String,
        /// What it may be.
        expected: &'static str,
    },
}

impl ProbeOptions {
    /// Reads `NAME` or `NAME=key=value,key=value`.
    ///
    /// Errors: `Form`, `Twice`.
    pub fn parse(text: &str) -> Result<Self, OptionsError> {
        let (name, rest) = text.split_once('=').unwrap_or((text, ""));
        let (name, mut pairs) = (name.to_owned(), BTreeMap::new());
        for part in rest.split(',').filter(|part| !part.is_empty()) {
            let pair = part.split_once('=').filter(|(key, _)| !key.is_empty());
            let Some((key, value)) = pair else {
                return Err(OptionsError::Form { name, part: part.to_owned() });
            };
            if pairs.insert(key.to_owned(), value.to_owned()).is_some() {
                return Err(OptionsError::Twice { name, key: key.to_owned() });
            }
        }
        Ok(Self { name, pairs })
    }

    /// The probe's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What an option says, if it is given and nobody has taken it.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.pairs.get(key).map(String::as_str)
    }

    /// Takes an option out, if it is given.
    pub fn take(&mut self, key: &str) -> Option<String> {
        self.pairs.remove(key)
    }

    /// Takes all options out whose names begin so, by what follows in their names.
    pub fn take_all(&mut self, beginning: &str) -> BTreeMap<String, String> {
        let pairs = std::mem::take(&mut self.pairs);
        let (taken, left): (BTreeMap<_, _>, _) =
            pairs.into_iter().partition(|(key, _)| key.starts_with(beginning));
        self.pairs = left;
        taken.into_iter().map(|(key, value)| (key[beginning.len()..].to_owned(), value)).collect()
    }

    /// Takes an option out that is one of some words, and returns what the word stands for.
    ///
    /// Errors: `Value`.
    pub fn take_one_of<T: Copy>(
        &mut self,
        key: &str,
        words: &[(&str, T)],
    ) -> Result<Option<T>, OptionsError> {
        let Some(value) = self.take(key) else { return Ok(None) };
        match words.iter().find(|(word, _)| *word == value) {
            Some((_, meant)) => Ok(Some(*meant)),
            None => {
                let expected = words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
                Err(OptionsError::Value { name: self.name.clone(), key: key.to_owned(), value, expected })
            }
        }
    }

    /// Takes an option out that is a number of one of several things, of which the first one is 0.
    ///
    /// Errors: `Value`.
    pub fn take_number(&mut self, key: &str) -> Result<Option<u16>, OptionsError> {
        let Some(value) = self.take(key) else { return Ok(None) };
        let wrong = |_| OptionsError::Value {
            name: self.name.clone(),
            key: key.to_owned(),
            value: value.clone(),
            expected: "a number, the first one is 0".to_owned(),
        };
        value.parse().map(Some).map_err(wrong)
    }

    /// Takes an option out that has to be given; `expected` says what it may be.
    ///
    /// Errors: `Missing`.
    pub fn take_needed(&mut self, key: &str, expected: &'static str) -> Result<String, OptionsError> {
        self.take(key).ok_or_else(|| OptionsError::Missing {
            name: self.name.clone(),
            key: key.to_owned(),
            expected,
        })
    }

    /// Refuses what nobody has taken.
    ///
    /// Errors: `Unknown`.
    pub fn finish(self) -> Result<(), OptionsError> {
        match self.pairs.into_keys().next() {
            None => Ok(()),
            Some(key) => Err(OptionsError::Unknown { name: self.name, key }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_is_named_with_options_or_without() {
        let mut options = ProbeOptions::parse("integer=cpus=0-1,codes=int8").unwrap();

        assert_eq!(options.name(), "integer");
        assert_eq!(options.take("cpus").as_deref(), Some("0-1"));
        assert_eq!(options.take_one_of("codes", &[("native", 1), ("int8", 2)]), Ok(Some(2)));
        assert_eq!(options.take_one_of("codes", &[("native", 1)]), Ok(None));
        assert_eq!(options.take("cpus"), None);
        assert_eq!(options.finish(), Ok(()));
        assert_eq!(ProbeOptions::parse("integer").unwrap().finish(), Ok(()));
        let mut options = ProbeOptions::parse("other=ep.a=1,epoch=2,ep.b.c=3").unwrap();
        let taken = options.take_all("ep.");
        let expected = [("a", "1"), ("b.c", "3")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(taken, BTreeMap::from(expected));
        assert_eq!((options.take("epoch").as_deref(), options.finish()), (Some("2"), Ok(())));
        // A value may hold what separates a key from it.
        let mut options = ProbeOptions::parse("other=library=/opt/a=b.so").unwrap();
        assert_eq!(options.take("library").as_deref(), Some("/opt/a=b.so"));
    }

    #[test]
    fn what_is_wrong_with_options_is_said() {
        let error = |text: &str| ProbeOptions::parse(text).unwrap_err().to_string();
        assert_eq!(error("p=fast"), "`fast` is no option of the probe `p`; write NAME=key=value,key=value");
        assert_eq!(error("p=a=1,a=2"), "the probe `p` is given the option `a` twice");
        let mut options = ProbeOptions::parse("p=a=x,b=1").unwrap();
        let number = options.clone().take_number("a").unwrap_err().to_string();
        assert_eq!(
            number,
            "the option `a` of the probe `p` cannot be `x`; give a number, the first one is 0"
        );
        assert_eq!((options.get("b"), options.clone().take_number("b")), (Some("1"), Ok(Some(1))));
        let value = options.take_one_of("a", &[("y", 1), ("z", 2)]).unwrap_err();
        assert_eq!(value.to_string(), "the option `a` of the probe `p` cannot be `x`; give y, z");
        assert_eq!(options.finish().unwrap_err().to_string(), "the probe `p` has no option `b`");
    }
}
