//! Padded planes taken apart by the stride, so that sliding windows become sums over shifted copies of one line.

/// Outputs that are computed together: their sums stay in registers while the taps go by.
pub(super) const BLOCK: usize = 32;
/// Values of outputs that are computed before they are copied to their place: well inside a core's first cache.
const BAND: usize = 2048;
/// A line of a phase may be so many times as long as the line of outputs that is computed from it.
const SURPLUS_MAX: usize = 4;
/// With longer strides there are more phases than are read, and in the end more than the plane has values.
const STRIDE_MAX: usize = 4;

/// How a plane with its padding lies in *phases*: every `stride`-th of its rows and columns, from each of the first ones.
///
/// At neighbouring outputs a tap reads neighbours in one phase. Outputs are computed as if every line were as long as a
/// phase's, `pitch`; what is too much is dropped.
#[derive(Clone, Copy, Debug)]
pub(super) struct Phases {
    pub(super) size: [usize; 2],
    pub(super) out_size: [usize; 2],
    pub(super) stride: [usize; 2],
    /// Rows above, columns to the left.
    pub(super) before: [usize; 2],
    /// Rows and columns from the first tap to the last.
    pub(super) reach: [usize; 2],
}

/// Room for the phases of one plane, and for outputs on their way.
pub(super) struct Room {
    phases: Vec<f32>,
    band: Vec<f32>,
}

impl Phases {
    /// Rows of a phase.
    fn rows(&self) -> usize {
        self.out_size[0] + self.reach[0] / self.stride[0]
    }

    /// Values from one row of a phase to the next.
    fn pitch(&self) -> usize {
        self.out_size[1] + self.reach[1] / self.stride[1]
    }

    /// Whether enough of what is made is used; not so for windows as wide as the image, or far from each other.
    pub(super) fn are_worthwhile(&self) -> bool {
        self.stride.iter().all(|stride| *stride <= STRIDE_MAX)
            && self.pitch() <= SURPLUS_MAX * self.out_size[1]
    }

    /// Values of a phase.
    fn extent(&self) -> usize {
        self.rows() * self.pitch()
    }

    /// Makes room in which the padding is `padding`.
    pub(super) fn room(&self, padding: f32) -> Room {
        // The last blocks and the last line's surplus reach behind the phases.
        let phases = self.stride[0] * self.stride[1] * self.extent() + self.pitch() + BLOCK;
        let band = self.lines() * self.pitch() + BLOCK;
        Room { phases: vec![padding; phases], band: vec![0.0; band] }
    }

    /// Lines of outputs that are computed at once.
    fn lines(&self) -> usize {
        (BAND / self.pitch()).clamp(1, self.out_size[0])
    }

    /// Place of what the tap at `row` and `column` from the first one reads for the first output.
    pub(super) fn offset(&self, [row, column]: [usize; 2]) -> usize {
        let [down, right] = self.stride;
        let phase = row % down * right + column % right;
        phase * self.extent() + row / down * self.pitch() + column / right
    }

    /// Computes the outputs of `plane`, line by line into `y`.
    ///
    /// `compute` gets the phases from where the first tap reads for the first of its outputs; it writes whole blocks.
    pub(super) fn outputs(
        &self,
        (plane, room): (&[f32], &mut Room),
        y: &mut [f32],
        compute: impl Fn(&[f32], &mut [f32]),
    ) {
        self.fill(plane, &mut room.phases);
        let (pitch, width, lines) = (self.pitch(), self.out_size[1], self.lines());
        for (band, y) in y.chunks_mut(lines * width).enumerate() {
            let count = y.len() / width * pitch;
            let values = &mut room.band[..count.next_multiple_of(BLOCK)];
            compute(&room.phases[band * lines * pitch..], values);
            for (y, values) in y.chunks_exact_mut(width).zip(values.chunks(pitch)) {
                y.copy_from_slice(&values[..width]);
            }
        }
    }

    /// Writes the plane's values to their places; the padding is left alone.
    fn fill(&self, plane: &[f32], phases: &mut [f32]) {
        let ([down, right], pitch) = (self.stride, self.pitch());
        for (row, line) in plane.chunks_exact(self.size[1].max(1)).enumerate() {
            let row = row + self.before[0];
            if row / down >= self.rows() {
                break;
            }
            let start = row % down * right * self.extent() + row / down * pitch;
            let phases = &mut phases[start..][..(right - 1) * self.extent() + pitch];
            self.fill_line(line, phases);
        }
    }

    fn fill_line(&self, line: &[f32], phases: &mut [f32]) {
        let (right, before, pitch) = (self.stride[1], self.before[1], self.pitch());
        match right {
            1 => phases[before..before + line.len()].copy_from_slice(line),
            2 => {
                let (even, odd) = phases.split_at_mut(self.extent());
                let (lead, line) = line.split_at((before % 2).min(line.len()));
                if let [first] = lead {
                    odd[before / 2] = *first;
                }
                // In a form that becomes vector shuffles.
                let start = before.div_ceil(2);
                let (even, odd) = (&mut even[start..pitch], &mut odd[start..pitch]);
                let (pairs, last) = line.as_chunks::<2>();
                for ((even, odd), [first, second]) in even.iter_mut().zip(&mut *odd).zip(pairs) {
                    *even = *first;
                    *odd = *second;
                }
                if let ([last], Some(even)) = (last, even.get_mut(pairs.len())) {
                    *even = *last;
                }
            }
            _ => {
                for (column, value) in (before..).zip(line).take_while(|(column, _)| column / right < pitch) {
                    phases[column % right * self.extent() + column / right] = *value;
                }
            }
        }
    }
}
