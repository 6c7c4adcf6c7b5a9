//! Numbers as integers in the same order: an integer is compared in fewer steps, and the outcome is added without a branch.

use linfa::Float;

const SIGN: u64 = 1 << 63;

/// Above the key of every number, also of infinity.
pub(crate) const ABOVE_ALL: u64 = u64::MAX;

/// The key of a number that is not NaN: `one < other` exactly where `key(one) < key(other)`. Both zeros have one key.
pub(crate) fn key<F: Float>(value: F) -> u64 {
    let bits = (value.to_f64().unwrap_or_default() + 0.0).to_bits();
    match bits & SIGN {
        0 => bits | SIGN,
        _ => !bits,
    }
}

/// The number of a key.
pub(crate) fn number<F: Float>(key: u64) -> F {
    F::cast(f64::from_bits(match key & SIGN {
        0 => !key,
        _ => key & !SIGN,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_the_order_of_their_numbers() {
        let numbers = [
            f64::NEG_INFINITY,
            f64::MIN,
            -1.5,
            -5e-324,
            0.0,
            5e-324,
            1.5,
            f64::MAX,
            f64::INFINITY,
        ];
        assert!(numbers.windows(2).all(|two| key(two[0]) < key(two[1])));
        assert!(
            numbers
                .iter()
                .all(|x| number::<f64>(key(*x)).total_cmp(x).is_eq())
        );
        assert_eq!(key(-0.0), key(0.0));
        assert!(key(f64::INFINITY) < ABOVE_ALL);
    }

    #[test]
    fn numbers_of_single_precision_come_back_as_they_were() {
        for x in [f32::MIN, -0.1, 1e-45, 0.1, f32::MAX] {
            assert_eq!(number::<f32>(key(x)).to_bits(), x.to_bits());
        }
    }
}
