use bitloop_core::spec::{Fit, Resize};

use crate::data::PictureError;
use crate::data::fit::fitted;
use crate::data::picture::Picture;
use crate::data::resample::resize;
use crate::rng::rng;

fn grey([height, width]: [usize; 2], pixels: &[u8]) -> Picture {
    Picture { channels: 1, height, width, pixels: pixels.to_vec() }
}

fn noise(channels: usize, [height, width]: [usize; 2], seed: u64) -> Picture {
    let mut rng = rng(seed, 0);
    let pixels = (0..channels * height * width).map(|_| rng.below(256) as u8).collect();
    Picture { channels, height, width, pixels }
}

#[test]
fn enlarging_interpolates_between_the_middles_of_pixels() {
    // Places 0.25, 0.75, 1.25 and 1.75 between the middles 0.5 and 1.5.
    assert_eq!(resize(grey([1, 2], &[0, 100]), [1, 4]).pixels, [0, 25, 75, 100]);
    assert_eq!(resize(grey([2, 1], &[0, 100]), [4, 1]).pixels, [0, 25, 75, 100]);
}

#[test]
fn shrinking_takes_the_mean_under_a_wider_triangle() {
    // Around place 1 of 4 the weights are 3/4, 3/4, 1/4 and 0, of which the sum is 7/4; around place 3 mirrored.
    assert_eq!(resize(grey([1, 4], &[0, 70, 140, 210]), [1, 2]).pixels, [50, 160]);
    // One output sees all of 3: weights 2/3, 1, 2/3 of a sum of 7/3.
    assert_eq!(resize(grey([3, 1], &[0, 70, 210]), [1, 1]).pixels, [90]);
}

/// The definition, in two dimensions at once and without rounding in between.
fn by_definition(picture: &Picture, [height, width]: [usize; 2]) -> Vec<f64> {
    let weight = |from: usize, to: usize, output: usize, input: usize| {
        let scale = from as f64 / to as f64;
        let distance = input as f64 + 0.5 - (output as f64 + 0.5) * scale;
        (1.0 - distance.abs() / scale.max(1.0)).max(0.0)
    };
    let mut values = Vec::new();
    for plane in picture.pixels.chunks(picture.height * picture.width) {
        for index in 0..height * width {
            let (mut sum, mut weights) = (0.0, 0.0);
            for (input, value) in plane.iter().enumerate() {
                let rows = weight(picture.height, height, index / width, input / picture.width);
                let columns = weight(picture.width, width, index % width, input % picture.width);
                sum += rows * columns * f64::from(*value);
                weights += rows * columns;
            }
            values.push(sum / weights);
        }
    }
    values
}

#[test]
fn any_size_agrees_with_the_definition() {
    for (seed, (from, to)) in (0..).zip([
        ([28, 28], [32, 32]),
        ([7, 13], [5, 29]),
        ([40, 9], [3, 2]),
        ([1, 1], [4, 3]),
        ([17, 31], [17, 8]),
        ([31, 17], [9, 17]),
    ]) {
        let picture = noise(2, from, seed);

        let resized = resize(picture.clone(), to);

        assert_eq!([resized.channels, resized.height, resized.width], [2, to[0], to[1]]);
        for (found, expected) in resized.pixels.iter().zip(by_definition(&picture, to)) {
            // Half a level for each of the two roundings.
            assert!((f64::from(*found) - expected).abs() < 1.01, "{from:?} -> {to:?}: {found} {expected}");
        }
    }
}

#[test]
fn the_same_size_and_flat_pictures_stay_as_they_are() {
    let picture = noise(3, [5, 6], 1);

    assert_eq!(resize(picture.clone(), [5, 6]), picture);
    for value in [0, 1, 127, 254, 255] {
        let flat = resize(grey([5, 7], &[value; 35]), [11, 3]);
        assert!(flat.pixels.iter().all(|found| *found == value), "{value}");
    }
}

#[test]
fn the_shorter_side_is_resized_and_the_middle_kept() {
    let fit = |resize, crop| Fit { resize: Some(resize), pad: 0, crop };
    // 40 x 100 becomes 20 x 50 and the middle of it is kept: columns 15 to 34, hence the value 255 of columns 30 to 69.
    let row: Vec<u8> = (0..100).map(|column| if (25..75).contains(&column) { 255 } else { 0 }).collect();
    let wide = grey([40, 100], &row.repeat(40));

    let cropped = fitted(wide.clone(), &fit(Resize::ShorterSide(20), Some([20, 20])), [1, 20, 20]).unwrap();

    assert!(cropped.pixels.iter().all(|value| *value == 255));
    let tall = grey([7, 3], &[0; 21]);
    let resized = fitted(tall, &fit(Resize::ShorterSide(2), None), [1, 4, 2]).unwrap();
    assert_eq!([resized.height, resized.width], [4, 2], "14/3 is rounded down");
    let wrong = fitted(wide, &fit(Resize::Exact([20, 20]), Some([30, 10])), [1, 30, 10]);
    assert_eq!(wrong, Err(PictureError::Crop { found: [20, 20], wanted: [30, 10] }));
}

#[test]
fn an_odd_rest_is_cut_to_the_even_side() {
    let cut = |from: usize, to: usize| {
        let row: Vec<u8> = (0..from as u8).collect();
        let fit = Fit { crop: Some([1, to]), ..Fit::default() };
        fitted(grey([1, from], &row), &fit, [1, 1, to]).unwrap().pixels[0]
    };

    // Of 0.5, 1.5, 2.5 and 3.5 the nearest even numbers.
    assert_eq!([cut(3, 2), cut(5, 2), cut(7, 2), cut(9, 2), cut(6, 2)], [0, 2, 2, 4, 2]);
}

#[test]
fn padding_is_black_on_all_sides() {
    let fit = Fit { pad: 1, ..Fit::default() };
    let picture = Picture { channels: 2, height: 1, width: 2, pixels: vec![1, 2, 3, 4] };

    let padded = fitted(picture, &fit, [2, 3, 4]).unwrap();

    #[rustfmt::skip]
    let expected = [
        0, 0, 0, 0,  0, 1, 2, 0,  0, 0, 0, 0,
        0, 0, 0, 0,  0, 3, 4, 0,  0, 0, 0, 0,
    ];
    assert_eq!(padded.pixels, expected);
}

#[test]
fn a_wrong_size_says_what_helps() {
    let wrong = fitted(grey([2, 3], &[0; 6]), &Fit::default(), [1, 3, 3]).unwrap_err();

    assert!(
        wrong.to_string().contains("has shape 1x2x3, the model takes 1x3x3; set `data.resize`"),
        "{wrong}"
    );
}

#[test]
fn a_thin_strip_is_not_resized_beyond_all_bounds() {
    let strip = grey([1, 60_000], &[0; 60_000]);
    let fit = Fit { resize: Some(Resize::ShorterSide(4096)), pad: 0, crop: Some([8, 8]) };

    assert!(matches!(fitted(strip, &fit, [1, 8, 8]), Err(PictureError::Size { height: 4096, .. })));
}
