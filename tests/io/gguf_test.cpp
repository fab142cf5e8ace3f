// SPDX-License-Identifier: Apache-2.0
#include "zoq/io/gguf.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "temporary_folder.hpp"
#include "zoq/io/gguf_writer.hpp"

using zoq::index_t;
using zoq::model_file;
using zoq::open_gguf;
using zoq::test::contents;
using zoq::test::is_one_line;
using zoq::test::message_of;
using zoq::test::put;
using zoq::test::temporary_folder;

namespace {

const std::vector<float> floats = {1, 2, 3, 4, 5, 6, 7, 8};

std::span<const std::byte> bytes_of(const std::vector<float>& x) {
  return std::as_bytes(std::span(x));
}

// Every kind of value, a matrix, a vector, a cube, and a tensor of an unknown type.
void write_small(const std::string& path) {
  static const std::string unknown(7, 'u');
  zoq::gguf_writer out;
  out.set("general.architecture", "test");
  out.set("u8", std::uint8_t{200});
  out.set("i8", std::int8_t{-100});
  out.set("u16", std::uint16_t{60000});
  out.set("i16", std::int16_t{-30000});
  out.set("u32", std::uint32_t{4000000000});
  out.set("i32", std::int32_t{-2000000000});
  out.set("f32", 0.5f);
  out.set("yes", true);
  out.set("u64", std::uint64_t{1} << 63);
  out.set("i64", std::int64_t{-1});
  out.set("f64", 0.1);
  out.set("words", std::vector<std::string>{"a", "", "ccc"});
  out.set("ints", std::vector<std::int16_t>{-1, 2, 300});
  out.set("reals", std::vector<float>{0.25f, -1.5f});
  out.set("none", std::vector<std::int32_t>{});
  out.add_tensor("matrix", {4, 2}, 0, bytes_of(floats));
  out.add_tensor("vector", {3}, 0, bytes_of(floats).first(12));
  out.add_tensor("odd", {5}, 999, std::as_bytes(std::span(unknown)));
  out.add_tensor("cube", {2, 2, 2}, 0, bytes_of(floats));
  out.write(path);
}

template <class T>
std::string raw(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof(T)};
}
std::string raw_string(const std::string& s) { return raw(std::uint64_t{s.size()}) + s; }

// A file of one tensor "w" and, before it, the given metadata.
std::string hostile(const std::vector<std::uint64_t>& shape, std::uint32_t type,
                    std::uint64_t offset, const std::string& values = "", std::uint64_t count = 0) {
  std::string s = "GGUF" + raw(std::uint32_t{3}) + raw(std::uint64_t{1}) + raw(count) + values;
  s += raw_string("w") + raw(static_cast<std::uint32_t>(shape.size()));
  for (const std::uint64_t extent : shape) {
    s += raw(extent);
  }
  s += raw(type) + raw(offset);
  s.resize((s.size() + 31) / 32 * 32 + 64);
  return s;
}

std::string error_of(const temporary_folder& folder, const std::string& bytes) {
  put(folder / "m.gguf", bytes);
  const std::string message = message_of([&] { open_gguf(folder / "m.gguf"); });
  CHECK(is_one_line(message));
  const std::string prefix = folder / "m.gguf" + ": ";
  CHECK(message.rfind(prefix, 0) == 0);
  return message.size() < prefix.size() ? message : message.substr(prefix.size());
}

}  // namespace

TEST_CASE("gguf: every kind of value comes back") {
  const temporary_folder folder;
  write_small(folder / "m.gguf");
  model_file opened = open_gguf(folder / "m.gguf");
  const model_file file = std::move(opened);  // views survive a move
  CHECK(file.path() == folder / "m.gguf");
  CHECK(file.metadata().size() == 16);
  CHECK(file.metadata()[0].key == "general.architecture");
  CHECK(file.has("u8"));
  CHECK_FALSE(file.has("u9"));
  CHECK(file.get_string("general.architecture") == "test");
  CHECK(file.get_u64("u8") == 200);
  CHECK(file.get_i64("i8") == -100);
  CHECK(file.get_u64("u16") == 60000);
  CHECK(file.get_i64("i16") == -30000);
  CHECK(file.get_u64("u32") == 4000000000);
  CHECK(file.get_i64("u32") == 4000000000);
  CHECK(file.get_i64("i32") == -2000000000);
  CHECK(file.get_u64("u64") == std::uint64_t{1} << 63);
  CHECK(file.get_i64("i64") == -1);
  CHECK(file.get_float("f32") == 0.5);
  CHECK(file.get_float("f64") == 0.1);
  CHECK(file.get_bool("yes"));
  CHECK(file.get_strings("words") == std::vector<std::string_view>{"a", "", "ccc"});
  CHECK(file.get_integers("ints") == std::vector<std::int64_t>{-1, 2, 300});
  CHECK(file.get_floats("reals") == std::vector<double>{0.25, -1.5});
  CHECK(file.get_integers("none").empty());
  CHECK(file.get_count("words") == 3);
  CHECK(file.get_count("none") == 0);
}

TEST_CASE("gguf: a value of another kind, or none, is an error that names file and key") {
  const temporary_folder folder;
  write_small(folder / "m.gguf");
  const model_file file = open_gguf(folder / "m.gguf");
  const std::string start = folder / "m.gguf" + ": metadata ";
  CHECK(message_of([&] { return file.get_string("gone"); }) == start + "gone is missing");
  CHECK(message_of([&] { return file.get_string("u8"); }) ==
        start + "u8 is of kind u8, wanted a string");
  CHECK(message_of([&] { return file.get_u64("f32"); }) ==
        start + "f32 is of kind f32, wanted an integer");
  CHECK(message_of([&] { return file.get_u64("i8"); }) ==
        start + "i8 is -100, wanted no negative value");
  CHECK(message_of([&] { return file.get_i64("u64"); }) == start + "u64 does not fit into 63 bits");
  CHECK(message_of([&] { return file.get_float("u8"); }) ==
        start + "u8 is of kind u8, wanted a floating-point number");
  CHECK(message_of([&] { return file.get_bool("u8"); }) ==
        start + "u8 is of kind u8, wanted a bool");
  CHECK(message_of([&] { return file.get_strings("ints"); }) ==
        start + "ints is an array of i16, wanted an array of strings");
  CHECK(message_of([&] { return file.get_integers("u8"); }) ==
        start + "u8 is of kind u8, wanted an array of integers");
  CHECK(message_of([&] { return file.get_floats("ints"); }) ==
        start + "ints is an array of i16, wanted an array of floating-point numbers");
}

TEST_CASE("gguf: tensors lie in the file as they were written") {
  const temporary_folder folder;
  write_small(folder / "m.gguf");
  const model_file file = open_gguf(folder / "m.gguf");
  REQUIRE(file.tensors().size() == 4);
  const zoq::stored_tensor& matrix = file.tensor("matrix");
  CHECK(matrix.rows() == 2);
  CHECK(matrix.columns() == 4);
  CHECK(matrix.byte_count == 32);
  CHECK(std::memcmp(matrix.data, floats.data(), 32) == 0);
  CHECK(file.tensor("vector").rows() == 1);
  CHECK(file.tensor("vector").columns() == 3);
  CHECK(file.tensor("cube").rows() == 4);
  CHECK(file.tensor("cube").columns() == 2);
  CHECK(file.find("gone") == nullptr);
  const zoq::any_packed w = file.matrix("matrix");
  CHECK(w.rows() == 2);
  CHECK(w.columns() == 4);
  CHECK(w.format().name == "f32");
  CHECK(message_of([&] { return file.tensor("gone"); }) ==
        folder / "m.gguf" + ": tensor gone is missing");
  CHECK(file.tensor("odd").type == 999);
  CHECK(file.tensor("odd").byte_count == -1);
  const std::string message = message_of([&] { return file.matrix("odd"); });
  CHECK(message == folder / "m.gguf" + ": tensor odd: unknown format, GGUF type 999");
}

TEST_CASE("gguf: a file cut at any byte is refused in one line") {
  const temporary_folder folder;
  write_small(folder / "m.gguf");
  const std::string whole = contents(folder / "m.gguf");
  // The last tensor has no padding to spare: every byte counts.
  REQUIRE(whole.size() % 32 == 0);
  for (std::size_t n = 0; n < whole.size(); ++n) {
    put(folder / "cut.gguf", whole.substr(0, n));
    const std::string message = message_of([&] { open_gguf(folder / "cut.gguf"); });
    CAPTURE(n);
    REQUIRE(is_one_line(message));
  }
}

TEST_CASE("gguf: a file with any one byte changed is refused or read, never a crash") {
  const temporary_folder folder;
  write_small(folder / "m.gguf");
  const std::string whole = contents(folder / "m.gguf");
  const std::size_t header = whole.size() - 4 * 32;
  for (std::size_t n = 0; n < header; ++n) {
    for (const int flip : {0x01, 0x80, 0xff}) {
      std::string changed = whole;
      changed[n] = static_cast<char>(changed[n] ^ flip);
      put(folder / "changed.gguf", changed);
      const std::string message = message_of([&] {
        const model_file file = open_gguf(folder / "changed.gguf");
        for (const zoq::stored_tensor& t : file.tensors()) {
          message_of([&] { return file.matrix(t.name); });
        }
        for (const zoq::gguf_value& v : file.metadata()) {
          message_of([&] { return file.get_strings(v.key); });
          message_of([&] { return file.get_integers(v.key); });
          message_of([&] { return file.get_floats(v.key); });
          message_of([&] { return file.get_u64(v.key); });
          message_of([&] { return file.get_float(v.key); });
        }
      });
      CAPTURE(n);
      REQUIRE((message.empty() || is_one_line(message)));
    }
  }
}

TEST_CASE("gguf: what is no GGUF file, or one of another version") {
  const temporary_folder folder;
  CHECK(error_of(folder, "") == "not a GGUF file: it is empty");
  CHECK(error_of(folder, "GG") == "not a GGUF file");
  CHECK(error_of(folder, "PK\x03\x04 and so on") == "not a GGUF file");
  const std::string rest(64, '\0');
  CHECK(error_of(folder, "GGUF" + raw(std::uint32_t{2}) + rest) ==
        "GGUF version 2, zoq reads version 3");
  CHECK(error_of(folder, "GGUF" + raw(std::uint32_t{0x03000000}) + rest) ==
        "a big-endian GGUF file, zoq reads little-endian ones");
}

TEST_CASE("gguf: hostile counts and lengths") {
  const temporary_folder folder;
  const std::string start = "GGUF" + raw(std::uint32_t{3});
  const std::uint64_t huge = ~std::uint64_t{0};
  const std::string rest(64, '\0');
  CHECK(error_of(folder, start + raw(huge) + raw(std::uint64_t{0}) + rest) ==
        "cut short: the tensor count is 18446744073709551615, too many for the 64 bytes that are "
        "left");
  CHECK(error_of(folder, start + raw(std::uint64_t{0}) + raw(huge) + rest) ==
        "cut short: the metadata count is 18446744073709551615, too many for the 64 bytes that are "
        "left");
  const std::string one_value = start + raw(std::uint64_t{0}) + raw(std::uint64_t{1});
  CHECK(error_of(folder, one_value + raw(huge) + rest) ==
        "cut short: metadata key 0 needs 18446744073709551615 bytes at byte 32, the file has 96");
  const std::string key = one_value + raw_string("k");
  CHECK(error_of(folder, key + raw(std::uint32_t{13}) + rest) == "metadata k has unknown kind 13");
  CHECK(error_of(folder, key + raw(std::uint32_t{7}) + "\x02" + rest) ==
        "metadata k is neither true nor false");
  const std::string array = key + raw(std::uint32_t{9});
  CHECK(error_of(folder, array + raw(std::uint32_t{10}) + raw(huge / 8 + 2) + rest) ==
        "cut short: the element count of metadata k is 2305843009213693953, too many for the 64 "
        "bytes that are left");
  std::string nested = array;
  for (int depth = 0; depth < 10; ++depth) {
    nested += raw(std::uint32_t{9}) + raw(std::uint64_t{1});
  }
  CHECK(error_of(folder, nested + rest) == "metadata k nests arrays deeper than 4");
  CHECK(error_of(folder, start + raw(std::uint64_t{0}) + raw(std::uint64_t{2}) + raw_string("k") +
                             raw(std::uint32_t{0}) + "a" + raw_string("k") + raw(std::uint32_t{0}) +
                             "b") == "metadata k comes twice");
}

TEST_CASE("gguf: nested arrays are skipped, and no typed getter takes them") {
  const temporary_folder folder;
  const std::string inner = raw(std::uint32_t{0}) + raw(std::uint64_t{2}) + "ab";
  put(folder / "m.gguf", "GGUF" + raw(std::uint32_t{3}) + raw(std::uint64_t{0}) +
                             raw(std::uint64_t{1}) + raw_string("k") + raw(std::uint32_t{9}) +
                             raw(std::uint32_t{9}) + raw(std::uint64_t{2}) + inner + inner);
  const model_file file = open_gguf(folder / "m.gguf");
  CHECK(file.metadata()[0].count == 2);
  CHECK(message_of([&] { return file.get_integers("k"); }) ==
        folder / "m.gguf" + ": metadata k is an array of array, wanted an array of integers");
}

TEST_CASE("gguf: hostile tensors") {
  const temporary_folder folder;
  put(folder / "m.gguf", hostile({16}, 0, 0));
  CHECK(open_gguf(folder / "m.gguf").tensor("w").byte_count == 64);
  CHECK(error_of(folder, hostile({17}, 0, 0)) == "tensor w ends at byte 132, the file has 128");
  CHECK(error_of(folder, hostile({16}, 0, 32)) == "tensor w ends at byte 160, the file has 128");
  CHECK(error_of(folder, hostile({1}, 0, 96)) == "tensor w starts at byte 160, the file has 128");
  CHECK(error_of(folder, hostile({1}, 0, 1)) ==
        "tensor w is at offset 1, no multiple of the alignment 32");
  CHECK(error_of(folder, hostile({1}, 0, 0xffffffffffffffe0u)) ==
        "tensor w is at offset 18446744073709551584, the file has 128");
  CHECK(error_of(folder, hostile({}, 0, 0)) == "tensor w has 0 dimensions, wanted 1 to 4");
  CHECK(error_of(folder, hostile({1, 1, 1, 1, 1}, 0, 0)) ==
        "tensor w has 5 dimensions, wanted 1 to 4");
  CHECK(error_of(folder, hostile({4, 0}, 0, 0)) == "tensor w has an extent of 0");
  CHECK(error_of(folder, hostile({~std::uint64_t{0}}, 0, 0)) ==
        "tensor w has more than 2^62 values");
  CHECK(error_of(folder, hostile({std::uint64_t{1} << 32, std::uint64_t{1} << 32}, 0, 0)) ==
        "tensor w has more than 2^62 values");
  CHECK(error_of(folder, hostile({std::uint64_t{1} << 31, std::uint64_t{1} << 31}, 0, 0)) ==
        "tensor w has more than 2^62 bytes");
  CHECK(error_of(folder, hostile({33}, 3, 0)) ==
        "tensor w has 33 columns, no multiple of q4_1's block of 32");
  // A name that would spoil the one line is made printable.
  std::string evil = hostile({17}, 0, 0);
  evil[evil.find('w')] = '\n';
  CHECK(error_of(folder, evil) == "tensor ? ends at byte 132, the file has 128");
}

TEST_CASE("gguf: tensors must not overlap") {
  const temporary_folder folder;
  const auto two = [](std::uint32_t first_type, std::uint64_t second_at) {
    std::string s = "GGUF" + raw(std::uint32_t{3}) + raw(std::uint64_t{2}) + raw(std::uint64_t{0});
    s += raw_string("b") + raw(std::uint32_t{1}) + raw(std::uint64_t{16}) + raw(first_type) +
         raw(std::uint64_t{0});
    s += raw_string("a") + raw(std::uint32_t{1}) + raw(std::uint64_t{8}) + raw(std::uint32_t{0}) +
         raw(second_at);
    s.resize((s.size() + 31) / 32 * 32 + 96);
    return s;
  };
  put(folder / "m.gguf", two(0, 64));
  CHECK(open_gguf(folder / "m.gguf").tensors().size() == 2);
  CHECK(error_of(folder, two(0, 32)) == "tensor a overlaps b");
  CHECK(error_of(folder, two(0, 0)).find("overlaps") != std::string::npos);
  put(folder / "m.gguf", two(999, 32));  // where an unknown format ends is not known
  CHECK(open_gguf(folder / "m.gguf").tensors().size() == 2);
}

TEST_CASE("gguf: more metadata or tensors than any model has are refused") {
  const temporary_folder folder;
  const std::string start = "GGUF" + raw(std::uint32_t{3});
  const std::string room(3'000'000, '\0');
  CHECK(error_of(folder, start + raw(std::uint64_t{0}) + raw(std::uint64_t{65537}) + room) ==
        "the metadata count is 65537, zoq reads up to 65536");
  CHECK(error_of(folder, start + raw(std::uint64_t{16385}) + raw(std::uint64_t{0}) + room) ==
        "the tensor count is 16385, zoq reads up to 16384");
}

TEST_CASE("gguf: the alignment of the metadata is obeyed and checked") {
  const temporary_folder folder;
  const auto aligned = [&](std::uint32_t bytes) {
    return raw_string("general.alignment") + raw(std::uint32_t{4}) + raw(bytes);
  };
  std::string file = hostile({1}, 0, 64, aligned(64), 1);
  file.resize(256);
  file[192] = 'x';
  put(folder / "m.gguf", file);
  const model_file opened = open_gguf(folder / "m.gguf");
  CHECK(*opened.tensor("w").data == std::byte{'x'});
  for (const std::uint32_t wrong : {0u, 1u, 4u, 24u, 33u}) {
    CHECK(error_of(folder, hostile({1}, 0, 0, aligned(wrong), 1)) ==
          "metadata general.alignment is " + std::to_string(wrong) +
              ", wanted a power of two from 8 up");
  }
}

TEST_CASE("gguf_writer: wrong use names the tensor or the key") {
  zoq::gguf_writer out;
  out.set("k", 1);
  CHECK(message_of([&] { out.set("k", 2); }) == "gguf: metadata k comes twice");
  CHECK(message_of([&] {
          out.add_tensor("w", {3, 3}, 0, bytes_of(floats));
        }) == "gguf: tensor w has 32 bytes, its shape needs 36");
  CHECK(message_of([&] { out.add_tensor("w", {}, 0, bytes_of(floats)); }) ==
        "gguf: tensor w has 0 dimensions, wanted 1 to 4");
  CHECK(message_of([&] {
          out.add_tensor("w", {8, 0}, 0, bytes_of(floats));
        }) == "gguf: tensor w has extent 0");
  CHECK(message_of([&] { out.add_tensor("w", {8}, 3, bytes_of(floats)); }) ==
        "gguf: tensor w has 8 columns, no multiple of q4_1's block of 32");
  out.add_tensor("w", {8}, 0, bytes_of(floats));
  CHECK(message_of([&] { out.add_tensor("w", {8}, 0, bytes_of(floats)); }) ==
        "gguf: tensor w comes twice");
}
