//! A number as the bits of the `f64` of the same value, so that it comes back to the last one from any format.

use linfa::Float;
use serde::{Deserialize, Deserializer, Serializer};

pub(crate) fn serialize<F: Float, S: Serializer>(
    number: &F,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let number = number.to_f64().unwrap_or(f64::NAN);
    serializer.serialize_u64(number.to_bits())
}

pub(crate) fn deserialize<'de, F: Float, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<F, D::Error> {
    u64::deserialize(deserializer).map(|bits| F::cast(f64::from_bits(bits)))
}
