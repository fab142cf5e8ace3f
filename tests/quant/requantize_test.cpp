// SPDX-License-Identifier: Apache-2.0
#include "zoq/quant/requantize.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "io/temporary_folder.hpp"
#include "quant/encoding.hpp"
#include "quant/random_blocks.hpp"
#include "random_values.hpp"

using namespace zoq::test;
using zoq::encoding_error;
using zoq::index_t;
using zoq::requantize;

#define ZOQ_TEST_SCHEMES \
  zoq::f32_format, zoq::f16_format, zoq::bf16_format, zoq::q8_0, zoq::q4_0, zoq::q4_1
#define ZOQ_TEST_BLOCK_SCHEMES zoq::q8_0, zoq::q4_0, zoq::q4_1

namespace {

// Floats as a matrix [rows, columns] of f32.
zoq::any_packed as_matrix(const std::vector<float>& x, index_t rows, index_t columns) {
  return zoq::packed_as(0, reinterpret_cast<const std::byte*>(x.data()), rows, columns, "x");
}

std::string refusal(const std::vector<float>& x, std::string_view format) {
  const auto to = *zoq::find_format(format);
  std::vector<std::byte> out(static_cast<std::size_t>(to.bytes(2, 64)));
  encoding_error error;
  return message_of(
      [&] { requantize(as_matrix(x, 2, 64), to, 0, 2, "blk.0.attn_q.weight", out, error); });
}

}  // namespace

TEST_CASE_TEMPLATE("requantize: gives the blocks of the encoder, and the error by its definition",
                   S, ZOQ_TEST_SCHEMES) {
  const std::vector<float> x = uniform(3 * 64, 1, -2, 3);
  const zoq::format_info to = zoq::info_of<S>();
  std::vector<std::byte> out(static_cast<std::size_t>(to.bytes(3, 64)));
  encoding_error error;
  requantize(as_matrix(x, 3, 64), to, 0, 3, "x", out, error);
  const auto wanted = encoded<S>(x);
  CHECK(std::memcmp(out.data(), wanted.data(), out.size()) == 0);

  const std::vector<float> y = decoded<S>(wanted);
  double squares = 0, differences = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double old = static_cast<double>(x[i]), now = static_cast<double>(y[i]);
    squares += old * old;
    differences += (now - old) * (now - old);
  }
  // Sums of 192 squares, taken row by row: the order changes the last bits.
  CHECK(error.squares == doctest::Approx(squares).epsilon(1e-13));
  CHECK(error.difference_squares == doctest::Approx(differences).epsilon(1e-13));
  CHECK(error.relative() == doctest::Approx(std::sqrt(differences / squares)).epsilon(1e-13));
}

TEST_CASE_TEMPLATE("requantize: rows one by one are rows together", S, ZOQ_TEST_SCHEMES) {
  const std::vector<float> x = uniform(5 * 64, 2);
  const zoq::format_info to = zoq::info_of<S>();
  std::vector<std::byte> together(static_cast<std::size_t>(to.bytes(5, 64)));
  std::vector<std::byte> single(together.size());
  encoding_error of_all, of_each;
  requantize(as_matrix(x, 5, 64), to, 0, 5, "x", together, of_all);
  const auto stride = static_cast<std::size_t>(to.bytes(1, 64));
  for (index_t o = 0; o < 5; ++o) {
    requantize(as_matrix(x, 5, 64), to, o, 1, "x",
               std::span(single).subspan(static_cast<std::size_t>(o) * stride, stride), of_each);
  }
  CHECK(together == single);
  CHECK(of_all.difference_squares == of_each.difference_squares);
  CHECK(of_all.squares == of_each.squares);
}

TEST_CASE_TEMPLATE("requantize: from any format, by way of its decoded values", S,
                   ZOQ_TEST_SCHEMES) {
  const packed_matrix<S> from(4, 64, 3);
  const zoq::format_info to = zoq::info_of<zoq::q8_0>();
  std::vector<std::byte> out(static_cast<std::size_t>(to.bytes(4, 64)));
  encoding_error error;
  requantize(from.any(), to, 0, 4, "x", out, error);
  const auto wanted = encoded<zoq::q8_0>(from.decoded());
  CHECK(std::memcmp(out.data(), wanted.data(), out.size()) == 0);
}

TEST_CASE("requantize: what f32 can hold changes nothing") {
  const packed_matrix<zoq::q4_1> from(4, 64, 4);
  std::vector<float> out(4 * 64);
  encoding_error error;
  requantize(from.any(), zoq::info_of<zoq::f32_format>(), 0, 4, "x",
             std::as_writable_bytes(std::span(out)), error);
  CHECK(out == from.decoded());
  CHECK(error.difference_squares == 0);
  CHECK(error.relative() == 0);
  CHECK(encoding_error{}.relative() == 0);
}

TEST_CASE("requantize: the error of uniform values is that of their steps") {
  // Values uniform in [-1, 1]. A block's step is 1 / 127 (its largest value is near 1), 1 / 8 or
  // 2 / 15, and rounding to a step d errs by d / sqrt(12) rms against 1 / sqrt(3). The largest of 32
  // is 3 % to 6 % below the end on average, which makes steps as much smaller; q4_0 cannot reach the
  // far end, where it errs more.
  const std::vector<float> x = uniform(64 * 512, 5);
  const auto error_of = [&](const zoq::format_info& to) {
    std::vector<std::byte> out(static_cast<std::size_t>(to.bytes(64, 512)));
    encoding_error error;
    requantize(as_matrix(x, 64, 512), to, 0, 64, "x", out, error);
    return error.relative() / (std::sqrt(3.0) / std::sqrt(12.0));
  };
  CHECK(error_of(zoq::info_of<zoq::q8_0>()) == doctest::Approx(1 / 127.0).epsilon(0.05));
  CHECK(error_of(zoq::info_of<zoq::q4_0>()) == doctest::Approx(1 / 8.0).epsilon(0.15));
  CHECK(error_of(zoq::info_of<zoq::q4_1>()) == doctest::Approx(2 / 15.0).epsilon(0.08));
}

TEST_CASE("requantize: what is not finite is refused, with its place") {
  for (const char* format : {"f32", "f16", "bf16", "q8_0", "q4_0", "q4_1"}) {
    CAPTURE(format);
    std::vector<float> x = uniform(2 * 64, 6);
    CHECK(refusal(x, format).empty());
    x[64 + 33] = std::numeric_limits<float>::quiet_NaN();
    CHECK(refusal(x, format) == "blk.0.attn_q.weight: the weight at row 1, column 33 is nan");
    x[5] = -std::numeric_limits<float>::infinity();
    CHECK(refusal(x, format) == "blk.0.attn_q.weight: the weight at row 0, column 5 is -inf");
  }
}

TEST_CASE("requantize: what the format's range does not hold is refused, and no more") {
  struct bound {
    const char* format;
    float fits, too_large;
  };
  // f16 ends at 65504 and rounds to it what is below 65520; that bounds a value of f16, the scale
  // of q8_0 (127 steps to the largest), that of q4_0 (8 steps) and the minimum of q4_1. bf16 rounds
  // the largest floats to infinity.
  const std::vector<bound> bounds = {{"f16", 65519, 65520},
                                     {"bf16", 3.3e38f, 3.4e38f},
                                     {"q8_0", 127 * 65519.0f, 127 * 65521.0f},
                                     {"q4_0", 8 * 65519.0f, 8 * 65521.0f},
                                     {"q4_1", 65519, 65521}};
  for (const bound& b : bounds) {
    CAPTURE(b.format);
    std::vector<float> x = uniform(2 * 64, 7);
    x[70] = -b.fits;
    CHECK(refusal(x, b.format).empty());
    x[70] = -b.too_large;
    const std::string said = refusal(x, b.format);
    CAPTURE(said);
    CHECK(said.starts_with("blk.0.attn_q.weight: the weight at row 1, column 6 is -"));
    CHECK(said.ends_with(std::string(", too large for ") + b.format));
  }
  // Finite floats whose difference is not.
  std::vector<float> x(2 * 64);
  x[0] = 3e38f;
  x[1] = -3e38f;
  for (const char* format : {"f16", "q8_0", "q4_0", "q4_1"}) {
    CHECK(refusal(x, format).ends_with(std::string(", too large for ") + format));
  }
  CHECK(refusal(x, "f32").empty());
  CHECK(refusal(x, "bf16").empty());
}

TEST_CASE("requantize: slips are named") {
  const std::vector<float> x = uniform(2 * 48, 8);
  std::vector<std::byte> out(1000);
  encoding_error error;
  const auto q4_1 = zoq::info_of<zoq::q4_1>();
  CHECK(message_of([&] { requantize(as_matrix(x, 2, 48), q4_1, 0, 2, "w", out, error); }) ==
        "w: 48 columns are no multiple of q4_1's block of 32");
  const auto f32 = zoq::info_of<zoq::f32_format>();
  CHECK(message_of([&] { requantize(as_matrix(x, 2, 48), f32, 1, 2, "w", out, error); }) ==
        "w: 1000 bytes for rows 1 to 2 of 2, wanted 384");
}
