// Where a running maximum of attention scores starts, and what a key beyond the last one scores.
const LOWEST = -3e38;

// An additive mask of −∞ would make NaN of a row that is masked throughout; this much is as good and stays finite.
fn clampMask(m: f32) -> f32 {
  return clamp(m, -1e30, 1e30);
}
