//! The pixels that libjpeg, and so PyTorch's image loading, makes of a JPEG file: what the reference was computed from.
//!
//! JPEG leaves the rounding of the inverse transform to the decoder, so two good ones differ by a grey level here and there.
//! Only what the sample images need: baseline, 8 bit, three components without subsampling.

const SIDE: usize = 8;
const BLOCK: usize = SIDE * SIDE;
/// Fraction bits of the transform's factors.
const FACTOR_BITS: u32 = 13;
/// Fraction bits that are kept between columns and rows.
const KEPT_BITS: u32 = 2;

/// Place of the n-th coefficient in a block, row by row.
const ZIGZAG: [usize; BLOCK] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7,
    14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39,
    46, 53, 60, 61, 54, 47, 55, 62, 63,
];

// The inverse transform as matrices, in units of 2^-13: the factors of the Loeffler-Ligtenberg-Moschytz scheme, rounded one by
// one and multiplied out. Outputs k and 7 - k are the sum and the difference of what even and odd inputs give.
const EVEN: [[i32; 4]; 4] = [
    [8192, 10703, 8192, 4433],
    [8192, 4433, -8192, -10704],
    [8192, -4433, -8192, 10704],
    [8192, -10703, 8192, -4433],
];
const ODD: [[i32; 4]; 4] = [
    [11363, 9633, 6437, 2260],
    [9633, -2259, -11362, -6436],
    [6437, -11362, 2261, 9633],
    [2260, -6436, 9633, -11363],
];

/// Returns the pixels of a file, `(3, height, width)`.
pub(super) fn pixels(file: &[u8]) -> Vec<u8> {
    let mut decoder = Decoder::default();
    let mut at = 2;
    loop {
        let (marker, length) = (file[at + 1], usize::from(file[at + 2]) << 8 | usize::from(file[at + 3]));
        let segment = &file[at + 4..at + 2 + length];
        at += 2 + length;
        match marker {
            0xdb => decoder.quantization(segment),
            0xc0 => decoder.frame(segment),
            0xc4 => decoder.huffman(segment),
            0xda => return decoder.scan(segment, &file[at..]),
            0xdd | 0xc1..=0xcf => panic!("marker {marker:x} is none of a baseline file without restarts"),
            _ => {}
        }
    }
}

#[derive(Default)]
struct Decoder {
    quantization: [Vec<i32>; 4],
    /// By class (DC, AC) and number.
    huffman: [[Huffman; 4]; 2],
    size: [usize; 2],
    /// Identifier and quantization table.
    components: Vec<(u8, usize)>,
}

#[derive(Default)]
struct Huffman {
    /// Number of codes of each length from 1 bit.
    counts: Vec<u8>,
    symbols: Vec<u8>,
}

impl Decoder {
    fn quantization(&mut self, mut segment: &[u8]) {
        while let Some((id, rest)) = segment.split_first() {
            assert!(*id < 4, "tables of 16 bits are not baseline");
            self.quantization[usize::from(*id)] =
                rest[..BLOCK].iter().map(|value| i32::from(*value)).collect();
            segment = &rest[BLOCK..];
        }
    }

    fn huffman(&mut self, mut segment: &[u8]) {
        while let Some((id, rest)) = segment.split_first() {
            let counts = rest[..16].to_vec();
            let symbols = counts.iter().map(|count| usize::from(*count)).sum();
            let table = Huffman { counts, symbols: rest[16..][..symbols].to_vec() };
            self.huffman[usize::from(id >> 4)][usize::from(id & 15)] = table;
            segment = &rest[16 + symbols..];
        }
    }

    fn frame(&mut self, segment: &[u8]) {
        let number = |at: usize| usize::from(segment[at]) << 8 | usize::from(segment[at + 1]);
        self.size = [number(1), number(3)];
        let components = segment[6..].chunks_exact(3);
        self.components = components.map(|component| (component[0], usize::from(component[2]))).collect();
        assert!(segment[6..].chunks_exact(3).all(|component| component[1] == 0x11), "subsampled");
        assert_eq!(self.components.len(), 3);
    }

    fn scan(&self, segment: &[u8], data: &[u8]) -> Vec<u8> {
        let [height, width] = self.size;
        let tables = [2, 4, 6].map(|at| segment[at]);
        let mut bits = Bits { data, at: 0, buffer: 0, count: 0 };
        let mut planes = vec![vec![0; height * width]; 3];
        let mut last = [0; 3];
        for row in (0..height).step_by(SIDE) {
            for column in (0..width).step_by(SIDE) {
                for (component, plane) in planes.iter_mut().enumerate() {
                    let dc = &self.huffman[0][usize::from(tables[component] >> 4)];
                    let ac = &self.huffman[1][usize::from(tables[component] & 15)];
                    let mut block = bits.block(dc, ac, &self.quantization[self.components[component].1]);
                    block[0] += last[component];
                    last[component] = block[0];
                    block[0] *= self.quantization[self.components[component].1][0];
                    for (index, value) in inverse_transform(&block).into_iter().enumerate() {
                        let (y, x) = (row + index / SIDE, column + index % SIDE);
                        if y < height && x < width {
                            plane[y * width + x] = value;
                        }
                    }
                }
            }
        }
        colours(&planes)
    }
}

struct Bits<'a> {
    data: &'a [u8],
    at: usize,
    buffer: u32,
    count: u32,
}

impl Bits<'_> {
    fn bit(&mut self) -> u32 {
        if self.count == 0 {
            self.buffer = u32::from(self.data[self.at]);
            // A zero is stuffed behind every 0xff of the data.
            self.at += if self.buffer == 0xff { 2 } else { 1 };
            self.count = 8;
        }
        self.count -= 1;
        self.buffer >> self.count & 1
    }

    fn symbol(&mut self, table: &Huffman) -> u8 {
        let (mut code, mut first, mut index) = (0, 0, 0);
        for count in &table.counts {
            code |= self.bit();
            let count = u32::from(*count);
            if code < first + count {
                return table.symbols[(index + code - first) as usize];
            }
            index += count;
            first = (first + count) << 1;
            code <<= 1;
        }
        panic!("no code of the table");
    }

    /// A number of `size` bits; those that begin with a zero are negative.
    fn number(&mut self, size: u8) -> i32 {
        let value = (0..size).fold(0, |value, _| value << 1 | self.bit() as i32);
        if size > 0 && value < 1 << (size - 1) { value - (1 << size) + 1 } else { value }
    }

    /// Coefficients, multiplied by the table but for the first one.
    fn block(&mut self, dc: &Huffman, ac: &Huffman, quantization: &[i32]) -> [i32; BLOCK] {
        let mut block = [0; BLOCK];
        let size = self.symbol(dc);
        block[0] = self.number(size);
        let mut index = 1;
        while index < BLOCK {
            let symbol = self.symbol(ac);
            match (symbol >> 4, symbol & 15) {
                (15, 0) => index += 16,
                (_, 0) => break,
                (zeros, size) => {
                    index += usize::from(zeros);
                    block[ZIGZAG[index]] = self.number(size) * quantization[index];
                    index += 1;
                }
            }
        }
        block
    }
}

fn inverse_transform(block: &[i32; BLOCK]) -> [u8; BLOCK] {
    let mut columns = [0; BLOCK];
    for column in 0..SIDE {
        let input: [i32; SIDE] = std::array::from_fn(|row| block[row * SIDE + column]);
        for (row, value) in line(input).into_iter().enumerate() {
            columns[row * SIDE + column] = rounded(value, FACTOR_BITS - KEPT_BITS);
        }
    }
    let mut pixels = [0; BLOCK];
    for (row, pixels) in columns.as_chunks::<SIDE>().0.iter().zip(pixels.chunks_exact_mut(SIDE)) {
        for (pixel, value) in pixels.iter_mut().zip(line(*row)) {
            // Both passes together are 8 times the transform.
            *pixel = (rounded(value, FACTOR_BITS + KEPT_BITS + 3) + 128).clamp(0, 255) as u8;
        }
    }
    pixels
}

fn line(input: [i32; SIDE]) -> [i32; SIDE] {
    let mut output = [0; SIDE];
    for k in 0..SIDE / 2 {
        let sum = |factors: &[i32; 4], first: usize| -> i32 {
            factors.iter().enumerate().map(|(index, factor)| factor * input[first + 2 * index]).sum()
        };
        let (even, odd) = (sum(&EVEN[k], 0), sum(&ODD[k], 1));
        output[k] = even + odd;
        output[SIDE - 1 - k] = even - odd;
    }
    output
}

fn rounded(value: i32, bits: u32) -> i32 {
    (value + (1 << (bits - 1))) >> bits
}

/// JFIF's conversion, with factors of 16 bits.
fn colours(planes: &[Vec<u8>]) -> Vec<u8> {
    let channel = |factors: [i32; 2]| {
        let values = planes[0].iter().zip(&planes[1]).zip(&planes[2]);
        values.map(move |((luma, blue), red)| {
            let chroma = factors[0] * (i32::from(*blue) - 128) + factors[1] * (i32::from(*red) - 128);
            (i32::from(*luma) + rounded(chroma, 16)).clamp(0, 255) as u8
        })
    };
    // 1.402, -0.34414 and -0.71414, 1.772.
    let [red, green, blue] = [[0, 91_881], [-22_554, -46_802], [116_130, 0]];
    channel(red).chain(channel(green)).chain(channel(blue)).collect()
}
