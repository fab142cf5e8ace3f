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

// Of the GGUF formats those that fit 64 columns.
#define ZOQ_TEST_SCHEMES                                                                          \
  zoq::f32_format, zoq::f16_format, zoq::bf16_format, zoq::q8_0, zoq::q4_0, zoq::q4_1, zoq::q5_0, \
      zoq::q5_1

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

TEST_CASE("requantize: what rows own goes beside the blocks, row by row") {
  const std::vector<float> x = uniform(5 * 64, 9), importance = uniform(5 * 64, 10, 0, 1);
  const zoq::format_info to = zoq::info_of<zoq::lut4>();
  std::vector<std::byte> blocks(static_cast<std::size_t>(to.bytes(5, 64))), tables(5 * 64);
  encoding_error of_all, of_each;
  requantize(as_matrix(x, 5, 64), to, 0, 5, "x", blocks, tables, importance, of_all);
  for (index_t o = 0; o < 5; ++o) {
    const auto at = static_cast<std::size_t>(o);
    std::vector<std::byte> block(static_cast<std::size_t>(to.bytes(1, 64))), table(64);
    requantize(as_matrix(x, 5, 64), to, o, 1, "x", block, table,
               std::span(importance).subspan(64 * at, 64), of_each);
    CHECK(std::memcmp(block.data(), blocks.data() + at * block.size(), block.size()) == 0);
    CHECK(std::memcmp(table.data(), tables.data() + at * 64, 64) == 0);
  }
  CHECK(of_all.difference_squares == of_each.difference_squares);
  CHECK(of_all.weighted_difference_squares == of_each.weighted_difference_squares);

  const auto packed = zoq::packed_as("lut4", blocks.data(), tables.data(), 5, 64, "x");
  double weighted = 0, all = 0;
  for (index_t o = 0; o < 5; ++o) {
    float y[64];
    packed.visit([&](const auto& w) { zoq::decode_row(w, o, y); });
    for (index_t c = 0; c < 64; ++c) {
      const auto i = static_cast<std::size_t>(64 * o + c);
      const double off = static_cast<double>(y[c]) - static_cast<double>(x[i]);
      weighted += static_cast<double>(importance[i]) * off * off;
      all += static_cast<double>(importance[i]) * static_cast<double>(x[i]) *
             static_cast<double>(x[i]);
    }
  }
  CHECK(of_all.weighted() == doctest::Approx(std::sqrt(weighted / all)));
}

TEST_CASE("requantize: a weight of importance 0 widens no range and is in no error") {
  for (const char* format :
       {"f16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "nf4", "lut4", "lut3"}) {
    CAPTURE(format);
    const zoq::format_info to = *zoq::find_format(std::string_view(format));
    std::vector<float> x = uniform(2 * 64, 11), matters(x.size(), 1.0f);
    matters[70] = 0;
    encoding_error small, large;
    const auto blocks_of = [&](float kept, encoding_error& error) {
      x[70] = kept;
      std::vector<std::byte> out(static_cast<std::size_t>(to.bytes(2, 64)));
      std::vector<std::byte> tables(static_cast<std::size_t>(2 * to.row_bytes));
      requantize(as_matrix(x, 2, 64), to, 0, 2, "x", out, tables, matters, error);
      out.insert(out.end(), tables.begin(), tables.end());
      return out;
    };
    CHECK(blocks_of(0.5f, small) == blocks_of(1e30f, large));
    CHECK(small.squares == large.squares);
    CHECK(small.difference_squares == large.difference_squares);
  }
}

TEST_CASE("requantize: slips of importance and of what rows own are named") {
  const std::vector<float> x = uniform(2 * 64, 12), importance(64, 1.0f);
  const zoq::format_info to = zoq::info_of<zoq::lut4>();
  std::vector<std::byte> out(static_cast<std::size_t>(to.bytes(2, 64))), tables(128);
  encoding_error error;
  const auto said = [&](std::span<std::byte> rows, std::span<const float> weights) {
    return message_of(
        [&] { requantize(as_matrix(x, 2, 64), to, 0, 2, "w", out, rows, weights, error); });
  };
  CHECK(said(tables, {}).empty());
  CHECK(said({}, {}) == "w: 0 bytes for what 2 rows of lut4 own, wanted 128");
  CHECK(said(tables, importance) == "w: 64 values of importance for 2 x 64 weights");
  CHECK(message_of([&] { requantize(as_matrix(x, 2, 64), to, 0, 2, "w", out, error); }) ==
        "w: lut4 is no format of GGUF files");
}
