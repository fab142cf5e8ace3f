// SPDX-License-Identifier: Apache-2.0
#include "zoq/core/half.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

using zoq::bf16;
using zoq::f16;
using zoq::to_bf16;
using zoq::to_f16;
using zoq::to_float;

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

// Widths of exponent and fraction, and how to convert: all that the two formats differ in.
struct f16_kind {
  using type = f16;
  static constexpr int fraction = 10, bias = 15;
  static type narrow(float x) { return to_f16(x); }
};
struct bf16_kind {
  using type = bf16;
  static constexpr int fraction = 7, bias = 127;
  static type narrow(float x) { return to_bf16(x); }
};

template <class Kind>
constexpr std::uint32_t infinite_bits = (2u * Kind::bias + 1u) << Kind::fraction;

// The value of a finite bit pattern without sign, straight from the definition.
template <class Kind>
double defined_value(std::uint32_t bits) {
  const std::uint32_t exponent = bits >> Kind::fraction;
  const std::uint32_t fraction = bits & ((1u << Kind::fraction) - 1);
  const double leading = exponent == 0 ? 0.0 : 1.0;
  const int power = exponent == 0 ? 1 : static_cast<int>(exponent);
  return std::ldexp(leading + std::ldexp(static_cast<double>(fraction), -Kind::fraction),
                    power - Kind::bias);
}

template <class Kind>
typename Kind::type of(std::uint32_t bits) {
  return {static_cast<std::uint16_t>(bits)};
}

// Nearest representable magnitude, ties to even, by a division into units of the last place.
template <class Kind>
double nearest(double x) {
  int exponent = 0;
  std::frexp(x, &exponent);  // |x| in [2^(exponent-1), 2^exponent)
  const int unit = std::max(exponent - 1, 1 - Kind::bias) - Kind::fraction;
  const double rounded = std::ldexp(std::nearbyint(std::ldexp(x, -unit)), unit);
  const double largest = defined_value<Kind>(infinite_bits<Kind> - 1);
  return std::fabs(rounded) > largest ? std::copysign(HUGE_VAL, x) : rounded;
}

}  // namespace

static_assert(to_float(f16{0x3c00}) == 1.0f && to_f16(1.5f).bits == 0x3e00);
static_assert(to_float(bf16{0x3f80}) == 1.0f && to_bf16(1.5f).bits == 0x3fc0);
static_assert(to_float(0.1f) == 0.1f);

TEST_CASE_TEMPLATE("half: all 65536 patterns have the value that the format defines", Kind,
                   f16_kind, bf16_kind) {
  int wrong = 0;
  for (std::uint32_t bits = 0; bits < 0x8000; ++bits) {
    const float plus = to_float(of<Kind>(bits));
    const float minus = to_float(of<Kind>(bits | 0x8000));
    if (bits > infinite_bits<Kind>) {
      wrong += !std::isnan(plus) || !std::isnan(minus);
    } else {
      const double value = bits == infinite_bits<Kind> ? HUGE_VAL : defined_value<Kind>(bits);
      wrong += static_cast<double>(plus) != value || static_cast<double>(minus) != -value ||
               std::signbit(plus) || !std::signbit(minus);
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE_TEMPLATE("half: all 65536 patterns survive the way to float and back", Kind, f16_kind,
                   bf16_kind) {
  int wrong = 0;
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const typename Kind::type back = Kind::narrow(to_float(of<Kind>(bits)));
    const bool is_nan = (bits & 0x7fff) > infinite_bits<Kind>;
    wrong += is_nan ? (back.bits & 0x7fffu) <= infinite_bits<Kind> ||
                          (back.bits & 0x8000u) != (bits & 0x8000u)
                    : back.bits != bits;
  }
  CHECK(wrong == 0);
}

TEST_CASE_TEMPLATE("half: halfway goes to even, its float neighbours to theirs", Kind, f16_kind,
                   bf16_kind) {
  // Every pair of neighbours, the last of which is the largest number and infinity. Halves of
  // bfloat16's subnormals are float subnormals: exact too.
  int wrong = 0;
  for (std::uint32_t bits = 0; bits < infinite_bits<Kind>; ++bits) {
    const double low = defined_value<Kind>(bits);
    const double high = defined_value<Kind>(bits + 1);
    const auto middle = static_cast<float>((low + high) / 2);
    wrong += static_cast<double>(middle) != (low + high) / 2;  // else the test is no test
    const std::uint32_t even = bits % 2 == 0 ? bits : bits + 1;
    for (const std::uint32_t sign : {0u, 0x8000u}) {
      const float s = sign == 0 ? 1.0f : -1.0f;
      wrong += Kind::narrow(s * middle).bits != (sign | even);
      wrong += Kind::narrow(s * std::nextafter(middle, 0.0f)).bits != (sign | bits);
      wrong += Kind::narrow(s * std::nextafter(middle, infinity)).bits != (sign | (bits + 1));
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE_TEMPLATE("half: floats from all over the range round to the nearest", Kind, f16_kind,
                   bf16_kind) {
  int wrong = 0;
  for (std::uint64_t bits = 0; bits < 0x7f800000u; bits += 4099) {
    const float x = std::bit_cast<float>(static_cast<std::uint32_t>(bits));
    const double wanted = nearest<Kind>(static_cast<double>(x));
    wrong += static_cast<double>(to_float(Kind::narrow(x))) != wanted;
    wrong += static_cast<double>(to_float(Kind::narrow(-x))) != -wanted;
  }
  CHECK(wrong == 0);
}

TEST_CASE_TEMPLATE("half: infinities, overflow, zeros and every kind of NaN", Kind, f16_kind,
                   bf16_kind) {
  CHECK(Kind::narrow(infinity).bits == infinite_bits<Kind>);
  CHECK(Kind::narrow(-infinity).bits == (infinite_bits<Kind> | 0x8000));
  CHECK(Kind::narrow(std::numeric_limits<float>::max()).bits == infinite_bits<Kind>);
  CHECK(Kind::narrow(0.0f).bits == 0);
  CHECK(Kind::narrow(-0.0f).bits == 0x8000);
  CHECK(Kind::narrow(std::numeric_limits<float>::denorm_min()).bits == 0);
  for (const std::uint32_t bits : {0x7f800001u, 0x7fc00000u, 0x7fffffffu, 0xff800001u}) {
    const typename Kind::type nan = Kind::narrow(std::bit_cast<float>(bits));
    CHECK((nan.bits & 0x7fffu) > infinite_bits<Kind>);
    CHECK((nan.bits & 1u << (Kind::fraction - 1)) != 0);  // quiet
  }
}
