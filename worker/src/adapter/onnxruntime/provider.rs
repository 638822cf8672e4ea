//! ONNX Runtime's execution providers: what executes operators, and on which device.

use ort::environment::Environment;
use ort::ep::{self, ArbitrarilyConfigurableExecutionProvider, ExecutionProvider, ExecutionProviderDispatch};
use ort::session::Session;

use super::super::gpu::driver_name;
use super::super::{AdapterError, ProbeOptions};
use super::library::one_line;

/// What executes the operators that it knows; the processor executes the others.
struct Provider {
    /// For `provider=`.
    option: &'static str,
    /// ONNX Runtime's own name.
    name: &'static str,
    devices: Devices,
    is_available: fn() -> ort::Result<bool>,
    dispatch: fn(Option<u16>) -> ExecutionProviderDispatch,
}

/// Which devices a provider has, and how one of them is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Devices {
    /// It is the processor by another way.
    Processor,
    /// CUDA's GPUs: all but one can be hidden by its UUID, and those that are seen have numbers.
    Cuda,
    /// Those of another interface, which have numbers.
    Numbered,
    /// There is one, or settings choose it.
    Other,
}

/// The providers that can be asked for; which of them there are depends on the library.
static PROVIDERS: [Provider; 12] = [
    of::<ep::CPU>("cpu", Devices::Processor, |_| ep::CPU::default().into()),
    of::<ep::ACL>("acl", Devices::Processor, |_| ep::ACL::default().into()),
    of::<ep::CoreML>("coreml", Devices::Other, |_| ep::CoreML::default().into()),
    of::<ep::CUDA>("cuda", Devices::Cuda, |number| numbered::<ep::CUDA>(number).into()),
    of::<ep::DirectML>("directml", Devices::Numbered, |number| directml(number).into()),
    of::<ep::MIGraphX>("migraphx", Devices::Numbered, |number| migraphx(number).into()),
    of::<ep::NNAPI>("nnapi", Devices::Other, |_| ep::NNAPI::default().into()),
    of::<ep::OneDNN>("onednn", Devices::Processor, |_| ep::OneDNN::default().into()),
    of::<ep::OpenVINO>("openvino", Devices::Other, |_| ep::OpenVINO::default().into()),
    of::<ep::QNN>("qnn", Devices::Other, |_| ep::QNN::default().into()),
    of::<ep::TensorRT>("tensorrt", Devices::Cuda, |number| numbered::<ep::TensorRT>(number).into()),
    of::<ep::XNNPACK>("xnnpack", Devices::Processor, |_| ep::XNNPACK::default().into()),
];

const fn of<E: ExecutionProvider>(
    option: &'static str,
    devices: Devices,
    dispatch: fn(Option<u16>) -> ExecutionProviderDispatch,
) -> Provider {
    Provider { option, name: E::NAME, devices, is_available: E::is_available, dispatch }
}

/// A provider that is told the number of its device.
fn numbered<E: ArbitrarilyConfigurableExecutionProvider + Default>(number: Option<u16>) -> E {
    let provider = E::default();
    match number {
        None => provider,
        Some(number) => provider.with_arbitrary_config("device_id", number),
    }
}

fn directml(number: Option<u16>) -> ep::DirectML {
    let provider = ep::DirectML::default();
    match number {
        None => provider,
        Some(number) => provider.with_device_id(number.into()),
    }
}

fn migraphx(number: Option<u16>) -> ep::MIGraphX {
    let provider = ep::MIGraphX::default();
    match number {
        None => provider,
        Some(number) => provider.with_device_id(number.into()),
    }
}

/// Whether a provider of this name, as `provider=` has it, executes on CUDA's GPUs.
pub(super) fn is_of_cuda(option: &str) -> bool {
    PROVIDERS.iter().any(|provider| provider.option == option && provider.devices == Devices::Cuda)
}

/// A provider, and what it is told.
#[derive(Clone)]
pub(super) struct Execution {
    provider: &'static Provider,
    /// Which of several devices.
    number: Option<u16>,
}

impl Execution {
    /// Takes the options that say what executes, and on which device.
    ///
    /// Errors: `Unable`, saying which option is wrong.
    pub(super) fn taken(options: &mut ProbeOptions) -> Result<Self, AdapterError> {
        let words = PROVIDERS.each_ref().map(|provider| (provider.option, provider));
        let provider = options.take_one_of("provider", &words)?.unwrap_or(&PROVIDERS[0]);
        Ok(Self { provider, number: options.take_number("device_id")? })
    }

    /// The same on the device of this name. Times are kept under the name, so that the device has to be the one that executes.
    ///
    /// Errors: `Unable`, saying which option has to be given, or left out.
    pub(super) fn on(self, device: Option<&str>) -> Result<Self, AdapterError> {
        let is_gpu = device.is_some_and(|device| driver_name(device).is_some());
        let wrong = match (self.provider.devices, is_gpu, self.number) {
            // The only one that CUDA sees.
            (Devices::Cuda, true, None) => return Ok(Self { number: Some(0), ..self }),
            (Devices::Cuda, false, Some(_))
            | (Devices::Numbered, _, Some(_))
            | (Devices::Processor | Devices::Other, _, None) => return Ok(self),
            (Devices::Cuda, true, Some(_)) => "knows the GPU by its UUID; leave out `device_id`",
            (Devices::Cuda, false, None) => {
                "has to know which GPU is meant; give its UUID, as `nvidia-smi -L` shows it, by device=GPU-..., or beside \
                 another name its number, such as device_id=0"
            }
            (Devices::Numbered, _, None) => {
                "has to know which device is meant; give its number beside its name, such as device_id=0"
            }
            (Devices::Processor | Devices::Other, _, Some(_)) => {
                "does not choose its device by a number; leave out `device_id`"
            }
        };
        Err(AdapterError::Unable(format!("the provider `{}` {wrong}", self.provider.option)))
    }

    /// ONNX Runtime's own name of what executes.
    pub(super) fn name(&self) -> &'static str {
        self.provider.name
    }

    /// Whether this machine's processor executes.
    pub(super) fn is_processor(&self) -> bool {
        self.provider.devices == Devices::Processor
    }

    /// Whether the library that is loaded has the provider, and it can be used here and now.
    ///
    /// Errors: `Unable`, naming those that the library has, or saying why not.
    pub(super) fn check(&self, environment: &Environment) -> Result<(), AdapterError> {
        let has = |provider: &&Provider| (provider.is_available)().unwrap_or(false);
        if has(&self.provider) {
            return self.registered(environment).map_err(|error| {
                let (option, error) = (self.provider.option, one_line(&error.to_string()));
                AdapterError::Unable(format!("the provider `{option}` cannot be used here: {error}"))
            });
        }
        let others: Vec<&str> = PROVIDERS.iter().filter(has).map(|provider| provider.option).collect();
        let (option, others) = (self.provider.option, others.join(", "));
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
        match self.provider.option {
            "cpu" => Vec::new(),
            _ => vec![(self.provider.dispatch)(self.number).error_on_failure()],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "GPU-01234567-89ab-cdef-0123-456789abcdef";

    fn on(options: &str, device: Option<&str>) -> Result<Execution, String> {
        let mut options = ProbeOptions::parse(&format!("onnxruntime={options}")).unwrap();
        let execution = Execution::taken(&mut options).and_then(|execution| execution.on(device));
        execution.map_err(|error| error.to_string())
    }

    fn number(options: &str, device: Option<&str>) -> Option<u16> {
        on(options, device).unwrap().number
    }

    #[test]
    fn one_of_several_gpus_is_chosen_by_its_uuid_or_by_its_number() {
        for provider in ["cuda", "tensorrt"] {
            let options = format!("provider={provider}");
            assert_eq!(number(&options, Some(UUID)), Some(0), "the only one that is seen");
            assert_eq!(number(&format!("{options},device_id=2"), Some("rack-2")), Some(2));
            let unknown = on(&options, Some("rack-2")).err().unwrap();
            assert!(unknown.contains("UUID") && unknown.contains("device_id=0"), "{unknown}");
            let both = on(&format!("{options},device_id=1"), Some(UUID)).err().unwrap();
            assert!(both.ends_with("leave out `device_id`"), "{both}");
        }
        for provider in ["migraphx", "directml"] {
            assert_eq!(number(&format!("provider={provider},device_id=1"), Some("card-1")), Some(1));
            let unknown = on(&format!("provider={provider}"), Some("card-1")).err().unwrap();
            assert!(unknown.contains("device_id=0"), "{unknown}");
        }
        assert_eq!(number("provider=cpu", None), None);
        let processor = on("provider=cpu,device_id=0", None).err().unwrap();
        assert!(processor.contains("does not choose its device by a number"), "{processor}");
        assert!(on("provider=cuda,device_id=-1", Some("rack-2")).err().unwrap().contains("cannot be `-1`"));
    }

    #[test]
    fn providers_are_told_the_number_of_their_device() {
        let told = |provider: &dyn std::fmt::Debug| format!("{provider:?}");

        assert!(told(&numbered::<ep::CUDA>(Some(3))).contains(r#""device_id": "3""#));
        assert!(told(&numbered::<ep::TensorRT>(Some(3))).contains(r#""device_id": "3""#));
        assert!(!told(&numbered::<ep::CUDA>(None)).contains("device_id"));
        assert!(told(&migraphx(Some(3))).contains("device_id: 3"));
        assert!(told(&directml(Some(3))).contains("device_id: Some(3)"));
    }
}
