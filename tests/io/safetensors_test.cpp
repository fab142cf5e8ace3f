// SPDX-License-Identifier: Apache-2.0
#include "zoq/io/safetensors.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "temporary_folder.hpp"

using zoq::index_t;
using zoq::safetensor;
using zoq::safetensor_of;
using zoq::safetensors_file;
using zoq::test::contents;
using zoq::test::is_one_line;
using zoq::test::message_of;
using zoq::test::put;
using zoq::test::temporary_folder;

namespace {

const std::vector<float> floats = {1, 2, 3, 4, 5, 6};
const std::vector<std::int32_t> ints = {-1, 7};
const std::vector<std::uint8_t> bytes = {1, 2, 3};
const std::vector<zoq::f16> halves = {{0x3c00}};

std::vector<safetensor> small() {
  return {safetensor_of("z", {3}, std::span(bytes)), safetensor_of("a", {2, 3}, std::span(floats)),
          safetensor_of("empty", {0, 5}, std::span(floats).first(0)),
          safetensor_of("\xc3\xa9\"\\", {2}, std::span(ints)),
          safetensor_of("one", {}, std::span(halves))};
}

std::string with_header(const std::string& header, std::size_t data) {
  const auto length = static_cast<std::uint64_t>(header.size());
  return std::string(reinterpret_cast<const char*>(&length), 8) + header + std::string(data, 'd');
}

std::string error_of(const temporary_folder& folder, const std::string& file) {
  put(folder / "x", file);
  const std::string message = message_of([&] { safetensors_file::open(folder / "x"); });
  CHECK(is_one_line(message));
  const std::string prefix = folder / "x" + ": ";
  CHECK(message.rfind(prefix, 0) == 0);
  return message.substr(std::min(message.size(), prefix.size()));
}

}  // namespace

TEST_CASE("safetensors: what is written comes back, in the order given") {
  const temporary_folder folder;
  zoq::write_safetensors(folder / "x", small(), {{"model", "a\nb"}, {"zoq", "1"}});
  safetensors_file opened = safetensors_file::open(folder / "x");
  const safetensors_file file = std::move(opened);  // views survive a move
  CHECK(file.metadata().size() == 2);
  CHECK(file.metadata("model") == "a\nb");
  CHECK(message_of([&] { return file.metadata("gone"); }) ==
        folder / "x" + ": metadata gone is missing");
  REQUIRE(file.tensors().size() == 5);
  CHECK(file.tensors()[0].name == "z");
  CHECK(file.tensor("a").shape == std::vector<index_t>{2, 3});
  CHECK(file.values<float>("a") == floats);
  CHECK(file.values<std::int32_t>("\xc3\xa9\"\\") == ints);
  CHECK(file.values<float>("empty").empty());
  CHECK(file.tensor("one").shape.empty());
  CHECK(file.values<zoq::f16>("one")[0].bits == 0x3c00);
  CHECK(file.find("gone") == nullptr);
  CHECK(message_of([&] { return file.tensor("gone"); }) ==
        folder / "x" + ": tensor gone is missing");
  CHECK(message_of([&] { return file.values<double>("a"); }) ==
        folder / "x" + ": tensor a is of dtype F32, wanted F64");
}

TEST_CASE("safetensors: the bytes are those of the format, and the same each time") {
  const temporary_folder folder;
  const std::vector<safetensor> one = {safetensor_of("w", {2}, std::span(ints))};
  zoq::write_safetensors(folder / "x", one, {{"k", "v"}});
  const std::string header =
      R"({"__metadata__":{"k":"v"},"w":{"dtype":"I32","shape":[2],"data_offsets":[0,8]}})";
  const std::string file = contents(folder / "x");
  std::uint64_t length = 0;
  std::memcpy(&length, file.data(), 8);
  CHECK(length % 8 == 0);
  CHECK(file.substr(8, header.size()) == header);
  CHECK(file.substr(8 + header.size(), length - header.size()) ==
        std::string(length - header.size(), ' '));
  CHECK((file.substr(8 + length) == std::string("\xff\xff\xff\xff\x07\0\0\0", 8)));
  zoq::write_safetensors(folder / "y", one, {{"k", "v"}});
  CHECK((contents(folder / "y") == file));
  zoq::write_safetensors(folder / "none", {});
  CHECK(safetensors_file::open(folder / "none").tensors().empty());
}

TEST_CASE("safetensors: the dtypes of C++ types") {
  CHECK(zoq::dtype_of<std::uint8_t>() == "U8");
  CHECK(zoq::dtype_of<std::int8_t>() == "I8");
  CHECK(zoq::dtype_of<std::uint16_t>() == "U16");
  CHECK(zoq::dtype_of<std::uint32_t>() == "U32");
  CHECK(zoq::dtype_of<std::uint64_t>() == "U64");
  CHECK(zoq::dtype_of<index_t>() == "I64");
  CHECK(zoq::dtype_of<double>() == "F64");
  CHECK(zoq::dtype_of<zoq::bf16>() == "BF16");
  CHECK(zoq::dtype_bytes("BF16") == 2);
  CHECK(zoq::dtype_bytes("F4") == 0);
}

TEST_CASE("safetensors: a file cut at any byte, or longer by one, is refused in one line") {
  const temporary_folder folder;
  zoq::write_safetensors(folder / "x", small(), {{"model", "m"}});
  const std::string whole = contents(folder / "x");
  for (std::size_t n = 0; n < whole.size(); ++n) {
    put(folder / "cut", whole.substr(0, n));
    CAPTURE(n);
    REQUIRE(is_one_line(message_of([&] { safetensors_file::open(folder / "cut"); })));
  }
  CHECK(error_of(folder, whole + "x") == "the last 1 bytes belong to no tensor");
}

TEST_CASE("safetensors: a file with any one byte of its header changed is refused or read") {
  const temporary_folder folder;
  zoq::write_safetensors(folder / "x", small(), {{"model", "m"}});
  const std::string whole = contents(folder / "x");
  for (std::size_t n = 0; n < whole.size() - 43; ++n) {
    for (const int flip : {0x01, 0x10, 0x80, 0xff}) {
      std::string changed = whole;
      changed[n] = static_cast<char>(changed[n] ^ flip);
      put(folder / "changed", changed);
      const std::string message = message_of([&] { safetensors_file::open(folder / "changed"); });
      CAPTURE(n);
      REQUIRE((message.empty() || is_one_line(message)));
    }
  }
}

TEST_CASE("safetensors: hostile headers") {
  const temporary_folder folder;
  const auto error = [&](const std::string& header, std::size_t data = 8) {
    return error_of(folder, with_header(header, data));
  };
  CHECK(error_of(folder, "") ==
        "cut short: the header's length needs 8 bytes at byte 0, the file has 0");
  CHECK(error_of(folder, std::string(20, '\xff')) ==
        "not a safetensors file: a header of 18446744073709551615 bytes");
  CHECK(error_of(folder, std::string("\x40\0\0\0\0\0\0\0{}", 10)) ==
        "cut short: the header needs 64 bytes at byte 8, the file has 10");
  CHECK(error("{\"w\": ").rfind("header: broken JSON at column ", 0) == 0);
  CHECK(error("[]") == "header is no JSON object");
  CHECK(error("{\"w\":1}") == "tensor w is no JSON object");
  CHECK(error(R"({"w":{}})") == "tensor w: key \"dtype\" is missing");
  CHECK(error(R"({"w":{},"w":{}})") == "header: key \"w\" comes twice");
  CHECK(error(R"({"__metadata__":{"k":1}})") == "metadata k is no string");
  CHECK(error(R"({"__metadata__":[]})") == "__metadata__ is no JSON object");
  const auto tensor = [](const std::string& dtype, const std::string& shape,
                         const std::string& offsets) {
    return R"({"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets +
           "}";
  };
  const auto one = [&](const std::string& dtype, const std::string& shape,
                       const std::string& offsets) {
    return error("{\"w\":" + tensor(dtype, shape, offsets) + "}");
  };
  CHECK(one("F4", "[2]", "[0,8]") == "tensor w has unknown dtype F4");
  CHECK(one("F32", "2", "[0,8]") == "tensor w: \"shape\" is no array");
  const std::string not_whole = " has an entry that is no whole number up to 2^62";
  CHECK(one("F32", "[-2]", "[0,8]") == "tensor w: \"shape\"" + not_whole);
  CHECK(one("F32", "[2.0]", "[0,8]") == "tensor w: \"shape\"" + not_whole);
  CHECK(one("F32", "[18446744073709551615]", "[0,8]") == "tensor w: \"shape\"" + not_whole);
  CHECK(one("F32", "[4294967296,4294967296]", "[0,8]") == "tensor w has more than 2^62 bytes");
  const std::string no_pair = "tensor w: \"data_offsets\" is no pair of a beginning and an end";
  CHECK(one("F32", "[2]", "[0]") == no_pair);
  CHECK(one("F32", "[2]", "[8,0]") == no_pair);
  CHECK(one("F32", "[3]", "[0,8]") == "tensor w has 8 bytes, its shape needs 12");
  CHECK(one("F32", "[4]", "[0,16]") == "tensor w ends at byte 16 of the data, the file has 8");
  CHECK(one("F32", "[1]", "[0,4]") == "the last 4 bytes belong to no tensor");
  CHECK(one("F32", "[1]", "[4,8]") == "the 4 bytes before tensor w belong to no tensor");
  CHECK(error("{\"v\":" + tensor("F32", "[2]", "[0,8]") + ",\"w\":" +
              tensor("F32", "[1]", "[4,8]") + "}") == "tensor w overlaps the one before it");
}

TEST_CASE("safetensors: writing what is wrong names the tensor and leaves no file") {
  const temporary_folder folder;
  const auto error = [&](const std::vector<safetensor>& tensors) {
    return message_of([&] { zoq::write_safetensors(folder / "x", tensors); });
  };
  const std::string start = folder / "x" + ": tensor w";
  CHECK(error({safetensor_of("w", {3}, std::span(ints))}) ==
        start + " has 8 bytes, its shape needs 12");
  CHECK(error({safetensor_of("w", {-2}, std::span(ints))}) == start + " has more than 2^62 bytes");
  CHECK(error({{"w", "F4", {}, {}}}) == start + " has unknown dtype F4");
  CHECK(error({safetensor_of("w", {2}, std::span(ints)),
               safetensor_of("w", {2}, std::span(ints))}) == start + " comes twice");
  CHECK(error({safetensor_of("__metadata__", {2}, std::span(ints))}) ==
        folder / "x" + ": tensor __metadata__ comes twice");
  CHECK(error({safetensor_of("\xff", {2}, std::span(ints))}) ==
        folder / "x" + ": \"?\" is no UTF-8");
  CHECK(folder.entries() == 0);
}
