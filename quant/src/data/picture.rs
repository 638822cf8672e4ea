use std::io::Cursor;

use libjpeg_turbo_rs::{DecodeLimits, Decoder, JpegError, PixelFormat};

use super::PictureError;

/// Pixels of a file's picture at most (64 Mi): larger than what cameras give, and far from filling a memory.
const PIXELS_MAX: usize = 1 << 26;
/// Scans of a JPEG file at most; encoders write about ten, and each goes over all pixels.
const SCANS_MAX: usize = 256;
const JPEG_MAGIC: [u8; 3] = [0xff, 0xd8, 0xff];
const PNG_MAGIC: [u8; 8] = *b"\x89PNG\r\n\x1a\n";

/// One picture of bytes; `pixels` is `(channels, height, width)`, row-major.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Picture {
    pub(super) channels: usize,
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) pixels: Vec<u8>,
}

impl Picture {
    /// Reads a JPEG or PNG file, told apart by their first bytes: one channel if it is grey, else red, green, blue.
    ///
    /// Of 16-bit PNG files the upper 8 bits are read; palettes are looked up; transparency, colour profiles and
    /// orientation are ignored, as common loaders do.
    ///
    /// Errors: every `PictureError` but those of [`Picture::with_channels`]. No bytes make it panic, and nothing is
    /// allocated for a picture before its size is known to be sensible.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, PictureError> {
        if bytes.starts_with(&JPEG_MAGIC) {
            return decode_jpeg(bytes);
        }
        if bytes.starts_with(&PNG_MAGIC) {
            return decode_png(bytes);
        }
        Err(match bytes {
            [] => PictureError::Empty,
            [..] => PictureError::Format,
        })
    }

    /// Makes a picture of interleaved values: `values` is `(height, width, step)`, of which the first `channels` count.
    fn from_interleaved(
        [height, width]: [usize; 2],
        channels: usize,
        (values, step): (&[u8], usize),
    ) -> Self {
        let plane = |channel: usize| values.iter().skip(channel).step_by(step).copied();
        let pixels = (0..channels).flat_map(plane).collect();
        Self { channels, height, width, pixels }
    }

    /// Returns the picture with 1 or 3 channels: grey is repeated, colours become grey by their luma
    /// `0.299 red + 0.587 green + 0.114 blue`.
    ///
    /// Errors: `Channels` for any other conversion.
    /// Source: ITU-R BT.601, section 2.5.1; rounded in 16-bit fixed point.
    pub(super) fn with_channels(self, wanted: usize) -> Result<Self, PictureError> {
        match (self.channels, wanted) {
            (found, wanted) if found == wanted => Ok(self),
            (1, 3) => Ok(Self { channels: 3, pixels: self.pixels.repeat(3), ..self }),
            (3, 1) => {
                let (red, others) = self.pixels.split_at(self.height * self.width);
                let (green, blue) = others.split_at(self.height * self.width);
                let luma = |((red, green), blue): ((&u8, &u8), &u8)| {
                    // The weights are 2^16 times those above and sum up to 2^16.
                    let sum =
                        19_595 * u32::from(*red) + 38_470 * u32::from(*green) + 7_471 * u32::from(*blue);
                    ((sum + (1 << 15)) >> 16) as u8
                };
                let pixels = red.iter().zip(green).zip(blue).map(luma).collect();
                Ok(Self { channels: 1, pixels, ..self })
            }
            (found, wanted) => Err(PictureError::Channels { found, wanted }),
        }
    }
}

/// Checks a size before anything of it is allocated.
///
/// Errors: `TooLarge`, also for a side of length 0.
pub(super) fn check_size(size: [usize; 2]) -> Result<[usize; 2], PictureError> {
    let [height, width] = size;
    match height.checked_mul(width) {
        Some(1..=PIXELS_MAX) => Ok(size),
        Some(_) | None => Err(PictureError::Size { height, width, limit: PIXELS_MAX }),
    }
}

/// The pixels are those of libjpeg-turbo, which PyTorch's image loading decodes with; JPEG leaves roundings to the decoder.
fn decode_jpeg(bytes: &[u8]) -> Result<Picture, PictureError> {
    let damaged = |reason: JpegError| PictureError::Jpeg { reason: one_line(&reason) };
    let limits =
        DecodeLimits { max_pixels: PIXELS_MAX as u64, max_scans: SCANS_MAX, ..DecodeLimits::default() };
    let mut decoder = Decoder::new_with_limits(bytes, limits).map_err(damaged)?;
    let header = decoder.header();
    let [height, width] = check_size([header.height(), header.width()])?;
    // Not lenient, since that fills what is missing with grey.
    let (channels, format) = match header.components.len() {
        1 => (1, PixelFormat::Grayscale),
        _ => (3, PixelFormat::Rgb),
    };
    decoder.set_output_format(format);
    let image = decoder.decode_image().map_err(damaged)?;
    if !has_end(bytes) {
        return Err(PictureError::Jpeg { reason: "it ends early".to_owned() });
    }
    if [image.height, image.width] != [height, width] || image.data.len() != height * width * channels {
        let reason = format!("{} values for {height}x{width}x{channels}", image.data.len());
        return Err(PictureError::Jpeg { reason });
    }
    Ok(Picture::from_interleaved([height, width], channels, (&image.data, channels)))
}

/// Whether a JPEG file has the marker of its end where its segments lead to; the decoder does not miss the last rows.
///
/// Source: ITU-T T.81, section B.1.1: a marker is 0xff and a code; most begin a segment of a stated length, and the data
/// of a scan goes on until a marker that is no restart.
fn has_end(bytes: &[u8]) -> bool {
    const END: u8 = 0xd9;
    let mut rest = bytes;
    while let Some(place) =
        rest.windows(2).position(|pair| pair[0] == 0xff && !matches!(pair[1], 0x00 | 0xff))
    {
        let code = rest[place + 1];
        rest = &rest[place + 2..];
        match code {
            END => return true,
            // Restarts, the beginning and a code for nothing stand alone.
            0x01 | 0xd0..=0xd8 => {}
            // A scan's data follows its segment, and holds no other marker.
            _ => match rest {
                [high, low, ..] => {
                    let len = usize::from(u16::from_be_bytes([*high, *low]));
                    rest = rest.get(len..).unwrap_or_default();
                }
                [] | [_] => return false,
            },
        }
    }
    false
}

fn decode_png(bytes: &[u8]) -> Result<Picture, PictureError> {
    let damaged = |reason: png::DecodingError| PictureError::Png { reason: one_line(&reason) };
    let mut decoder = png::Decoder::new(Cursor::new(bytes));
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    let header = decoder.read_header_info().map_err(damaged)?;
    let size = check_size([header.height as usize, header.width as usize])?;
    let mut reader = decoder.read_info().map_err(damaged)?;
    let (color, _) = reader.output_color_type();
    let (channels, step) = match color {
        png::ColorType::Grayscale => (1, 1),
        png::ColorType::GrayscaleAlpha => (1, 2),
        png::ColorType::Rgb | png::ColorType::Indexed => (3, 3),
        png::ColorType::Rgba => (3, 4),
    };
    let mut values = vec![0; size[0] * size[1] * step];
    if reader.output_buffer_size() != Some(values.len()) {
        return Err(PictureError::Png { reason: "its colours cannot be read as bytes".to_owned() });
    }
    reader.next_frame(&mut values).map_err(damaged)?;
    // A file that lacks its end may lack more.
    reader.finish().map_err(damaged)?;
    Ok(Picture::from_interleaved(size, channels, (&values, step)))
}

/// A decoder's message, which may quote the file, on one line.
fn one_line(message: &dyn std::fmt::Display) -> String {
    const CHARS_MAX: usize = 200;
    let message = message.to_string();
    message.trim().chars().take(CHARS_MAX).map(|char| if char.is_control() { ' ' } else { char }).collect()
}
