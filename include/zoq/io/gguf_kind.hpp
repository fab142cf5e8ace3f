// GGUF metadata values and their kinds, shared by the reader and the writer.
//
//     zoq::least_bytes(zoq::gguf_kind::u16);   // 2
//
// Source: the GGUF specification, version 3: `gguf_metadata_value_type`.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <type_traits>

namespace zoq {

/// What a metadata value is; the numbers are those in files.
enum class gguf_kind : std::uint32_t {
  u8,
  i8,
  u16,
  i16,
  u32,
  i32,
  f32,
  boolean,
  string,
  array,
  u64,
  i64,
  f64
};

/// One metadata entry, still as bytes in the file.
struct gguf_value {
  std::string_view key;               // "llama.block_count"; lies in the file
  gguf_kind kind = gguf_kind::u8;     // of the value
  gguf_kind element = gguf_kind::u8;  // of an array
  std::uint64_t count = 1;            // of an array's elements
  std::span<const std::byte> bytes;   // the value; an array's elements
};

/// As messages name it.
constexpr std::string_view name_of(gguf_kind kind) {
  constexpr std::string_view names[] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                        "bool", "string", "array", "u64", "i64", "f64"};
  return names[static_cast<std::uint32_t>(kind)];
}

/// Bytes of a value; of a string or an array, which have a length, the fewest.
constexpr std::uint64_t least_bytes(gguf_kind kind) {
  constexpr std::uint64_t bytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8};
  return bytes[static_cast<std::uint32_t>(kind)];
}

/// f32 or f64.
constexpr bool is_float(gguf_kind kind) { return kind == gguf_kind::f32 || kind == gguf_kind::f64; }
/// i8, i16, i32 or i64.
constexpr bool is_signed(gguf_kind kind) {
  return kind == gguf_kind::i8 || kind == gguf_kind::i16 || kind == gguf_kind::i32 ||
         kind == gguf_kind::i64;
}
/// A whole number, with a sign or without.
constexpr bool is_integer(gguf_kind kind) {
  return !is_float(kind) && kind != gguf_kind::boolean && kind != gguf_kind::string &&
         kind != gguf_kind::array;
}

/// The kind that stores a T: a number of its size, or a bool.
template <class T>
requires std::is_arithmetic_v<T>
constexpr gguf_kind kind_of() {
  if constexpr (std::is_same_v<T, bool>) {
    return gguf_kind::boolean;
  } else if constexpr (std::is_floating_point_v<T>) {
    static_assert(sizeof(T) <= 8);
    return sizeof(T) == 4 ? gguf_kind::f32 : gguf_kind::f64;
  } else {
    constexpr gguf_kind of_size[] = {gguf_kind::u8,  gguf_kind::i8,  gguf_kind::u16,
                                     gguf_kind::i16, gguf_kind::u32, gguf_kind::i32,
                                     gguf_kind::u64, gguf_kind::i64};
    return of_size[2 * std::countr_zero(sizeof(T)) + (std::is_signed_v<T> ? 1 : 0)];
  }
}

/// Calls f(T{}) with the C++ type of a number's kind; `kind` is a float or an integer kind.
template <class F>
constexpr auto with_number_type(gguf_kind kind, F&& f) {
  switch (kind) {
    case gguf_kind::u8:
      return f(std::uint8_t{});
    case gguf_kind::i8:
      return f(std::int8_t{});
    case gguf_kind::u16:
      return f(std::uint16_t{});
    case gguf_kind::i16:
      return f(std::int16_t{});
    case gguf_kind::u32:
      return f(std::uint32_t{});
    case gguf_kind::i32:
      return f(std::int32_t{});
    case gguf_kind::f32:
      return f(float{});
    case gguf_kind::u64:
      return f(std::uint64_t{});
    case gguf_kind::i64:
      return f(std::int64_t{});
    default:
      return f(double{});
  }
}

/// The number of this kind at `bytes`, converted to T. Unchecked.
template <class T>
T read_number(gguf_kind kind, const std::byte* bytes) {
  return with_number_type(kind, [&]<class Stored>(Stored stored) {
    std::memcpy(&stored, bytes, sizeof(Stored));
    return static_cast<T>(stored);
  });
}

}  // namespace zoq
