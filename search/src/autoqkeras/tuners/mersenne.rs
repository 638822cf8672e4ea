//! The first uniform number of Python's `random.Random(seed)`.

/// Words of the generator's state.
const WORDS: usize = 624;
/// The distance between the words that are combined.
const MIDDLE: usize = 397;

/// Returns what `random.Random(seed).random()` gives first in Python: a uniform number in 0..1 of 53 random bits.
///
/// Source: Matsumoto and Nishimura, "Mersenne Twister: A 623-dimensionally equidistributed uniform pseudorandom number
/// generator", 1998, with their `init_by_array` of 2002; Python gives it the seed's 32-bit words, the lowest first.
pub fn first_uniform(seed: u64) -> f64 {
    let low = seed as u32;
    let high = (seed >> 32) as u32;
    let state = match high {
        0 => seeded(&[low]),
        high => seeded(&[low, high]),
    };
    // The first two words of output need the first three words of the state and two in the middle alone.
    let upper = f64::from(tempered(twisted(&state, 0)) >> 5);
    let lower = f64::from(tempered(twisted(&state, 1)) >> 6);
    (upper * f64::from(1u32 << 26) + lower) / (1u64 << 53) as f64
}

fn seeded(key: &[u32]) -> [u32; WORDS] {
    let mut state = linear(19_650_218);
    let mut at = 1;
    for step in 0..WORDS.max(key.len()) {
        let word = step % key.len();
        state[at] = (state[at] ^ mixed(state[at - 1]).wrapping_mul(1_664_525))
            .wrapping_add(key[word])
            .wrapping_add(word as u32);
        at = next(at, &mut state);
    }
    for _ in 1..WORDS {
        state[at] = (state[at] ^ mixed(state[at - 1]).wrapping_mul(1_566_083_941)).wrapping_sub(at as u32);
        at = next(at, &mut state);
    }
    state[0] = 1 << 31;
    state
}

fn linear(seed: u32) -> [u32; WORDS] {
    let mut state = [seed; WORDS];
    for at in 1..WORDS {
        state[at] = mixed(state[at - 1]).wrapping_mul(1_812_433_253).wrapping_add(at as u32);
    }
    state
}

fn mixed(word: u32) -> u32 {
    word ^ (word >> 30)
}

/// Steps on, past the first word, which then takes the value of the last.
fn next(at: usize, state: &mut [u32; WORDS]) -> usize {
    if at + 1 < WORDS {
        return at + 1;
    }
    state[0] = state[WORDS - 1];
    1
}

fn twisted(state: &[u32; WORDS], at: usize) -> u32 {
    let word = (state[at] & 0x8000_0000) | (state[at + 1] & 0x7fff_ffff);
    let odd = if word & 1 == 1 { 0x9908_b0df } else { 0 };
    state[at + MIDDLE] ^ (word >> 1) ^ odd
}

fn tempered(mut word: u32) -> u32 {
    word ^= word >> 11;
    word ^= (word << 7) & 0x9d2c_5680;
    word ^= (word << 15) & 0xefc6_0000;
    word ^ (word >> 18)
}
