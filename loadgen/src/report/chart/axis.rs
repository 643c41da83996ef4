//! An axis of a chart: positions of values, and labelled ticks.

#[derive(Clone, Debug)]
pub struct Axis {
    pub label: String,
    pub scale: Scale,
    /// Formats the value of a tick.
    pub format: fn(f64) -> String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// From zero, or from the smallest negative value.
    Linear,
    Log,
    /// Shares from 0 to 1, as in HDR plots: each nine has equal width.
    Percentile,
}

/// The visible part of an axis.
#[derive(Debug)]
pub(super) struct Span<'a> {
    axis: &'a Axis,
    from: f64,
    to: f64,
}

/// The approximate number of ticks.
const TICKS: f64 = 6.0;
/// A smaller range counts as a single value.
const LEAST_DECADES: f64 = 1e-9;
/// The largest number of decades or nines.
const MOST_DECADES: i32 = 40;

impl Axis {
    pub fn new(label: impl Into<String>, scale: Scale, format: fn(f64) -> String) -> Self {
        Self { label: label.into(), scale, format }
    }

    pub(super) fn shows(&self, value: f64) -> bool {
        self.place(value).is_finite()
    }

    /// The position of a value, in linear units.
    fn place(&self, value: f64) -> f64 {
        match self.scale {
            Scale::Linear => value,
            Scale::Log if value > 0.0 => value.log10(),
            Scale::Percentile if (0.0..1.0).contains(&value) => -(1.0 - value).log10(),
            Scale::Log | Scale::Percentile => f64::NAN,
        }
    }

    pub(super) fn span(&self, values: &[f64]) -> Span<'_> {
        let places = || values.iter().map(|value| self.place(*value)).filter(|place| place.is_finite());
        let (least, most) = (places().fold(f64::INFINITY, f64::min), places().fold(f64::NEG_INFINITY, f64::max));
        let (least, most) = if least <= most { (least, most) } else { (0.0, 1.0) };
        let (from, to) = match self.scale {
            Scale::Linear => linear(least.min(0.0), most),
            Scale::Percentile => (0.0, most.max(1.0)),
            Scale::Log => (step_of_decade(least, f64::floor), step_of_decade(most, f64::ceil)),
        };
        let to = if to - from > LEAST_DECADES { to } else { from + 1.0 };
        Span { axis: self, from, to }
    }
}

/// Up to the next round number.
fn linear(from: f64, to: f64) -> (f64, f64) {
    let step = round_step(to - from);
    ((from / step).floor() * step, (to / step).ceil() * step)
}

/// 1, 2 or 5 times a power of ten, about a sixth of the range.
fn round_step(range: f64) -> f64 {
    let raw = if range > 0.0 { range / TICKS } else { 1.0 };
    let decade = 10_f64.powf(raw.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * decade).find(|step| *step >= raw * 0.999).unwrap_or(raw)
}

/// The nearest 1, 2 or 5 times a power of ten, below or above.
fn step_of_decade(place: f64, round: fn(f64) -> f64) -> f64 {
    let decade = place.floor();
    let steps = [1.0_f64, 2.0, 5.0, 10.0].map(|factor| decade + factor.log10());
    // Tolerates rounding errors.
    let near = |step: &f64| (step - place).abs() < 1e-9;
    if let Some(step) = steps.iter().copied().find(near) {
        return step;
    }
    if round(0.5) > 0.5 {
        steps.into_iter().find(|step| *step > place).unwrap_or(place)
    } else {
        steps.into_iter().rev().find(|step| *step < place).unwrap_or(place)
    }
}

impl Span<'_> {
    /// The relative position of a value, from 0 to 1.
    pub(super) fn share(&self, value: f64) -> Option<f64> {
        let share = (self.axis.place(value) - self.from) / (self.to - self.from);
        // Computed ticks may miss the range by a rounding error.
        (share.is_finite() && (-1e-6..=1.0 + 1e-6).contains(&share)).then_some(share.clamp(0.0, 1.0))
    }

    /// The value at the beginning.
    pub(super) fn first(&self) -> f64 {
        match self.axis.scale {
            Scale::Linear => self.from,
            Scale::Log => 10_f64.powf(self.from),
            Scale::Percentile => 0.0,
        }
    }

    pub(super) fn ticks(&self) -> Vec<(f64, String)> {
        let values: Vec<f64> = match self.axis.scale {
            Scale::Linear => {
                let step = round_step(self.to - self.from);
                let count = ((self.to - self.from) / step).round() as i32;
                (0..=count.min(MOST_DECADES)).map(|index| self.from + f64::from(index) * step).collect()
            }
            Scale::Log => self.log_ticks(),
            Scale::Percentile => {
                let nines = (self.to.floor() as i32).min(MOST_DECADES);
                (0..=nines).map(|nines| 1.0 - 10_f64.powi(-nines)).collect()
            }
        };
        let shown = values.into_iter().filter(|value| self.share(*value).is_some());
        shown.map(|value| (value, (self.axis.format)(value))).collect()
    }

    /// Powers of ten, and steps between them if they fit.
    fn log_ticks(&self) -> Vec<f64> {
        let decades = self.to - self.from;
        let factors: &[f64] = match decades {
            few if few <= 3.0 => &[1.0, 2.0, 5.0],
            few if few <= 5.0 => &[1.0, 3.0],
            _ => &[1.0],
        };
        let (first, last) = (self.from.floor() as i32, self.to.ceil() as i32);
        let powers = first..=last.min(first.saturating_add(MOST_DECADES));
        powers.flat_map(|power| factors.iter().map(move |factor| factor * 10_f64.powi(power))).collect()
    }
}

/// `1500` as `1.5k`.
pub fn count(value: f64) -> String {
    let (number, unit) = match value.abs() {
        large if large >= 1e9 => (value / 1e9, "G"),
        large if large >= 1e6 => (value / 1e6, "M"),
        large if large >= 1e3 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    format!("{}{unit}", short(number))
}

/// A time in seconds, in a suitable unit.
pub fn seconds(value: f64) -> String {
    let (number, unit) = match value.abs() {
        0.0 => return "0".into(),
        short if short < 1e-6 * 0.9995 => (value * 1e9, "ns"),
        short if short < 1e-3 * 0.9995 => (value * 1e6, "µs"),
        short if short < 0.9995 => (value * 1e3, "ms"),
        _ => (value, "s"),
    };
    format!("{} {unit}", short(number))
}

/// A share in percent, with all of its nines.
pub fn percent(value: f64) -> String {
    let digits = (-(1.0 - value).max(1e-12).log10() - 2.0).round().clamp(0.0, 10.0);
    format!("{:.*} %", digits as usize, value * 100.0)
}

/// Three significant digits, without trailing zeros.
fn short(number: f64) -> String {
    let whole = number.abs().max(1.0).log10().floor() as usize;
    let text = format!("{:.*}", 2_usize.saturating_sub(whole), number);
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: Scale, format: fn(f64) -> String, values: &[f64]) -> Vec<String> {
        Axis::new("", scale, format).span(values).ticks().into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn linear_ticks_are_round_and_begin_at_zero() {
        assert_eq!(labels(Scale::Linear, count, &[130.0, 970.0]), ["0", "200", "400", "600", "800", "1k"]);
        assert_eq!(labels(Scale::Linear, count, &[-3.0, 3.0]), ["-3", "-2", "-1", "0", "1", "2", "3"]);
        assert_eq!(labels(Scale::Linear, count, &[0.0, 34_000.0]), ["0", "10k", "20k", "30k", "40k"]);
        assert_eq!(labels(Scale::Linear, count, &[0.3]), ["0", "0.05", "0.1", "0.15", "0.2", "0.25", "0.3"]);
    }

    #[test]
    fn log_ticks_are_ones_twos_and_fives_up_to_a_bound() {
        assert_eq!(labels(Scale::Log, seconds, &[0.000_4, 0.003]), ["200 µs", "500 µs", "1 ms", "2 ms", "5 ms"]);
        assert_eq!(labels(Scale::Log, count, &[1.0, 1e6]), ["1", "10", "100", "1k", "10k", "100k", "1M"]);
        assert_eq!(labels(Scale::Log, count, &[0.0, -1.0, 7.0]), ["5", "10"], "zero and less are not shown");
        assert_eq!(labels(Scale::Log, count, &[10.0]), ["10", "20", "50", "100"]);
    }

    #[test]
    fn percentile_ticks_are_nines() {
        assert_eq!(labels(Scale::Percentile, percent, &[0.5, 0.9995]), ["0 %", "90 %", "99 %", "99.9 %"]);
        let axis = Axis::new("", Scale::Percentile, percent);
        let span = axis.span(&[0.5, 0.999]);
        for (value, share) in [(0.0, 0.0), (0.9, 1.0 / 3.0), (0.99, 2.0 / 3.0), (0.999, 1.0)] {
            let found = span.share(value).expect("shown");
            assert!((found - share).abs() < 1e-9, "{value}: {found}");
        }
        assert_eq!(span.share(1.0), None, "the last request is at infinity");
    }

    #[test]
    fn an_axis_without_values_has_ticks() {
        for scale in [Scale::Linear, Scale::Log, Scale::Percentile] {
            assert!(!labels(scale, count, &[]).is_empty());
            assert!(!labels(scale, count, &[f64::NAN, f64::INFINITY]).is_empty());
        }
    }
}
