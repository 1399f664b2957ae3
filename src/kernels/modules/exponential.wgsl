// eˣ to two units in the last place. A driver's exp may be poor (those of software drivers err in the fourth digit), so
// it is written out: 2ⁿ·eʳ with |r| ≤ ln 2 / 2 by Cody and Waite's two-part ln 2 and the Taylor series to r⁷. Zero
// below −87; stays finite above 88.
fn exponential(x: vec4<f32>) -> vec4<f32> {
  let y = clamp(x, vec4<f32>(-87.0), vec4<f32>(88.0));
  // To this 1.5·2²³ a float adds whole numbers only, which then stand in its last bits: no rounding, and no conversion,
  // which checks the range of what it converts.
  let bits = bitcast<vec4<i32>>(y * 1.4426950408889634 + 12582912.0);
  let n = vec4<f32>(bits - 0x4b400000);
  let r = (y - n * 0.693359375) + n * 2.12194440e-4;
  let tail = 1.0 / 120.0 + r * (1.0 / 720.0 + r * (1.0 / 5040.0));
  let series = 1.0 + r * (1.0 + r * (0.5 + r * (1.0 / 6.0 + r * (1.0 / 24.0 + r * tail))));
  let power = bitcast<vec4<f32>>((bits << vec4<u32>(23u)) + 0x3f800000);
  return select(vec4<f32>(0.0), series * power, x > vec4<f32>(-87.0));
}
