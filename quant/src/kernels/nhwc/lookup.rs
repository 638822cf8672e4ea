//! Functions of codes, as tables.

#![expect(unsafe_code, reason = "vector instructions")]

use super::Isa;
use super::taps::check_lengths;

/// Any function of a code. Only some CPUs with 512-bit vectors have instructions for it.
///
/// Panics: the slices have different lengths.
pub(crate) fn lookup(isa: Isa, codes: &[u8], table: &[u8; 256], out: &mut [u8]) {
    check_lengths([codes.len(), out.len()], [codes.len(); 2]);
    #[cfg(target_arch = "x86_64")]
    if isa >= Isa::Avx512 && is_x86_feature_detected!("avx512vbmi") && is_x86_feature_detected!("avx512bw") {
        // SAFETY: the CPU has the instructions, as was just asked; the lengths are equal.
        return unsafe { lookup_64(codes, table, out) };
    }
    for (out, code) in out.iter_mut().zip(codes) {
        *out = table[usize::from(*code)];
    }
}

/// 64 codes at a time, out of a table in four registers.
///
/// SAFETY: `out` has the length of `codes`.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
unsafe fn lookup_64(codes: &[u8], table: &[u8; 256], out: &mut [u8]) {
    use std::arch::x86_64::*;
    const BLOCK: usize = 64;
    // SAFETY: the table has four times 64 bytes; the mask leaves out what lies beyond the end of both slices.
    unsafe {
        let [a, b, c, d] =
            [0, 1, 2, 3].map(|part| _mm512_loadu_si512(table.as_ptr().add(part * BLOCK).cast()));
        for at in (0..codes.len()).step_by(BLOCK) {
            let inside = u64::MAX >> (BLOCK - (codes.len() - at).min(BLOCK));
            let x = _mm512_maskz_loadu_epi8(inside, codes.as_ptr().add(at).cast());
            let (low, high) = (_mm512_permutex2var_epi8(a, x, b), _mm512_permutex2var_epi8(c, x, d));
            // The top bit of a code says which half of the table it is in.
            let values = _mm512_mask_blend_epi8(_mm512_movepi8_mask(x), low, high);
            _mm512_mask_storeu_epi8(out.as_mut_ptr().add(at).cast(), inside, values);
        }
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
