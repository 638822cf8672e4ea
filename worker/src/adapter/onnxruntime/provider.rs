//! ONNX Runtime's execution providers: what executes operators, with which settings and on which device.

use std::collections::BTreeMap;

use ort::environment::Environment;
use ort::ep::{self, ArbitrarilyConfigurableExecutionProvider, ExecutionProvider, ExecutionProviderDispatch};
use ort::session::Session;

use super::super::gpu::driver_name;
use super::super::{AdapterError, OptionsError, ProbeOptions};
use super::library::one_line;

/// Before the names of a provider's own settings.
const SETTING: &str = "ep.";

/// OpenVINO's setting that names its device, and the processor's name there.
const DEVICE_TYPE: &str = "device_type";
const PROCESSOR: &str = "CPU";

/// Says that not all of a network is the provider's, where nothing else may execute; ONNX Runtime has no code for it.
const NO_FALLBACK: &str = "fallback to CPU EP has been explicitly disabled";

/// A provider's own settings.
type Settings = BTreeMap<String, String>;

/// What executes the operators that it knows.
struct Provider {
    /// For `provider=`.
    option: &'static str,
    /// ONNX Runtime's own name.
    name: &'static str,
    devices: Devices,
    is_available: fn() -> ort::Result<bool>,
    make: Make,
    /// Its setting for how many threads it has, if they are its own.
    threads: Option<&'static str>,
}

/// How a provider is made.
#[derive(Clone, Copy)]
enum Make {
    /// As it is by default.
    Plain(fn() -> ExecutionProviderDispatch),
    /// With the number of its device.
    Numbered(fn(Option<u16>) -> ExecutionProviderDispatch),
    /// With any settings, of which the number of its device is one.
    Set(fn(&Settings) -> ExecutionProviderDispatch),
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
    /// OpenVINO's, which its setting [`DEVICE_TYPE`] names, and the processor is one of.
    Typed,
    /// There is one, or settings choose it.
    Other,
}

/// The providers that can be asked for; which of them there are depends on the library.
static PROVIDERS: [Provider; 12] = [
    of::<ep::CPU>("cpu", Devices::Processor, Make::Plain(|| ep::CPU::default().into())),
    of::<ep::ACL>("acl", Devices::Processor, Make::Plain(|| ep::ACL::default().into())),
    of::<ep::CoreML>("coreml", Devices::Other, Make::Set(|settings| set::<ep::CoreML>(settings).into())),
    of::<ep::CUDA>("cuda", Devices::Cuda, Make::Set(|settings| set::<ep::CUDA>(settings).into())),
    of::<ep::DirectML>("directml", Devices::Numbered, Make::Numbered(|number| directml(number).into())),
    of::<ep::MIGraphX>("migraphx", Devices::Numbered, Make::Numbered(|number| migraphx(number).into())),
    of::<ep::NNAPI>("nnapi", Devices::Other, Make::Plain(|| ep::NNAPI::default().into())),
    of::<ep::OneDNN>("onednn", Devices::Processor, Make::Set(|settings| set::<ep::OneDNN>(settings).into())),
    of::<ep::OpenVINO>(
        "openvino",
        Devices::Typed,
        Make::Set(|settings| set::<ep::OpenVINO>(settings).into()),
    )
    .with_threads("num_of_threads"),
    of::<ep::QNN>("qnn", Devices::Other, Make::Set(|settings| set::<ep::QNN>(settings).into())),
    of::<ep::TensorRT>("tensorrt", Devices::Cuda, Make::Set(|settings| set::<ep::TensorRT>(settings).into())),
    of::<ep::XNNPACK>(
        "xnnpack",
        Devices::Processor,
        Make::Set(|settings| set::<ep::XNNPACK>(settings).into()),
    )
    .with_threads("intra_op_num_threads"),
];

const fn of<E: ExecutionProvider>(option: &'static str, devices: Devices, make: Make) -> Provider {
    Provider { option, name: E::NAME, devices, is_available: E::is_available, make, threads: None }
}

impl Provider {
    /// The same with threads of its own, of which a setting says how many there are.
    const fn with_threads(mut self, setting: &'static str) -> Self {
        self.threads = Some(setting);
        self
    }
}

fn set<E: ArbitrarilyConfigurableExecutionProvider + Default>(settings: &Settings) -> E {
    settings.iter().fold(E::default(), |provider, (key, value)| provider.with_arbitrary_config(key, value))
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
    settings: Settings,
    /// Which of several devices.
    number: Option<u16>,
    /// Whether the processor executes what the provider does not.
    falls_back: bool,
}

impl Execution {
    /// Takes the options that say what executes, how, and on which device.
    ///
    /// Errors: `Unable`, saying which option is wrong.
    pub(super) fn taken(options: &mut ProbeOptions) -> Result<Self, AdapterError> {
        let words = PROVIDERS.each_ref().map(|provider| (provider.option, provider));
        let provider = options.take_one_of("provider", &words)?.unwrap_or(&PROVIDERS[0]);
        let mut settings = options.take_all(SETTING);
        let falls_back = options.take_one_of("fallback", &[("cpu", true)])?.unwrap_or(false);
        let wrong = if let (Make::Plain(_) | Make::Numbered(_), Some(key)) =
            (provider.make, settings.keys().next())
        {
            Some(format!("takes no settings; leave out `{SETTING}{key}`"))
        } else if provider.devices == Devices::Cuda && settings.contains_key("device_id") {
            Some("has no setting for its device; write device_id=N instead of ep.device_id=N".to_owned())
        } else if falls_back && provider.option == "cpu" {
            Some("is what others fall back on; leave out `fallback`".to_owned())
        } else {
            None
        };
        if let Some(wrong) = wrong {
            return Err(refused(provider, &wrong));
        }
        if provider.devices == Devices::Typed {
            let device = settings.entry(DEVICE_TYPE.to_owned()).or_insert_with(|| PROCESSOR.to_owned());
            // The first one of several would be measured, whatever the worker calls it.
            if device.eq_ignore_ascii_case("GPU") {
                return Err(OptionsError::Value {
                    name: options.name().to_owned(),
                    key: format!("{SETTING}{DEVICE_TYPE}"),
                    value: device.clone(),
                    expected: "the GPU's number, too, such as GPU.0".to_owned(),
                }
                .into());
            }
        }
        Ok(Self { provider, settings, number: options.take_number("device_id")?, falls_back })
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
            | (Devices::Processor | Devices::Typed | Devices::Other, _, None) => return Ok(self),
            (Devices::Cuda, true, Some(_)) => "knows the GPU by its UUID; leave out `device_id`",
            (Devices::Cuda, false, None) => {
                "has to know which GPU is meant; give its UUID, as `nvidia-smi -L` shows it, by device=GPU-..., or beside \
                 another name its number, such as device_id=0"
            }
            (Devices::Numbered, _, None) => {
                "has to know which device is meant; give its number beside its name, such as device_id=0"
            }
            (Devices::Typed, _, Some(_)) => {
                "names its device by a setting, such as ep.device_type=GPU.0; leave out `device_id`"
            }
            (Devices::Processor | Devices::Other, _, Some(_)) => {
                "does not choose its device by a number; leave out `device_id`"
            }
        };
        Err(refused(self.provider, wrong))
    }

    /// What executes, by ONNX Runtime's own name, and what it was told: times with other settings are put beside none of these.
    pub(super) fn text(&self) -> String {
        let settings: String = self.settings.iter().map(|(key, value)| format!(" {key}={value}")).collect();
        let fallback = if self.falls_back { " fallback cpu" } else { "" };
        format!("{}{settings}{fallback}", self.provider.name)
    }

    /// Whether this machine's processor executes.
    pub(super) fn is_processor(&self) -> bool {
        match self.provider.devices {
            Devices::Processor => true,
            Devices::Typed => {
                let device = self.settings.get(DEVICE_TYPE).map(|device| device.to_ascii_uppercase());
                // Older versions have a precision behind it.
                device.is_some_and(|device| device == PROCESSOR || device.starts_with("CPU_"))
            }
            Devices::Cuda | Devices::Numbered | Devices::Other => false,
        }
    }

    /// Whether nothing may be executed but what the provider executes: by default the processor would take the rest in silence, and
    /// its time for that of the provider's device.
    pub(super) fn is_alone(&self) -> bool {
        self.provider.option != "cpu" && !self.falls_back
    }

    /// Why a network is not executed, from what ONNX Runtime says of it.
    pub(super) fn refusal(&self, error: &str) -> AdapterError {
        if !error.contains(NO_FALLBACK) {
            return AdapterError::Failed(format!("onnxruntime refuses the network: {error}"));
        }
        // Another start of the probe makes a difference, so that this is no property of the network.
        AdapterError::Unable(format!(
            "the provider `{}` does not execute all of the network; start the probe with fallback=cpu to have the processor execute \
             the rest, and its time in the network's",
            self.provider.option
        ))
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
        Session::builder(environment)?.with_execution_providers(self.dispatches(1))?;
        Ok(())
    }

    /// What a session with so many threads is told; nothing for the processor alone, which always comes last.
    pub(super) fn dispatches(&self, threads: u32) -> Vec<ExecutionProviderDispatch> {
        if self.provider.option == "cpu" {
            return Vec::new();
        }
        let dispatch = match self.provider.make {
            Make::Plain(make) => make(),
            Make::Numbered(make) => make(self.number),
            Make::Set(make) => make(&self.told(threads)),
        };
        vec![dispatch.error_on_failure()]
    }

    /// All settings.
    fn told(&self, threads: u32) -> Settings {
        let mut told = self.settings.clone();
        if let Some(number) = self.number {
            told.insert("device_id".to_owned(), number.to_string());
        }
        if let Some(setting) = self.provider.threads.filter(|_| self.is_processor()) {
            told.entry(setting.to_owned()).or_insert_with(|| threads.to_string());
        }
        told
    }
}

fn refused(provider: &Provider, wrong: &str) -> AdapterError {
    AdapterError::Unable(format!("the provider `{}` {wrong}", provider.option))
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

    fn wrong(options: &str) -> String {
        on(options, Some("card-1")).err().unwrap()
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
        for provider in ["cuda", "tensorrt"] {
            let execution = on(&format!("provider={provider},device_id=3"), Some("card-1")).unwrap();
            assert_eq!(execution.told(1), Settings::from([("device_id".to_owned(), "3".to_owned())]));
        }

        let settings = on("provider=cuda,device_id=3", Some("card-1")).unwrap().told(1);
        assert!(told(&set::<ep::CUDA>(&settings)).contains(r#""device_id": "3""#));
        assert!(told(&set::<ep::TensorRT>(&settings)).contains(r#""device_id": "3""#));
        assert!(told(&migraphx(Some(3))).contains("device_id: 3"));
        assert!(told(&directml(Some(3))).contains("device_id: Some(3)"));
    }

    #[test]
    fn settings_are_passed_on_and_stand_in_the_runtimes_text() {
        let plain = on("provider=qnn", Some("card-1")).unwrap();
        let set_up = on("provider=qnn,ep.soc_model=60,ep.backend_path=/opt/a=b.so", Some("card-1")).unwrap();
        let falling = on("provider=qnn,fallback=cpu", Some("card-1")).unwrap();

        assert_eq!(plain.text(), "QNNExecutionProvider");
        assert_eq!(set_up.text(), "QNNExecutionProvider backend_path=/opt/a=b.so soc_model=60");
        assert_eq!(falling.text(), "QNNExecutionProvider fallback cpu");
        let qnn = format!("{:?}", set::<ep::QNN>(&set_up.told(1)));
        assert!(
            qnn.contains(r#""soc_model": "60""#) && qnn.contains(r#""backend_path": "/opt/a=b.so""#),
            "{qnn}"
        );
        assert_eq!(on("provider=cpu", None).unwrap().text(), "CPUExecutionProvider");
        for without in ["cpu", "acl", "nnapi", "directml", "migraphx"] {
            let error = wrong(&format!("provider={without},ep.speed=9,device_id=0"));
            assert!(error.ends_with("takes no settings; leave out `ep.speed`"), "{error}");
        }
        assert!(wrong("provider=cuda,ep.device_id=1").contains("write device_id=N"));
    }

    #[test]
    fn a_provider_with_threads_of_its_own_has_as_many_as_are_asked_for() {
        let threads = |options: &str, setting: &str| {
            on(options, None).unwrap().told(4).get(setting).cloned().unwrap_or_default()
        };

        assert_eq!(threads("provider=openvino", "num_of_threads"), "4");
        assert_eq!(threads("provider=xnnpack", "intra_op_num_threads"), "4");
        assert_eq!(threads("provider=openvino,ep.num_of_threads=2", "num_of_threads"), "2");
        assert_eq!(threads("provider=openvino,ep.device_type=GPU.0", "num_of_threads"), "");
    }

    #[test]
    fn openvino_executes_on_the_device_that_its_setting_names() {
        let of = |options: &str| on(&format!("provider=openvino{options}"), None).unwrap();

        assert!(of("").is_processor());
        for (device, is_processor) in
            [("CPU", true), ("cpu_fp32", true), ("GPU.1", false), ("NPU", false), ("AUTO", false)]
        {
            let execution = of(&format!(",ep.device_type={device}"));
            assert_eq!(execution.is_processor(), is_processor, "{device}");
        }
        assert_eq!(of("").text(), "OpenVINOExecutionProvider device_type=CPU");
        let first = wrong("provider=openvino,ep.device_type=GPU");
        assert!(first.contains("`ep.device_type`") && first.ends_with("such as GPU.0"), "{first}");
        assert!(wrong("provider=openvino,device_id=0").contains("ep.device_type=GPU.0"));
    }

    #[test]
    fn the_processor_takes_over_only_where_it_is_said() {
        assert!(on("provider=qnn", Some("card-1")).unwrap().is_alone());
        assert!(on("provider=xnnpack", None).unwrap().is_alone());
        assert!(!on("provider=qnn,fallback=cpu", Some("card-1")).unwrap().is_alone());
        assert!(!on("provider=cpu", None).unwrap().is_alone());
        assert!(wrong("provider=cpu,fallback=cpu").ends_with("leave out `fallback`"));
        assert!(wrong("provider=qnn,fallback=gpu").ends_with("give cpu"));

        let qnn = on("provider=qnn", Some("card-1")).unwrap();
        let parts = "This session contains graph nodes that are assigned to the default CPU EP, but fallback to CPU EP has been \
                     explicitly disabled by the user.";
        let refusal = qnn.refusal(parts);
        assert!(matches!(&refusal, AdapterError::Unable(text) if text.contains("fallback=cpu")), "{refusal}");
        assert!(
            matches!(qnn.refusal("no such operator"), AdapterError::Failed(text) if text.contains("operator"))
        );
    }
}
