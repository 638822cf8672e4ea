//! Colours that also those tell apart who see fewer of them, on light and on dark pages.
//!
//! Source: Okabe and Ito, "Color Universal Design (CUD): How to make figures and presentations that are friendly to colorblind
//! people", 2008. Yellow is left out, as nobody sees it on white, and so is black, as nobody sees it on black.

/// Red, green and blue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Colour(pub(crate) u8, pub(crate) u8, pub(crate) u8);

impl Colour {
    /// As web pages write it.
    pub(crate) fn hex(self) -> String {
        format!("#{:02x}{:02x}{:02x}", self.0, self.1, self.2)
    }

    /// The colour so far on the way to another, 0 to 1.
    pub(crate) fn towards(self, other: Self, share: f64) -> Self {
        let of = |a: u8, b: u8| {
            (f64::from(a) + (f64::from(b) - f64::from(a)) * share.clamp(0.0, 1.0)).round() as u8
        };
        Self(of(self.0, other.0), of(self.1, other.1), of(self.2, other.2))
    }
}

const BLUE: Colour = Colour(0x00, 0x72, 0xb2);
const VERMILION: Colour = Colour(0xd5, 0x5e, 0x00);

/// The colours of series, in order; an eighth series has that of the first, and another shape.
pub(crate) const SERIES: [Colour; 7] = [
    BLUE,
    VERMILION,
    Colour(0x00, 0x9e, 0x73),
    Colour(0xcc, 0x79, 0xa7),
    Colour(0xe6, 0x9f, 0x00),
    Colour(0x56, 0xb4, 0xe9),
    Colour(0x80, 0x80, 0x80),
];

/// Below 0, 0 and above.
pub(crate) const DIVERGING: [Colour; 3] = [BLUE, Colour(0xf2, 0xf2, 0xf2), VERMILION];

/// Little and much.
pub(crate) const SEQUENTIAL: [Colour; 2] = [Colour(0xf2, 0xf2, 0xf2), VERMILION];

/// The colour of a value between two ends of which one may be below 0.
pub(crate) fn heat(value: f64, (low, high): (f64, f64), is_diverging: bool) -> Colour {
    if !is_diverging {
        let [little, much] = SEQUENTIAL;
        return little.towards(much, (value - low) / (high - low).max(f64::MIN_POSITIVE));
    }
    let [below, zero, above] = DIVERGING;
    let most = low.abs().max(high.abs()).max(f64::MIN_POSITIVE);
    if value < 0.0 { zero.towards(below, -value / most) } else { zero.towards(above, value / most) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_a_scale_have_its_colours() {
        assert_eq!(heat(-2.0, (-2.0, 1.0), true), DIVERGING[0]);
        assert_eq!(heat(0.0, (-2.0, 1.0), true), DIVERGING[1]);
        assert_eq!(heat(2.0, (-1.0, 2.0), true), DIVERGING[2]);
        assert_eq!([heat(0.0, (0.0, 3.0), false), heat(3.0, (0.0, 3.0), false)], SEQUENTIAL);
        assert_eq!(heat(0.0, (0.0, 0.0), false), SEQUENTIAL[0]);
        assert_eq!(BLUE.hex(), "#0072b2");
    }
}
