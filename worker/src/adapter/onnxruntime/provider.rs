use ort::environment::Environment;
use ort::ep::{self, ExecutionProvider, ExecutionProviderDispatch};

use ort::session::Session;

use super::super::AdapterError;
use super::library::one_line;

/// What executes the operators that it knows; the processor executes the others.
pub(super) struct Provider {
    /// For `provider=`.
    pub(super) option: &'static str,
    /// ONNX Runtime's own name.
    name: &'static str,
    /// Whether it is the processor by another way.
    pub(super) is_processor: bool,
    is_available: fn() -> ort::Result<bool>,
    dispatch: fn() -> ExecutionProviderDispatch,
}

/// The providers that can be asked for; which of them there are depends on the library.
pub(super) static PROVIDERS: [Provider; 12] = [
    of::<ep::CPU>("cpu", true),
    of::<ep::ACL>("acl", true),
    of::<ep::CoreML>("coreml", false),
    of::<ep::CUDA>("cuda", false),
    of::<ep::DirectML>("directml", false),
    of::<ep::MIGraphX>("migraphx", false),
    of::<ep::NNAPI>("nnapi", false),
    of::<ep::OneDNN>("onednn", true),
    of::<ep::OpenVINO>("openvino", false),
    of::<ep::QNN>("qnn", false),
    of::<ep::TensorRT>("tensorrt", false),
    of::<ep::XNNPACK>("xnnpack", true),
];

const fn of<E>(option: &'static str, is_processor: bool) -> Provider
where
    E: ExecutionProvider + Default + Into<ExecutionProviderDispatch>,
{
    Provider {
        option,
        name: E::NAME,
        is_processor,
        is_available: E::is_available,
        dispatch: || E::default().into(),
    }
}

impl Provider {
    /// ONNX Runtime's own name.
    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// Whether the library that is loaded has it, and it can be used here and now.
    ///
    /// Errors: `Unable`, naming those that the library has, or saying why not.
    pub(super) fn check(&self, environment: &Environment) -> Result<(), AdapterError> {
        let has = |provider: &&Provider| (provider.is_available)().unwrap_or(false);
        if has(&self) {
            return self.registered(environment).map_err(|error| {
                let (option, error) = (self.option, one_line(&error.to_string()));
                AdapterError::Unable(format!("the provider `{option}` cannot be used here: {error}"))
            });
        }
        let others: Vec<&str> = PROVIDERS.iter().filter(has).map(|provider| provider.option).collect();
        let (option, others) = (self.option, others.join(", "));
        Err(AdapterError::Unable(format!(
            "this library of onnxruntime was built without the provider `{option}`; it has {others}: choose one of \
             these, or name a library with it by lib=PATH"
        )))
    }

    /// Registers it for a session that is not made: what it needs of the machine is looked for then.
    fn registered(&self, environment: &Environment) -> ort::Result<()> {
        Session::builder(environment)?.with_execution_providers(self.dispatches())?;
        Ok(())
    }

    /// What a session is told; nothing for the processor alone, which always comes last.
    pub(super) fn dispatches(&self) -> Vec<ExecutionProviderDispatch> {
        match self.option {
            "cpu" => Vec::new(),
            _ => vec![(self.dispatch)().error_on_failure()],
        }
    }
}
