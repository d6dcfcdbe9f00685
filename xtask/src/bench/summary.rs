//! Many measurements of one figure.

use std::time::Duration;

/// Median and extremes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Summary {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Summary {
    /// Sums up `values`; without any, there is nothing to say but "not a number".
    pub(super) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        let last = values.len().saturating_sub(1);
        Self {
            median: (at(last / 2) + at(last.div_ceil(2))) / 2.0,
            min: at(0),
            max: at(last),
        }
    }

    /// Sums up `times`, in milliseconds.
    pub(super) fn of_ms<'a>(times: impl IntoIterator<Item = &'a Duration>) -> Self {
        Self::of(times.into_iter().map(|time| time.as_secs_f64() * 1e3))
    }
}

#[cfg(test)]
mod tests {
    use super::Summary;

    #[test]
    fn medians() {
        let cases: [(&[f64], f64); 3] = [
            (&[3.0, 1.0, 2.0], 2.0),
            (&[4.0, 1.0, 2.0, 3.0], 2.5),
            (&[7.0], 7.0),
        ];
        for (values, median) in cases {
            assert_eq!(Summary::of(values.iter().copied()).median, median);
        }
        let summary = Summary::of([2.0, 9.0, 1.0]);
        assert_eq!((summary.min, summary.max), (1.0, 9.0));
        assert!(Summary::of([]).median.is_nan());
    }
}
