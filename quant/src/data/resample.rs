use super::picture::Picture;

/// Fractional bits of a weight: 8 bits of a value, 22 of its weight and 2 to spare are an i32.
const WEIGHT_BITS: u32 = 22;

/// Returns a picture at another size, by triangle-shaped weights that widen as the picture shrinks.
///
/// An output value is the mean of the input under a triangle around its place: with `s = max(1, in / out)` and the
/// centre `c = (i + 1/2) in / out`, the pixel `j` weighs `max(0, 1 - |j + 1/2 - c| / s)`. Rows are done before columns,
/// and values are rounded to bytes in between. Weights are whole multiples of 2^-22, so every machine gives the same
/// bytes.
///
/// Shapes: `size` is height and width, both at least 1. Pillow 13's `resize(.., BILINEAR)`, which torchvision's transform
/// uses, gives the same bytes, except that it does columns first if a picture is much taller than wide; some values then
/// differ by one.
/// Source: the "triangle" filter of D. Schumacher, "General Filtered Image Rescaling", Graphics Gems III, 1992.
pub(super) fn resize(picture: Picture, [height, width]: [usize; 2]) -> Picture {
    let picture = match width == picture.width {
        true => picture,
        false => horizontal(&picture, &Windows::new(picture.width, width)),
    };
    match height == picture.height {
        true => picture,
        false => vertical(&picture, &Windows::new(picture.height, height)),
    }
}

/// Where each output value looks, and how much each input value there weighs.
struct Windows {
    /// First input of each output.
    starts: Vec<usize>,
    /// Weights of each output's inputs.
    weights: Vec<Vec<i32>>,
}

impl Windows {
    fn new(from: usize, to: usize) -> Self {
        let scale = from as f64 / to as f64;
        let reach = scale.max(1.0);
        let mut windows = Self { starts: Vec::with_capacity(to), weights: Vec::with_capacity(to) };
        for index in 0..to {
            let centre = (index as f64 + 0.5) * scale;
            // Casts to unsigned numbers stop at 0.
            let start = (centre - reach + 0.5) as usize;
            let end = ((centre + reach + 0.5) as usize).min(from);
            let weight = |place: usize| (1.0 - ((place as f64 + 0.5 - centre) / reach).abs()).max(0.0);
            let weights: Vec<f64> = (start..end).map(weight).collect();
            let sum: f64 = weights.iter().sum();
            let one = f64::from(1_u32 << WEIGHT_BITS);
            windows.starts.push(start);
            windows.weights.push(weights.iter().map(|weight| (weight / sum * one).round() as i32).collect());
        }
        windows
    }

    fn each(&self) -> impl Iterator<Item = (usize, &[i32])> {
        self.starts.iter().copied().zip(self.weights.iter().map(Vec::as_slice))
    }
}

fn horizontal(picture: &Picture, windows: &Windows) -> Picture {
    let width = windows.starts.len();
    let mut pixels = Vec::with_capacity(picture.channels * picture.height * width);
    for row in picture.pixels.chunks_exact(picture.width) {
        for (start, weights) in windows.each() {
            let seen = row[start..].iter().zip(weights);
            pixels.push(rounded(seen.map(|(value, weight)| i32::from(*value) * weight).sum()));
        }
    }
    Picture { width, pixels, ..*picture }
}

fn vertical(picture: &Picture, windows: &Windows) -> Picture {
    let (width, height) = (picture.width, windows.starts.len());
    let mut pixels = Vec::with_capacity(picture.channels * height * width);
    let mut sums = vec![0_i32; width];
    for plane in picture.pixels.chunks_exact(picture.height * width) {
        for (start, weights) in windows.each() {
            sums.fill(0);
            for (row, weight) in plane[start * width..].chunks_exact(width).zip(weights) {
                for (sum, value) in sums.iter_mut().zip(row) {
                    *sum += i32::from(*value) * weight;
                }
            }
            pixels.extend(sums.iter().map(|sum| rounded(*sum)));
        }
    }
    Picture { height, pixels, ..*picture }
}

/// The nearest byte to a sum of weighted bytes.
fn rounded(sum: i32) -> u8 {
    ((sum + (1 << (WEIGHT_BITS - 1))) >> WEIGHT_BITS).clamp(0, 255) as u8
}
