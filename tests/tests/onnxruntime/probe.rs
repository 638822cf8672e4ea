use std::sync::Arc;

use bitloop_core::graph::Op;
use bitloop_quant::export::CodeTypes;
use bitloop_quant::prepare::Prepared;
use bitloop_worker::adapter::{Adapter, AdapterError, Inputs, open};
use bitloop_worker::probe::Network;

use crate::networks::{BASELINE, bits, blocks, config, noise, normalized, prepared};
use crate::{LIBRARY, SETTING, Written, adapter};

fn small() -> Prepared {
    let model = blocks(5);
    let images = Arc::new(noise(&model.graph.input.shape, 8));
    prepared(&model, &images, [&[4, 8], &[4, 8]])
}

#[test]
fn inferences_are_timed() {
    let Some(mut adapter) = adapter(CodeTypes::Int8) else { return };
    let hello = adapter.hello();
    assert!(hello.onnx && hello.runtime.contains("CPUExecutionProvider"), "{hello:?}");
    let prepared = small();
    let written = Written::new(&prepared, &config(&prepared, bits(8), bits(8)), CodeTypes::Int8);
    let mut loaded = adapter.load(&written.network(), SETTING).unwrap();

    let (one, many) = (loaded.time(1).unwrap(), loaded.time(1000).unwrap());

    assert!(one > 0.0 && many > one, "{one} {many}");
}

#[test]
fn layers_are_the_networks_whatever_their_kernels_are_called() {
    let Some(mut adapter) = adapter(CodeTypes::Int8) else { return };
    let prepared = small();
    let configs = [(bits(8), bits(8)), (bits(4), bits(4)), (BASELINE, BASELINE), (BASELINE, bits(8))];
    for (weight, activation) in configs {
        let written = Written::new(&prepared, &config(&prepared, weight, activation), CodeTypes::Int8);
        let mut loaded = adapter.load(&written.network(), SETTING).unwrap();

        let layers = loaded.layers(20).unwrap();

        assert_eq!(layers.len(), 20);
        let graph = &prepared.model.graph;
        for inference in &layers {
            assert!(inference.values().all(|ns| *ns > 0.0), "{inference:?}");
            let known = |name: &str| name.is_empty() || graph.node(name).is_some();
            assert!(inference.keys().all(|name| known(name)), "{inference:?}");
            let layers = graph.nodes.iter().filter(|node| matches!(node.op, Op::Conv2d(_) | Op::Linear(_)));
            for layer in layers {
                assert!(inference.contains_key(&layer.name), "{} at {weight}, {activation}", layer.name);
            }
        }
    }
}

#[test]
fn nodes_give_values_of_their_grids() {
    let Some(mut adapter) = adapter(CodeTypes::Int8) else { return };
    let (model, prepared) = (blocks(5), small());
    let images = noise(&model.graph.input.shape, 3);
    let written = Written::new(&prepared, &config(&prepared, bits(8), bits(4)), CodeTypes::Int8);
    let mut loaded = adapter.load(&written.network(), SETTING).unwrap();
    let nodes = ["stem_relu".to_owned(), "sum".to_owned()];

    let input = normalized(&model, &images.pixels);
    let all = written.infer(loaded.as_mut(), &input, 3, &nodes);
    let logits = written.infer(loaded.as_mut(), &input, 3, &[]);

    let elements = 16 * 8 * 8;
    assert_eq!((logits.len(), all.len()), (3 * 10, 3 * (10 + 2 * elements)));
    assert_eq!(logits, all[..30]);
    for (node, values) in nodes.iter().zip(all[30..].chunks(3 * elements)) {
        let point = prepared.points.iter().position(|point| point.tensors.contains(node)).unwrap();
        let encoding = prepared.encoding(point, 4.try_into().unwrap()).unwrap();
        let codes = values.iter().map(|value| value / encoding.scale()[0] - encoding.offset()[0] as f32);
        let mut seen: Vec<i64> = codes.clone().map(|code| code.round() as i64).collect();
        assert!(codes.zip(&seen).all(|(code, near)| (code - *near as f32).abs() < 1e-3), "{node}");
        seen.sort_unstable();
        seen.dedup();
        assert!(seen.len() > 2 && seen[0] >= 0 && seen[seen.len() - 1] <= 15, "{node}: {seen:?}");
    }
}

#[test]
fn what_cannot_be_executed_is_said() {
    let Some(mut adapter) = adapter(CodeTypes::Int8) else { return };
    let prepared = small();
    let written = Written::new(&prepared, &config(&prepared, bits(8), bits(8)), CodeTypes::Int8);
    let refused =
        |adapter: &mut dyn Adapter, network: &Network| adapter.load(network, SETTING).err().unwrap();

    let without = Network { onnx: None, ..written.network() };
    assert!(
        matches!(refused(adapter.as_mut(), &without), AdapterError::Failed(text) if text.contains("ONNX"))
    );
    std::fs::write(written.folder.path().join("garbage.onnx"), "no network").unwrap();
    let garbage = Network { onnx: Some(written.folder.path().join("garbage.onnx")), ..written.network() };
    assert!(matches!(refused(adapter.as_mut(), &garbage), AdapterError::Failed(_)));
    let mut loaded = adapter.load(&written.network(), SETTING).unwrap();
    let (images, output) = (written.folder.path().join("images"), written.folder.path().join("output"));
    std::fs::write(&images, [0; 12]).unwrap();
    let inputs = Inputs { images: &images, count: 1, nodes: &[], output: &output };
    let error = loaded.infer(&inputs).unwrap_err().to_string();
    assert!(error.contains("has 12 bytes"), "{error}");
}

#[test]
fn a_provider_that_the_library_lacks_is_refused_with_those_it_has() {
    let Some(_) = adapter(CodeTypes::Int8) else { return };
    let library = std::env::var(LIBRARY).unwrap();
    let error =
        |options: &str| open(&format!("onnxruntime=lib={library},{options}")).err().unwrap().to_string();

    let lacking = error("provider=directml,class=GPU,device=gpu-1,device_id=0");
    assert!(lacking.contains("`directml`") && lacking.contains("it has cpu"), "{lacking}");
    let other = tempfile::tempdir().unwrap();
    std::fs::write(other.path().join("libonnxruntime.so"), "").unwrap();
    let second = open(&format!("onnxruntime=lib={}", other.path().display())).err().unwrap().to_string();
    assert!(second.contains("start another one"), "{second}");
}
