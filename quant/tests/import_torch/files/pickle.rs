use super::TensorEntry;

/// Writes a pickle of protocol 2, operation by operation.
pub(crate) struct PickleWriter(Vec<u8>);

impl PickleWriter {
    pub(crate) fn new() -> Self {
        Self(vec![0x80, 2])
    }

    pub(crate) fn op(&mut self, opcode: u8) {
        self.0.push(opcode);
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn mark(&mut self) {
        self.op(b'(');
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.op(b'X');
        self.raw(&(text.len() as u32).to_le_bytes());
        self.raw(text.as_bytes());
    }

    pub(crate) fn int(&mut self, number: i64) {
        self.raw(&[0x8a, 8]);
        self.raw(&number.to_le_bytes());
    }

    pub(crate) fn global(&mut self, module: &str, name: &str) {
        self.raw(format!("c{module}\n{name}\n").as_bytes());
    }

    pub(crate) fn ordered_dict(&mut self) {
        self.global("collections", "OrderedDict");
        self.raw(b")R");
    }

    pub(crate) fn numbers(&mut self, numbers: &[i64]) {
        self.mark();
        numbers.iter().for_each(|number| self.int(*number));
        self.op(b't');
    }

    /// A persistent id; the legacy format has a view, here none, at its end.
    pub(crate) fn storage(&mut self, tensor: &TensorEntry, legacy: bool) {
        self.mark();
        self.text("storage");
        self.global("torch", tensor.class);
        self.text(&tensor.key);
        self.text("cpu");
        self.int(tensor.elements);
        if legacy {
            self.op(b'N');
        }
        self.raw(b"tQ");
    }

    pub(crate) fn tensor(&mut self, tensor: &TensorEntry, legacy: bool) {
        self.global("torch._utils", "_rebuild_tensor_v2");
        self.mark();
        self.storage(tensor, legacy);
        self.int(tensor.offset);
        self.numbers(&tensor.shape);
        self.numbers(&tensor.strides);
        self.op(0x89);
        self.ordered_dict();
        self.raw(b"tR");
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        self.op(b'.');
        self.0
    }
}
