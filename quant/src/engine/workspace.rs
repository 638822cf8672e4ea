//! Memory for a plan's tensors, used again for every block of images.

use super::kernel::View;
use super::repr::Repr;
use super::schedule::Slot;
use crate::kernels::nhwc::Out;

/// Buffers for the slots of a plan.
#[derive(Default)]
pub(crate) struct Workspace {
    floats: Vec<Buffer<f32>>,
    codes: Vec<Buffer<u8>>,
}

/// Bytes of a cache line: vectors that begin on one never lie across two.
pub(super) const LINE_BYTES: usize = 64;

/// Values that begin at a cache line.
#[derive(Default)]
struct Buffer<T> {
    values: Vec<T>,
    start: usize,
    len: usize,
}

impl<T: Copy + Default> Buffer<T> {
    /// Holds at least `len` values; which ones is not said.
    fn fit(&mut self, len: usize) {
        if self.len < len {
            self.values = vec![T::default(); len + LINE_BYTES / size_of::<T>()];
            // Where there is no aligned place, any place will do.
            let start = self.values.as_ptr().align_offset(LINE_BYTES);
            self.start = start.min(self.values.len() - len);
            self.len = len;
        }
    }

    /// Drops values of which there are more than `len`.
    fn trim(&mut self, len: usize) {
        if self.len > len {
            *self = Self::default();
        }
    }

    #[cfg(test)]
    fn bytes(&self) -> usize {
        self.values.capacity() * size_of::<T>()
    }

    fn get(&self, len: usize) -> &[T] {
        &self.values[self.start..][..len]
    }

    fn get_mut(&mut self, len: usize) -> &mut [T] {
        &mut self.values[self.start..][..len]
    }
}

/// A tensor by itself.
pub(super) enum Tensor {
    Floats(Vec<f32>),
    Codes(Vec<u8>),
}

impl Tensor {
    pub(super) fn new(repr: Repr, elements: usize) -> Self {
        match repr {
            Repr::Codes(_) => Self::Codes(vec![0; elements]),
            Repr::Float => Self::Floats(vec![0.0; elements]),
        }
    }

    pub(super) fn view(&self) -> View<'_> {
        match self {
            Self::Floats(values) => View::Floats(values),
            Self::Codes(codes) => View::Codes(codes),
        }
    }

    pub(super) fn out(&mut self) -> Out<'_> {
        match self {
            Self::Floats(values) => Out::Floats(values),
            Self::Codes(codes) => Out::Codes(codes),
        }
    }

    /// Whether there is no NaN and nothing infinite; codes are always finite.
    pub(super) fn is_finite(&self) -> bool {
        match self {
            Self::Floats(values) => values.iter().all(|value| value.is_finite()),
            Self::Codes(_) => true,
        }
    }
}

impl Workspace {
    /// Bytes of all buffers.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        let floats: usize = self.floats.iter().map(Buffer::bytes).sum();
        floats + self.codes.iter().map(Buffer::bytes).sum::<usize>()
    }

    /// Gives back what these slots do not need for so many images.
    pub(super) fn trim(&mut self, slots: &[Slot], images: usize) {
        self.floats.truncate(slots.len());
        self.codes.truncate(slots.len());
        let wanted = |slot: &Slot, is_codes: bool| match slot.is_codes == is_codes {
            true => slot.elements * images,
            false => 0,
        };
        self.floats.iter_mut().zip(slots).for_each(|(buffer, slot)| buffer.trim(wanted(slot, false)));
        self.codes.iter_mut().zip(slots).for_each(|(buffer, slot)| buffer.trim(wanted(slot, true)));
    }

    /// Makes every slot large enough.
    pub(super) fn fit(&mut self, slots: &[Slot], images: usize) {
        // A slot has one of the two kinds in a plan, and nothing in the other kind's list.
        self.floats.resize_with(slots.len().max(self.floats.len()), Buffer::default);
        self.codes.resize_with(slots.len().max(self.codes.len()), Buffer::default);
        for (index, slot) in slots.iter().enumerate() {
            match slot.is_codes {
                true => self.codes[index].fit(slot.elements * images),
                false => self.floats[index].fit(slot.elements * images),
            }
        }
    }

    pub(super) fn floats(&self, slot: usize, values: usize) -> &[f32] {
        self.floats[slot].get(values)
    }

    pub(super) fn view(&self, slot: usize, repr: Repr, values: usize) -> View<'_> {
        match repr {
            Repr::Codes(_) => View::Codes(self.codes[slot].get(values)),
            Repr::Float => View::Floats(self.floats(slot, values)),
        }
    }

    /// Takes a slot out while it is written, since the others are read meanwhile.
    pub(super) fn write(
        &mut self,
        slot: usize,
        repr: Repr,
        values: usize,
        write: impl FnOnce(&Self, Out<'_>),
    ) {
        match repr {
            Repr::Codes(_) => {
                let mut out = std::mem::take(&mut self.codes[slot]);
                write(self, Out::Codes(out.get_mut(values)));
                self.codes[slot] = out;
            }
            Repr::Float => {
                let mut out = std::mem::take(&mut self.floats[slot]);
                write(self, Out::Floats(out.get_mut(values)));
                self.floats[slot] = out;
            }
        }
    }
}
