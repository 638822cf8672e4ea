use png::ColorType;

use super::formats::{grey, jpeg, png};
use crate::data::PictureError;
use crate::data::picture::Picture;

fn picture(channels: usize, [height, width]: [usize; 2], pixels: &[u8]) -> Picture {
    Picture { channels, height, width, pixels: pixels.to_vec() }
}

#[test]
fn png_files_of_every_kind_give_their_colours() {
    let decode = |color, values: &[u8]| Picture::decode(&png([1, 2], color, values)).unwrap();

    assert_eq!(decode(ColorType::Grayscale, &[1, 2]), picture(1, [1, 2], &[1, 2]));
    assert_eq!(decode(ColorType::GrayscaleAlpha, &[1, 0, 2, 9]), picture(1, [1, 2], &[1, 2]));
    let colours = picture(3, [1, 2], &[1, 4, 2, 5, 3, 6]);
    assert_eq!(decode(ColorType::Rgb, &[1, 2, 3, 4, 5, 6]), colours);
    assert_eq!(decode(ColorType::Rgba, &[1, 2, 3, 0, 4, 5, 6, 9]), colours);
}

#[test]
fn palettes_and_deep_png_files_become_bytes() {
    let mut palette = Vec::new();
    let mut encoder = png::Encoder::new(&mut palette, 2, 1);
    encoder.set_color(ColorType::Indexed);
    encoder.set_palette(vec![1, 2, 3, 4, 5, 6]);
    encoder.write_header().unwrap().write_image_data(&[1, 0]).unwrap();
    let mut deep = Vec::new();
    let mut encoder = png::Encoder::new(&mut deep, 1, 2);
    encoder.set_depth(png::BitDepth::Sixteen);
    encoder.write_header().unwrap().write_image_data(&[7, 255, 255, 0]).unwrap();

    assert_eq!(Picture::decode(&palette).unwrap(), picture(3, [1, 2], &[4, 1, 5, 2, 6, 3]));
    assert_eq!(Picture::decode(&deep).unwrap(), picture(1, [2, 1], &[7, 255]));
}

#[test]
fn a_grey_jpeg_file_gives_its_blocks() {
    let blocks = [[0], [77], [255], [128], [129], [1]];

    let decoded = Picture::decode(&jpeg([2, 3], &blocks)).unwrap();

    assert_eq!([decoded.channels, decoded.height, decoded.width], [1, 16, 24]);
    for (index, [value]) in blocks.iter().enumerate() {
        for pixel in 0..64 {
            let (row, column) = (index / 3 * 8 + pixel / 8, index % 3 * 8 + pixel % 8);
            assert_eq!(decoded.pixels[row * 24 + column], *value, "block {index}, pixel {pixel}");
        }
    }
}

#[test]
fn a_colour_jpeg_file_gives_red_green_and_blue() {
    // Red, green and blue of one luma Y are Y + 1.402 (Cr - 128), Y - 0.344136 (Cb - 128) - 0.714136 (Cr - 128) and
    // Y + 1.772 (Cb - 128), by the JFIF standard.
    let decoded = Picture::decode(&jpeg([1, 1], &[[100_u8, 108, 178]])).unwrap();

    assert_eq!(decoded.channels, 3);
    for (plane, expected) in decoded.pixels.chunks(64).zip([170.1, 71.176, 64.56]) {
        // Decoders round in steps; a grey level is what they may differ by.
        assert!(
            plane.iter().all(|value| (f64::from(*value) - expected).abs() <= 1.0),
            "{plane:?} {expected}"
        );
    }
}

#[test]
fn channels_are_converted_by_the_luma() {
    let colours = picture(3, [1, 4], &[255, 0, 0, 9, 0, 255, 0, 9, 0, 0, 255, 9]);

    // 0.299, 0.587 and 0.114 of 255, rounded.
    assert_eq!(colours.clone().with_channels(1).unwrap(), picture(1, [1, 4], &[76, 150, 29, 9]));
    assert_eq!(
        picture(1, [1, 2], &[3, 4]).with_channels(3).unwrap(),
        picture(3, [1, 2], &[3, 4, 3, 4, 3, 4])
    );
    assert_eq!(colours.clone().with_channels(3).unwrap(), colours);
    let refused = colours.with_channels(4);
    assert_eq!(refused, Err(PictureError::Channels { found: 3, wanted: 4 }));
}

#[test]
fn files_that_end_early_are_refused() {
    let values: Vec<u8> = (0..64 * 64).map(|i| (i * 37 % 251) as u8).collect();
    let blocks: Vec<[u8; 1]> = values[..100].iter().map(|value| [*value]).collect();
    for whole in [grey([64, 64], &values), jpeg([10, 10], &blocks)] {
        assert!(Picture::decode(&whole).is_ok());
        for len in 0..whole.len() {
            assert!(Picture::decode(&whole[..len]).is_err(), "{len} of {} bytes", whole.len());
        }
    }
}

#[test]
fn absurd_sizes_are_refused_before_anything_is_allocated() {
    let mut wide = grey([1, 1], &[0]);
    // The extents stand behind the signature and the chunk's length and type, and a checksum behind them.
    for (height, width) in [(100_000_u32, 100_000_u32), (u32::MAX >> 1, u32::MAX >> 1), (0, 1), (1, 0)] {
        wide[16..20].copy_from_slice(&width.to_be_bytes());
        wide[20..24].copy_from_slice(&height.to_be_bytes());
        let checksum = crc32(&wide[12..29]).to_be_bytes();
        wide[29..33].copy_from_slice(&checksum);

        let refused = Picture::decode(&wide).unwrap_err();

        let named = format!("{height}x{width}");
        // The decoder itself refuses what the format does not allow.
        let is_clear = matches!(refused, PictureError::Size { .. }) && refused.to_string().contains(&named)
            || height.min(width) == 0 && matches!(refused, PictureError::Png { .. });
        assert!(is_clear, "{refused}");
    }
    let mut tall = jpeg([1, 1], &[[9_u8]]);
    let frame = tall.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    tall[frame + 5..frame + 9].fill(0xff);
    assert!(matches!(Picture::decode(&tall), Err(PictureError::Size { height: 65535, width: 65535, .. })));
    tall[frame + 5..frame + 9].fill(0);
    assert!(Picture::decode(&tall).is_err());
}

/// The checksum of a PNG chunk.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[test]
fn other_files_are_refused() {
    assert_eq!(Picture::decode(b""), Err(PictureError::Empty));
    for text in [&b"hello"[..], b"GIF89a", b"\xff\xd8", b"\x89PNG"] {
        assert_eq!(Picture::decode(text), Err(PictureError::Format));
    }
}
