//! Tiny image files, made here so that tests need no others.

/// A PNG file of 8-bit values, interleaved.
pub(super) fn png([height, width]: [u32; 2], color: png::ColorType, values: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(color);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.write_header().unwrap().write_image_data(values).unwrap();
    bytes
}

/// A grey PNG file.
pub(super) fn grey(size: [u32; 2], values: &[u8]) -> Vec<u8> {
    png(size, png::ColorType::Grayscale, values)
}

/// A baseline JPEG file of flat 8x8 blocks: `blocks` holds one value (grey) or three (Y, Cb, Cr) for each, row-major.
///
/// With every step of quantization 8, the constant coefficient of a flat block of `v` is `v - 128` exactly. The code of
/// category `s` is `s` in four bits; the end of a block is one zero bit.
pub(super) fn jpeg<const CHANNELS: usize>([rows, columns]: [u16; 2], blocks: &[[u8; CHANNELS]]) -> Vec<u8> {
    let segment = |marker: u8, body: &[u8]| {
        let len = (body.len() as u16 + 2).to_be_bytes();
        [&[0xff, marker], &len[..], body].concat()
    };
    let channels = CHANNELS as u8;
    let quantization = [&[0][..], &[8; 64]].concat();
    let (height, width) = ((rows * 8).to_be_bytes(), (columns * 8).to_be_bytes());
    let frame = [&[8], &height[..], &width[..], &[channels]].concat();
    let frame = [frame, (1..=channels).flat_map(|id| [id, 0x11, 0]).collect()].concat();
    let constant: Vec<u8> =
        [0x00].into_iter().chain((1..=16).map(|len| if len == 4 { 12 } else { 0 })).chain(0..12).collect();
    let varying: Vec<u8> =
        [0x10].into_iter().chain((1..=16).map(|len| u8::from(len == 1))).chain([0]).collect();
    let scan = [vec![channels], (1..=channels).flat_map(|id| [id, 0]).collect(), vec![0, 63, 0]].concat();
    let parts = [
        vec![0xff, 0xd8],
        segment(0xdb, &quantization),
        segment(0xc0, &frame),
        segment(0xc4, &constant),
        segment(0xc4, &varying),
        segment(0xda, &scan),
        entropy_coded(blocks),
        vec![0xff, 0xd9],
    ];
    parts.concat()
}

fn entropy_coded<const CHANNELS: usize>(blocks: &[[u8; CHANNELS]]) -> Vec<u8> {
    let mut bits = Vec::new();
    let mut before = [0_i32; CHANNELS];
    let mut push = |value: u32, len: u32| bits.extend((0..len).rev().map(|bit| value >> bit & 1));
    for block in blocks {
        for (value, before) in block.iter().zip(&mut before) {
            let coefficient = i32::from(*value) - 128;
            let difference = coefficient - *before;
            *before = coefficient;
            let category = 32 - difference.unsigned_abs().leading_zeros();
            push(category, 4);
            // Negative numbers are written as their ones' complement.
            let code = if difference < 0 { difference - 1 } else { difference };
            push(code as u32 & ((1 << category) - 1), category);
            push(0, 1);
        }
    }
    while bits.len() % 8 != 0 {
        bits.push(1);
    }
    let bytes = bits.chunks(8).map(|bits| bits.iter().fold(0, |byte, bit| byte << 1 | *bit as u8));
    // A zero byte tells a value of 255 from a marker.
    bytes.flat_map(|byte| [byte, 0].into_iter().take(if byte == 255 { 2 } else { 1 })).collect()
}
