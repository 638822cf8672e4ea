use super::*;

/// Runs a function that fills `len` values, on both sides of guarded memory, for bytes and for f32.
fn compare_moves(
    (x, expected): (&[u8], &[u8]),
    bytes: impl Fn(&[u8], &mut [u8]),
    values: impl Fn(&[f32], &mut [f32]),
) {
    let wide: Vec<f32> = x.iter().map(|x| f32::from(*x)).collect();
    let (x, wide) = (guarded(x), guarded(&wide));
    for side in [0, 1] {
        let mut out = Guarded::new(SIDES[side], &vec![7; expected.len()]);
        bytes(&x[side], &mut out);
        assert_eq!(&*out, expected);
        let mut out = Guarded::new(SIDES[side], &vec![7.0; expected.len()]);
        values(&wide[side], &mut out);
        assert!(out.iter().zip(expected).all(|(out, expected)| *out == f32::from(*expected)));
    }
}

#[test]
fn gathering_follows_the_map_in_every_image() {
    for step in 0..50 {
        let rng = &mut rng(111, step);
        let (images, image, len) = (rng.below(4), between(rng, 1, 50), rng.below(70));
        let map: Vec<u32> = (0..len).map(|_| rng.below(image) as u32).collect();
        let x = codes(rng, if len == 0 { 0 } else { images * image });
        let expected: Vec<u8> = x.chunks(image).flat_map(|x| map.iter().map(|at| x[*at as usize])).collect();
        compare_moves(
            (&x, &expected),
            |x, out| gather((x, image), &map, out),
            |x, out| gather((x, image), &map, out),
        );
    }
}

#[test]
fn spans_of_channels_are_taken_and_put_back() {
    for step in 0..200 {
        let rng = &mut rng(112, step);
        let (pixels, channels) = (rng.below(5), between(rng, 1, 300));
        let start = rng.below(channels);
        let span = Span { start, count: rng.below(channels - start + 1), channels };
        let inside = |at: usize| (start..start + span.count).contains(&(at % channels));
        let x = codes(rng, pixels * channels);
        let taken: Vec<u8> = (0..x.len()).filter(|at| inside(*at)).map(|at| x[at]).collect();
        compare_moves(
            (&x, &taken),
            |x, out| take_channels(x, span, out),
            |x, out| take_channels(x, span, out),
        );
        let kept: Vec<u8> = (0..x.len()).map(|at| if inside(at) { x[at] } else { 7 }).collect();
        compare_moves(
            (&taken, &kept),
            |x, out| put_channels(x, span, out),
            |x, out| put_channels(x, span, out),
        );
    }
}

#[test]
fn channels_are_permuted_in_every_pixel() {
    for step in 0..200 {
        let rng = &mut rng(113, step);
        let (pixels, channels) = (rng.below(5), between(rng, 1, 260));
        let groups = one_of(rng, &[1, 2, 2, 3, 4]);
        let channels = channels.div_ceil(groups) * groups;
        let mut order: Vec<u32> =
            (0..channels).map(|at| (at % groups * (channels / groups) + at / groups) as u32).collect();
        if rng.below(3) == 0 {
            rng.shuffle(&mut order);
            order.truncate(between(rng, 0, channels));
        }
        let x = codes(rng, pixels * channels);
        let expected: Vec<u8> =
            x.chunks(channels).flat_map(|x| order.iter().map(|at| x[*at as usize])).collect();
        for isa in available() {
            compare_moves(
                (&x, &expected),
                |x, out| permute(isa, (x, channels), &order, out),
                |x, out| permute(isa, (x, channels), &order, out),
            );
        }
    }
}
