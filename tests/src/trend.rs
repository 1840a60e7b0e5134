//! Whether what is measured again and again grows, or only varies.

/// How sure it must be that a series grows: nineteen in twenty, of one side of the normal distribution.
const SURE: f64 = 1.645;

/// How much a series grows from one value to the next, by least squares; 0 for less than two values.
#[must_use]
pub fn slope(series: &[u64]) -> f64 {
    let middle = series.len().saturating_sub(1) as f64 / 2.0;
    let squares: f64 = (0..series.len()).map(|place| (place as f64 - middle).powi(2)).sum();
    let sum: f64 = series.iter().enumerate().map(|(place, value)| (place as f64 - middle) * *value as f64).sum();
    if squares == 0.0 { 0.0 } else { sum / squares }
}

/// Whether a series grows, and does not only vary, by the test of Mann (1945) and Kendall: among all pairs, the later is the greater more
/// often than chance would have it. Values that are alike count for neither.
#[must_use]
pub fn grows(series: &[u64]) -> bool {
    let later = |(place, value): (usize, &u64)| -> i64 { series[place + 1..].iter().map(|next| next.cmp(value) as i64).sum() };
    let more: i64 = series.iter().enumerate().map(later).sum();
    let count = series.len() as f64;
    let deviation = (count * (count - 1.0) * (2.0 * count + 5.0) / 18.0).sqrt();
    more > 0 && (more - 1) as f64 > SURE * deviation
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_its_slope_and_what_is_level_has_none() {
        assert_eq!(slope(&[3, 5, 7, 9]), 2.0);
        assert_eq!(slope(&[4, 4, 4]), 0.0);
        assert_eq!((slope(&[]), slope(&[7])), (0.0, 0.0));
    }

    #[test]
    fn what_creeps_up_under_noise_grows_and_noise_alone_does_not() {
        let noise = |place: u64| (place * 7919) % 101;
        let creeping: Vec<u64> = (0..200).map(|place| 1000 + place / 4 + noise(place)).collect();
        let level: Vec<u64> = (0..200).map(|place| 1000 + noise(place)).collect();
        let sinking: Vec<u64> = creeping.iter().rev().copied().collect();
        assert!(grows(&creeping) && !grows(&level) && !grows(&sinking));
        assert!(!grows(&[]) && !grows(&[1, 2]), "too little to be sure");
    }
}
