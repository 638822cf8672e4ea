//! Functions of codes, as tables.

use super::taps::check_lengths;

/// Any function of a code.
///
/// Panics: the slices have different lengths.
pub(crate) fn lookup(codes: &[u8], table: &[u8; 256], out: &mut [u8]) {
    check_lengths([codes.len(), out.len()], [codes.len(); 2]);
    for (out, code) in out.iter_mut().zip(codes) {
        *out = table[usize::from(*code)];
    }
}

/// Any function of a code, in f32.
///
/// Panics: the slices have different lengths.
pub(crate) fn lookup_floats(codes: &[u8], table: &[f32; 256], out: &mut [f32]) {
    check_lengths([codes.len(), out.len()], [codes.len(); 2]);
    for (out, code) in out.iter_mut().zip(codes) {
        *out = table[usize::from(*code)];
    }
}

/// A table per channel, and where its values go.
#[derive(Debug)]
pub(crate) enum Tables<'a> {
    Floats(&'a [[f32; 256]], &'a mut [f32]),
    Codes(&'a [[u8; 256]], &'a mut [u8]),
}

/// Turns the bytes of pictures `(images, channels, pixels)` into inputs `(images, pixels, channels)`: every channel has a table.
///
/// Panics: a slice has another length.
pub(crate) fn pixels(pictures: &[u8], pixels: usize, tables: Tables<'_>) {
    match tables {
        Tables::Floats(tables, out) => each_pixel(pictures, pixels, tables, out),
        Tables::Codes(tables, out) => each_pixel(pictures, pixels, tables, out),
    }
}

fn each_pixel<T: Copy>(pictures: &[u8], pixels: usize, tables: &[[T; 256]], out: &mut [T]) {
    let image = pixels * tables.len();
    check_lengths([pictures.len() % image.max(1), out.len()], [0, pictures.len()]);
    if image == 0 {
        return;
    }
    for (picture, out) in pictures.chunks_exact(image).zip(out.chunks_exact_mut(image)) {
        match tables {
            [red, green, blue] => {
                let (reds, rest) = picture.split_at(pixels);
                let (greens, blues) = rest.split_at(pixels);
                let colours = reds.iter().zip(greens).zip(blues);
                for (out, ((r, g), b)) in out.chunks_exact_mut(3).zip(colours) {
                    out[0] = red[usize::from(*r)];
                    out[1] = green[usize::from(*g)];
                    out[2] = blue[usize::from(*b)];
                }
            }
            _ => {
                for (channel, (plane, table)) in picture.chunks_exact(pixels).zip(tables).enumerate() {
                    let places = out.iter_mut().skip(channel).step_by(tables.len());
                    places.zip(plane).for_each(|(out, code)| *out = table[usize::from(*code)]);
                }
            }
        }
    }
}
