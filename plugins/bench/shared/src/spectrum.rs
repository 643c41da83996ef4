//! The power spectra of eight frames of sound at once: two real frames make one complex one, and four of those fill the lanes.

use std::f64::consts::TAU;

use crate::lanes::Lanes;

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
    /// The turns of each stage after the first ones.
    stages: Vec<Vec<[f32; 2]>>,
}

impl Plan {
    pub(crate) fn new() -> Self {
        let bits = POINTS.trailing_zeros();
        let places = (0..POINTS as u16).map(|point| point.reverse_bits() >> (u16::BITS - bits)).collect();
        let halves = std::iter::successors(Some(FIRST), |half| Some(half * 2)).take_while(|&half| half < POINTS);
        let turn = |at: usize, half: usize| {
            let angle = -TAU * at as f64 / (2 * half) as f64;
            [angle.cos() as f32, angle.sin() as f32]
        };
        Self { places, stages: halves.map(|half| (0..half).map(|at| turn(at, half)).collect()).collect() }
    }

    /// `point` gives each point of the frames that there is; beyond them are zeros. What comes out is four times the power.
    pub(crate) fn powers(
        &self,
        points: usize,
        point: impl Fn(usize) -> [[f32; 4]; 2],
        powers: &mut [[Lanes; 2]; BINS],
    ) {
        let zero = Lanes::from_array([0.0; 4]);
        let mut waves = [Wave { re: zero, im: zero }; POINTS];
        for (at, &place) in self.places.iter().enumerate().take(points) {
            let [re, im] = point(at).map(Lanes::from_array);
            if let Some(wave) = waves.get_mut(usize::from(place)) {
                *wave = Wave { re, im };
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
            let [a, b, c, d] = *four;
            let (sum, difference, other) = (a.plus(b), a.minus(b), c.plus(d));
            let turned = c.minus(d);
            let turned = Wave { re: turned.im, im: Lanes::from_array([0.0; 4]).minus(turned.re) };
            *four = [sum.plus(other), difference.plus(turned), sum.minus(other), difference.minus(turned)];
        }
        for turns in &self.stages {
            for block in waves.chunks_exact_mut(turns.len() * 2) {
                let (low, high) = block.split_at_mut(turns.len());
                for ((low, high), turn) in low.iter_mut().zip(high).zip(turns) {
                    let turned = high.turned(*turn);
                    (*low, *high) = (low.plus(turned), low.minus(turned));
                }
            }
        }
    }
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
        let frames = |from: usize, at| std::array::from_fn(|lane| sample(from + lane, at));
        let mut powers = [[Lanes::from_array([0.0; 4]); 2]; BINS];
        Plan::new().powers(400, |at| [frames(0, at), frames(4, at)], &mut powers);
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
