//! The training's random decisions, each from its own stream, so that one more draw here changes nothing there.

use bitloop_core::spec::Augmentation;

use crate::data::Images;
use crate::rng::{Rng, rng};

/// What a stream of random numbers decides.
#[derive(Clone, Copy)]
pub(super) enum Stream {
    Weights = 1,
    Validation,
    Order,
    Augmentation,
    Dropout,
    Quantizers,
    Judging,
}

/// Returns the seed of a stream.
pub(super) fn stream_seed(seed: u64, stream: Stream) -> u64 {
    rng(seed, stream as u64).next_u64()
}

/// Returns the images to train on and those held back, both in order of their index.
pub(super) fn hold_back(images: usize, validation: usize, seed: u64) -> (Vec<usize>, Vec<usize>) {
    let mut indices: Vec<usize> = (0..images).collect();
    rng(stream_seed(seed, Stream::Validation), 0).shuffle(&mut indices);
    let mut training = indices.split_off(validation);
    indices.sort_unstable();
    training.sort_unstable();
    (training, indices)
}

/// Returns the order in which an epoch visits the training images.
pub(super) fn order(training: &[usize], seed: u64, epoch: usize) -> Vec<usize> {
    let mut order = training.to_vec();
    rng(stream_seed(seed, Stream::Order), epoch as u64).shuffle(&mut order);
    order
}

/// Returns the pixels of a batch with random changes; a pixel shifted in from outside is 0, which is black.
pub(super) fn augmented(
    images: &Images,
    batch: &[usize],
    augmentation: &Augmentation,
    rng: &mut Rng,
) -> Vec<u8> {
    let [channels, height, width] = *images.shape.0 else {
        return Vec::new();
    };
    let image = channels * height * width;
    let mut pixels = vec![0u8; batch.len() * image];
    for (&index, out) in batch.iter().zip(pixels.chunks_exact_mut(image.max(1))) {
        let mut shift = || rng.below(2 * augmentation.shift + 1) as isize - augmentation.shift as isize;
        let [down, right] = [shift(), shift()];
        let flip = augmentation.flip && rng.below(2) == 1;
        let source = &images.pixels[index * image..(index + 1) * image];
        let lines = out.chunks_exact_mut(width).enumerate();
        for (line, out) in lines {
            let (channel, y) = (line / height, line % height);
            let Some(from) = y.checked_add_signed(-down).filter(|from| *from < height) else {
                continue;
            };
            let source = &source[(channel * height + from) * width..][..width];
            for (x, out) in out.iter_mut().enumerate() {
                if let Some(from) = x.checked_add_signed(-right).filter(|from| *from < width) {
                    *out = source[if flip { width - 1 - from } else { from }];
                }
            }
        }
    }
    pixels
}

#[cfg(test)]
mod tests {
    use bitloop_core::graph::Shape;

    use super::*;

    fn one_image() -> Images {
        Images { shape: Shape::image(1, 3, 3), pixels: (1..=9).collect(), labels: vec![0], classes: 1 }
    }

    #[test]
    fn held_back_images_are_never_trained_on() {
        let (training, held_back) = hold_back(100, 30, 5);

        assert_eq!((training.len(), held_back.len()), (70, 30));
        assert!(held_back.iter().all(|index| !training.contains(index)));
        assert_ne!(held_back, (0..30).collect::<Vec<_>>());
        assert_eq!(hold_back(100, 30, 5), (training, held_back));
    }

    #[test]
    fn without_augmentation_images_stay_as_they_are() {
        let none = Augmentation { shift: 0, flip: false };

        let pixels = augmented(&one_image(), &[0, 0], &none, &mut rng(1, 1));

        assert_eq!(pixels, [one_image().pixels, one_image().pixels].concat());
    }

    #[test]
    fn shifts_fill_with_black_and_flips_mirror() {
        let both = Augmentation { shift: 1, flip: true };

        let batch = vec![0; 200];
        let pixels = augmented(&one_image(), &batch, &both, &mut rng(1, 1));

        let seen = |image: &[u8]| pixels.chunks_exact(9).any(|other| other == image);
        assert!(seen(&[1, 2, 3, 4, 5, 6, 7, 8, 9]));
        assert!(seen(&[3, 2, 1, 6, 5, 4, 9, 8, 7]));
        assert!(seen(&[0, 0, 0, 1, 2, 3, 4, 5, 6]));
        assert!(seen(&[5, 6, 0, 8, 9, 0, 0, 0, 0]));
        assert!(seen(&[0, 6, 5, 0, 9, 8, 0, 0, 0]));
    }
}
