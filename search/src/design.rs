//! placeholder
use bitloop_core::rng::rng;
pub type Item = (u32, u8);
pub trait Design: Send {
    fn len(&self) -> u64;
    fn get(&self, index: u64) -> Vec<Item>;
}
pub struct Pairs(Vec<[Item; 2]>);
impl Pairs {
    pub fn new(items: &[Item]) -> Self {
        let mut all = Vec::new();
        for (i, a) in items.iter().enumerate() {
            for b in &items[i + 1..] {
                if a.0 != b.0 {
                    all.push([*a, *b]);
                }
            }
        }
        Self(all)
    }
}
impl Design for Pairs {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }
    fn get(&self, i: u64) -> Vec<Item> {
        self.0[i as usize].to_vec()
    }
}
pub struct Subsets {
    items: Vec<Item>,
    sizes: [u32; 2],
    count: u64,
    seed: u64,
}
impl Subsets {
    pub fn new(items: Vec<Item>, sizes: [u32; 2], count: u64, seed: u64) -> Self {
        Self { items, sizes, count, seed }
    }
}
impl Design for Subsets {
    fn len(&self) -> u64 {
        self.count
    }
    fn get(&self, index: u64) -> Vec<Item> {
        let mut r = rng(self.seed, index);
        let size = self.sizes[0] as u64 + index % u64::from(self.sizes[1] - self.sizes[0] + 1);
        let mut variables: Vec<u32> = self.items.iter().map(|i| i.0).collect();
        variables.dedup();
        r.shuffle(&mut variables);
        let mut out: Vec<Item> = variables
            .into_iter()
            .take(size as usize)
            .map(|v| {
                let own: Vec<&Item> = self.items.iter().filter(|i| i.0 == v).collect();
                *own[r.below(own.len())]
            })
            .collect();
        out.sort_unstable();
        out
    }
}
