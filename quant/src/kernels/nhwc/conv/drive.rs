//! Visits blocks of positions, groups and panels, in this order, so that rows stay in cache while panels pass by.

#![expect(unsafe_code, reason = "calls the tiles with pointers into checked slices")]

use super::depth::Depth;
use super::finish::{Columns, Target};
use super::panels::{Panel, Panels};
use super::patches;
use super::rows::{self, Block, Lines, SCRATCH, Scratch};
use super::tile::Sweep;
use super::vector::Product;
use crate::kernels::nhwc::{Out, Tail};

/// Values of rows that should stay in the second level of cache, in bytes.
const ROWS_BYTES: usize = 512 << 10;
/// Positions of a block; the heights of all tiles divide the largest.
const POSITIONS_MIN: usize = 36;
const POSITIONS_MAX: usize = 288;

/// What a layer sees.
#[derive(Clone, Copy)]
pub(super) struct Images<'a, X> {
    pub(super) images: usize,
    pub(super) x: &'a [X],
    /// The value that stands for 0.
    pub(super) zero: X,
}

/// A layer for some instruction set, on images of `X`.
pub(super) trait Kernel<X>: Send + Sync {
    /// Computes the layer.
    ///
    /// Panics: an input, output, scale or shift has not as many values as the layer's shape says.
    fn run(&self, images: Images<'_, X>, tail: &Tail<'_>, out: Out<'_>);

    /// Size of the weights in memory.
    fn bytes(&self) -> usize;
}

impl<P: Product> Kernel<P::Input> for Panels<P> {
    fn run(&self, images: Images<'_, P::Input>, tail: &Tail<'_>, out: Out<'_>) {
        let shape = &self.shape;
        assert_eq!(images.x.len(), images.images * shape.image(), "values of the input");
        assert_eq!(
            (tail.scale.len(), tail.shift.len()),
            (shape.out_channels, shape.out_channels),
            "scales and shifts"
        );
        let target = Target::new(tail.ending, out, images.images * shape.out_image());

        let positions = images.images * shape.window.positions();
        let block = block_len(&self.depth, size_of::<P::Value>());
        let pass = Pass { panels: self, images, tail, target };
        SCRATCH.with_borrow_mut(|(scratch, widened)| {
            rows::pad(scratch, self.depth.values.max(shape.channels), P::Value::from(images.zero));
            for start in (0..positions).step_by(block) {
                pass.block(scratch, widened, Block { start, len: block.min(positions - start) });
            }
        });
    }

    fn bytes(&self) -> usize {
        self.bytes()
    }
}

/// Positions of a block whose rows fit into [`ROWS_BYTES`], as far as that leaves enough to do per panel.
fn block_len(depth: &Depth, value: usize) -> usize {
    // Where rows are not copied, the windows overlap, mostly by all but one tap.
    let values = if depth.is_patched { depth.patch() } else { depth.values / depth.taps };
    let fitting = ROWS_BYTES / (values * value).max(1);
    fitting.clamp(POSITIONS_MIN, POSITIONS_MAX) / POSITIONS_MIN * POSITIONS_MIN
}

struct Pass<'a, P: Product> {
    panels: &'a Panels<P>,
    images: Images<'a, P::Input>,
    tail: &'a Tail<'a>,
    target: Target,
}

impl<P: Product> Pass<'_, P> {
    fn block(&self, scratch: &mut Scratch, widened: &mut Vec<f32>, block: Block) {
        let Panels { shape, depth, panels, .. } = self.panels;
        let per_group = panels.len() / shape.groups;
        if per_group == 0 {
            return;
        }
        let lines = block.lines(&shape.window);
        let width = shape.window.size[1] * shape.channels;
        let values = P::values(&self.images.x[lines.start * width..lines.end * width], widened);
        let input = Lines { values, first: lines.start, width, zero: P::Value::from(self.images.zero) };
        if depth.is_patched {
            for (group, panels) in panels.chunks(per_group).enumerate() {
                let rows = patches::patch(scratch, (shape, depth), (block, group), &input);
                panels.iter().for_each(|panel| self.panel(rows, block, (panel, 0)));
            }
        } else {
            let rows = rows::point(scratch, (shape, depth), block, &input);
            for (group, panels) in panels.chunks(per_group).enumerate() {
                let offset = group * (shape.channels / shape.groups);
                panels.iter().for_each(|panel| self.panel(rows, block, (panel, offset)));
            }
        }
    }

    fn panel(&self, rows: &[*const P::Value], block: Block, (panel, offset): (&Panel, usize)) {
        let stride = self.panels.shape.out_channels;
        // SAFETY: `block` and `panel` lie in the output, whose length was checked; `rows` point at as many values as `depth`
        // visits, of the input, the padding or a patch; weights and sums are those that were packed for `P`, which checked
        // that the CPU has the instructions.
        unsafe {
            P::sweep(&Sweep {
                depth: self.panels.depth,
                rows,
                stride: block.len,
                positions: block.len,
                offset,
                weights: self.panels.weights(panel).as_ptr(),
                sums: self.panels.sums(panel).as_ptr(),
                zero: P::Value::from(self.images.zero),
                columns: Columns::new(self.tail, panel.channel, panel.live, stride),
                target: self.target.add(block.start * stride + panel.channel),
            });
        }
    }
}
