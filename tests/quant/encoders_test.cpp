// How well the formats hold weights, one against another.
//
// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "quant/encoding.hpp"
#include "random_values.hpp"
#include "zoq/quant/requantize.hpp"
#include "zoq/random/gaussian.hpp"

using namespace zoq::test;
using zoq::index_t;

namespace {

constexpr index_t columns = 1024;

std::vector<float> normal(index_t n, zoq::seed_t seed) {
  std::vector<float> out;
  const auto field = zoq::gaussian::at(seed, {});
  for (index_t i = 0; i < n; ++i) {
    out.push_back(0.05f * field.four(i / 4).at[i % 4]);
  }
  return out;
}

// Normal numbers, and one in a thousand up to 40 times as large: what makes weights hard to hold.
std::vector<float> heavy_tailed(index_t n, zoq::seed_t seed) {
  std::vector<float> out = normal(n, seed);
  const std::vector<float> scale = uniform(n, seed + 1, 10, 40);
  for (index_t i = 0; i < n; i += 1000) {
    const auto place = static_cast<std::size_t>((i + 7 * (i / 1000)) % n);
    out[place] *= scale[place];
  }
  return out;
}

std::vector<float> importances(index_t n, zoq::seed_t seed) {
  std::vector<float> out = normal(n, seed);
  for (float& v : out) {
    v = std::exp(40 * v);  // over a few decades, as squared gradients are
  }
  return out;
}

template <zoq::quant_scheme S>
double error_of(const std::vector<float>& x, const float* importance = nullptr) {
  return relative_to(through<S>(x, importance), x, importance);
}

// The error of a matrix [rows, columns] by `requantize`.
zoq::encoding_error report(const std::vector<float>& x, std::string_view format,
                           std::span<const float> importance) {
  const auto rows = static_cast<index_t>(x.size()) / columns;
  const zoq::format_info to = *zoq::find_format(format);
  std::vector<std::byte> out(static_cast<std::size_t>(to.bytes(rows, columns))),
      tables(static_cast<std::size_t>(rows * to.row_bytes));
  zoq::encoding_error error;
  zoq::requantize(
      zoq::packed_as(0, reinterpret_cast<const std::byte*>(x.data()), rows, columns, "x"), to, 0,
      rows, "x", out, tables, importance, error);
  return error;
}

}  // namespace

TEST_CASE("encoders: normal values err less with more bits, and less with better ones") {
  const std::vector<float> x = normal(columns, 1);
  const double q4_k = error_of<zoq::q4_k>(x), q5_k = error_of<zoq::q5_k>(x);
  // Of fewer bits than q4_1 and q5_1, and yet better by a tenth.
  CHECK(q4_k < 0.92 * error_of<zoq::q4_1>(x));
  CHECK(q4_k < 0.85 * error_of<zoq::q4_0>(x));
  CHECK(q5_k < 0.93 * error_of<zoq::q5_1>(x));
  CHECK(q5_k < 0.85 * error_of<zoq::q5_0>(x));
  CHECK(error_of<zoq::q6_k>(x) < 0.5 * error_of<zoq::q5_1>(x));
  CHECK(error_of<zoq::q6_k>(x) > error_of<zoq::q8_0>(x));
  // The best table of 16 for normal numbers errs by 0.0975 (Max, 1960: 0.009497 = 0.0975^2), that of 8
  // by 0.186 (0.03454); a row's own is a little better.
  CHECK(error_of<zoq::lut4>(x) < 0.0975);
  CHECK(error_of<zoq::lut4>(x) > 0.085);
  CHECK(error_of<zoq::lut3>(x) < 0.186);
  CHECK(error_of<zoq::lut3>(x) > 0.165);
}

TEST_CASE_TEMPLATE("encoders: importance lowers the weighted error", S, zoq::q4_k, zoq::q5_k,
                   zoq::q6_k, zoq::lut4, zoq::lut3) {
  const std::vector<float> x = normal(columns, 3), importance = importances(columns, 4);
  const double without = relative_to(through<S>(x), x, importance.data());
  const double with = error_of<S>(x, importance.data());
  CHECK(with < 0.95 * without);
  // Importance that is the same everywhere changes nothing, whatever it is.
  const std::vector<float> even(x.size(), 0.25f);
  CHECK(through<S>(x, even.data()) == through<S>(x));
}

TEST_CASE_TEMPLATE("encoders: a value of importance 0 changes no other's code", S, zoq::q4_k,
                   zoq::q5_k, zoq::q6_k, zoq::lut4, zoq::lut3) {
  std::vector<float> x = normal(columns, 5), importance = importances(columns, 6);
  for (std::size_t i = 3; i < x.size(); i += 97) {
    importance[i] = 0;
  }
  const std::vector<float> before = through<S>(x, importance.data());
  for (std::size_t i = 3; i < x.size(); i += 97) {
    x[i] = 1000;
  }
  const std::vector<float> after = through<S>(x, importance.data());
  int moved = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    moved += importance[i] > 0 && before[i] != after[i];
  }
  CHECK(moved == 0);
  // Nothing matters: anything finite.
  const std::vector<float> none(x.size());
  for (const float y : through<S>(x, none.data())) {
    CHECK(std::isfinite(y));
  }
}

TEST_CASE("encoders: lut4 with a thousandth kept holds heavy tails better than q4_1 and nf4") {
  const index_t rows = 16;
  const std::vector<float> x = heavy_tailed(rows * columns, 7);
  std::vector<float> sorted = x;
  std::transform(sorted.begin(), sorted.end(), sorted.begin(),
                 [](float v) { return std::fabs(v); });
  std::sort(sorted.begin(), sorted.end());
  const float bound = sorted[sorted.size() - sorted.size() / 1000];
  std::vector<float> matters(x.size(), 1.0f);
  double kept = 0, all = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double square = static_cast<double>(x[i]) * static_cast<double>(x[i]);
    matters[i] = std::fabs(x[i]) >= bound ? 0.0f : 1.0f;
    kept += matters[i] > 0 ? 0 : square;
    all += square;
  }
  const zoq::encoding_error lut4 = report(x, "lut4", matters);
  CHECK(lut4.squares == doctest::Approx(all - kept));
  CHECK(lut4.weighted() == lut4.relative());
  // Kept values err by nothing, so this is the error of all.
  CHECK(lut4.difference_squares < 0.9 * report(x, "lut4", {}).difference_squares);
  for (const char* other : {"q4_0", "q4_1", "nf4"}) {
    CAPTURE(other);
    CHECK(lut4.difference_squares < 0.75 * report(x, other, {}).difference_squares);
  }
}
