// A 64-bit content hash: names models, masks and data, so that files made for one are refused by
// another. Not for security.
//
//     zoq::content_hash h;
//     h.add(bytes).add("name");
//     std::string id = h.hex();   // 16 hexadecimal digits
//
// Words of 8 bytes are folded with a 64 x 64 -> 128 bit product in four lanes, which runs near
// memory speed: hashing a 98 MB model takes some tens of milliseconds.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

namespace zoq {

/// A hash of all that was added, in its order.
class content_hash {
 public:
  /// Adds `bytes` and their count, so that ("ab","c") and ("a","bc") differ. Linear cost.
  content_hash& add(std::span<const std::byte> bytes) {
    const std::byte* at = bytes.data();
    std::size_t left = bytes.size();
    for (; left >= 32; at += 32, left -= 32) {
      std::uint64_t word[4];
      std::memcpy(word, at, 32);
      for (int lane = 0; lane < 4; ++lane) {
        lane_[lane] = fold(lane_[lane] ^ word[lane], multiplier[lane]);
      }
    }
    std::uint64_t tail[4] = {};
    if (left != 0) {
      std::memcpy(tail, at, left);
    }
    for (int lane = 0; lane < 4; ++lane) {
      lane_[lane] = fold(lane_[lane] ^ tail[lane], multiplier[lane]);
    }
    lane_[0] = fold(lane_[0] ^ static_cast<std::uint64_t>(bytes.size()), multiplier[1]);
    return *this;
  }

  /// The same of the bytes of a text.
  content_hash& add(std::string_view chars) {
    return add(std::as_bytes(std::span<const char>(chars.data(), chars.size())));
  }

  /// The same of the 8 bytes of a number.
  content_hash& add(std::uint64_t number) {
    return add(std::as_bytes(std::span<const std::uint64_t>(&number, 1)));
  }

  /// The hash of what was added so far; more may follow.
  [[nodiscard]] std::uint64_t value() const {
    std::uint64_t h = 0x243f6a8885a308d3u;
    for (int lane = 0; lane < 4; ++lane) {
      h = fold(h ^ lane_[lane], multiplier[lane]);
    }
    return h;
  }

  /// 16 lower-case hexadecimal digits of `value()`.
  [[nodiscard]] std::string hex() const {
    std::string out(16, '0');
    std::uint64_t v = value();
    for (std::size_t i = 16; i-- > 0; v >>= 4) {
      out[i] = "0123456789abcdef"[v & 15u];
    }
    return out;
  }

 private:
  // Odd constants from the binary expansion of pi.
  static constexpr std::uint64_t multiplier[4] = {0x13198a2e03707345u, 0xa4093822299f31d1u,
                                                  0x082efa98ec4e6c89u, 0x452821e638d01377u};

  static std::uint64_t fold(std::uint64_t a, std::uint64_t b) {
    __extension__ using wide = unsigned __int128;
    const wide product = static_cast<wide>(a) * b;
    // The sum keeps `a` when the product is zero.
    return (static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64)) + a;
  }

  std::uint64_t lane_[4] = {0xbe5466cf34e90c6cu, 0xc0ac29b7c97c50ddu, 0x3f84d5b5b5470917u,
                            0x9216d5d98979fb1bu};
};

}  // namespace zoq
