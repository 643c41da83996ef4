//! The power spectra of eight frames of sound at once: two real frames make one complex one, and four of those fill the lanes.

use std::f64::consts::TAU;

use crate::lanes::{Lanes, pick};

/// Points of the transform, and what is left of them for real numbers.
pub(crate) const POINTS: usize = 512;
pub(crate) const BINS: usize = POINTS / 2 + 1;

/// The stages that are done together first, because they need no multiplication, make this many points of one.
const FIRST: usize = 4;

#[derive(Clone, Copy)]
struct Wave {
    re: Lanes,
    im: Lanes,
}

impl Wave {
    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        Self { re: self.re.plus(other.re), im: self.im.plus(other.im) }
    }

    #[inline(always)]
    fn minus(self, other: Self) -> Self {
        Self { re: self.re.minus(other.re), im: self.im.minus(other.im) }
    }

    #[inline(always)]
    fn turned(self, [cos, sin]: [f32; 2]) -> Self {
        let (cos, sin) = (Lanes::from_array([cos; 4]), Lanes::from_array([sin; 4]));
        let re = self.re.times(cos).minus(self.im.times(sin));
        Self { re, im: self.re.times(sin).plus(self.im.times(cos)) }
    }
}

/// What does not depend on the sound.
pub(crate) struct Plan {
    /// Where each point goes before the first stage.
    places: Vec<u16>,
    /// The turns of each pass after the first, which needs none. A pass is two stages at once: each point waits for memory half as often.
    passes: Vec<Vec<[[f32; 2]; 3]>>,
    /// Those of the last stage.
    last: Vec<[f32; 2]>,
}

impl Plan {
    pub(crate) fn new() -> Self {
        let bits = POINTS.trailing_zeros();
        let places = (0..POINTS as u16).map(|point| point.reverse_bits() >> (u16::BITS - bits)).collect();
        let turn = |at: usize, points: usize| {
            let angle = -TAU * at as f64 / points as f64;
            [angle.cos() as f32, angle.sin() as f32]
        };
        let quarters = std::iter::successors(Some(FIRST), |quarter| Some(quarter * 4));
        let passes = quarters
            .take_while(|quarter| quarter * 4 < POINTS)
            .map(|quarter| (0..quarter).map(|at| [2, 1, 3].map(|times| turn(at * times, quarter * 4))).collect());
        Self { places, passes: passes.collect(), last: (0..POINTS / 2).map(|at| turn(at, POINTS)).collect() }
    }

    /// `four` gives four points of the eight frames, as often as `steps` says; beyond them are zeros. What comes out is four times
    /// the power.
    pub(crate) fn powers(
        &self,
        steps: usize,
        four: impl Fn(usize) -> [[Lanes; 4]; 2],
        powers: &mut [[Lanes; 2]; BINS],
    ) {
        let zero = Lanes::from_array([0.0; 4]);
        let mut waves = [Wave { re: zero, im: zero }; POINTS];
        for (step, places) in self.places.as_chunks::<4>().0.iter().enumerate().take(steps) {
            let [re, im] = four(step).map(transposed);
            for ((&place, re), im) in places.iter().zip(re).zip(im) {
                if let Some(wave) = waves.get_mut(usize::from(place)) {
                    *wave = Wave { re, im };
                }
            }
        }
        self.transform(&mut waves);
        // The first point is its own mirror image.
        let mirrored = waves.iter().take(1).chain(waves.iter().rev());
        let pairs = waves.iter().zip(mirrored);
        for (power, (wave, mirror)) in powers.iter_mut().zip(pairs) {
            *power = separate(*wave, *mirror);
        }
    }

    fn transform(&self, waves: &mut [Wave; POINTS]) {
        for four in waves.as_chunks_mut::<FIRST>().0 {
            *four = crossed(*four);
        }
        for turns in &self.passes {
            for block in waves.chunks_exact_mut(turns.len() * 4) {
                pass(block, turns);
            }
        }
        let (low, high) = waves.split_at_mut(POINTS / 2);
        for ((low, high), turn) in low.iter_mut().zip(high).zip(&self.last) {
            let turned = high.turned(*turn);
            (*low, *high) = (low.plus(turned), low.minus(turned));
        }
    }
}

fn pass(block: &mut [Wave], turns: &[[[f32; 2]; 3]]) {
    let (low, high) = block.split_at_mut(turns.len() * 2);
    let ((first, second), (third, fourth)) = (low.split_at_mut(turns.len()), high.split_at_mut(turns.len()));
    let points = first.iter_mut().zip(second).zip(third.iter_mut().zip(fourth));
    for (((a, b), (c, d)), &[turn_b, turn_c, turn_d]) in points.zip(turns) {
        [*a, *b, *c, *d] = crossed([*a, b.turned(turn_b), c.turned(turn_c), d.turned(turn_d)]);
    }
}

/// Two stages on four points that have been turned.
#[inline(always)]
fn crossed([a, b, c, d]: [Wave; 4]) -> [Wave; 4] {
    let (sum, difference, other, turned) = (a.plus(b), a.minus(b), c.plus(d), c.minus(d));
    let [plus, minus] = [
        Wave { re: difference.re.plus(turned.im), im: difference.im.minus(turned.re) },
        Wave { re: difference.re.minus(turned.im), im: difference.im.plus(turned.re) },
    ];
    [sum.plus(other), plus, sum.minus(other), minus]
}

/// Four points of each of four frames become four frames of each of four points.
#[inline(always)]
fn transposed([a, b, c, d]: [Lanes; 4]) -> [Lanes; 4] {
    let (early_ab, early_cd) = (pick!(a[0, 1], b[0, 1]), pick!(c[0, 1], d[0, 1]));
    let (late_ab, late_cd) = (pick!(a[2, 3], b[2, 3]), pick!(c[2, 3], d[2, 3]));
    [
        pick!(early_ab[0, 2], early_cd[0, 2]),
        pick!(early_ab[1, 3], early_cd[1, 3]),
        pick!(late_ab[0, 2], late_cd[0, 2]),
        pick!(late_ab[1, 3], late_cd[1, 3]),
    ]
}

/// Of a point and its mirror image: the power of the frames that were the real parts, and of those that were the imaginary ones.
#[inline(always)]
fn separate(wave: Wave, mirror: Wave) -> [Lanes; 2] {
    let (sum, difference) = (wave.plus(mirror), wave.minus(mirror));
    let power = |x: Lanes, y: Lanes| x.times(x).plus(y.times(y));
    [power(sum.re, difference.im), power(sum.im, difference.re)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_powers_are_those_of_the_definition() {
        let sample = |frame: usize, at: usize| ((at * at * 31 + frame * 7919) % 1009) as f32 / 504.5 - 1.0;
        let points = |frame, step| Lanes::from_array(std::array::from_fn(|at| sample(frame, 4 * step + at)));
        let frames = |from: usize, step| std::array::from_fn(|lane| points(from + lane, step));
        let mut powers = [[Lanes::from_array([0.0; 4]); 2]; BINS];
        Plan::new().powers(100, |step| [frames(0, step), frames(4, step)], &mut powers);
        for (bin, power) in powers.iter().enumerate() {
            let power: Vec<f32> = power.iter().flat_map(|lanes| lanes.to_array()).collect();
            for (frame, &power) in power.iter().enumerate() {
                let turned = (0..400).map(|at| {
                    let angle = -TAU * (bin * at) as f64 / POINTS as f64;
                    (f64::from(sample(frame, at)) * angle.cos(), f64::from(sample(frame, at)) * angle.sin())
                });
                let (re, im) = turned.fold((0.0, 0.0), |(re, im), (x, y)| (re + x, im + y));
                let exact = 4.0 * (re * re + im * im);
                assert!(
                    (f64::from(power) - exact).abs() < 1e-3 * exact.max(1.0),
                    "frame {frame}, bin {bin}: {power}, not {exact}"
                );
            }
        }
    }
}
