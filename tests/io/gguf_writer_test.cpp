// What gguf_test.cpp, which reads back what the writer wrote, does not cover: tensors that are made
// while the file is written, and metadata of another file.
//
// SPDX-License-Identifier: Apache-2.0
#include "zoq/io/gguf_writer.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "temporary_folder.hpp"
#include "zoq/io/gguf.hpp"

using zoq::gguf_writer;
using zoq::test::contents;
using zoq::test::message_of;
using zoq::test::put;
using zoq::test::temporary_folder;

namespace {

const std::vector<float> floats = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10};

std::span<const std::byte> bytes_of(const std::vector<float>& x) {
  return std::as_bytes(std::span(x));
}

// Ten floats, in pieces of so many bytes.
gguf_writer in_pieces(std::size_t piece, std::size_t all = 40) {
  gguf_writer out;
  out.add_tensor("w", {5, 2}, 0, [=](const gguf_writer::sink& to) {
    for (std::size_t at = 0; at < all; at += piece) {
      to(bytes_of(floats).subspan(at % 40, std::min(piece, all - at)));
    }
  });
  out.add_tensor("v", {10}, 0, bytes_of(floats));
  return out;
}

}  // namespace

TEST_CASE("gguf_writer: bytes made in pieces are the bytes given at once") {
  const temporary_folder folder;
  gguf_writer at_once;
  at_once.add_tensor("w", {5, 2}, 0, bytes_of(floats));
  at_once.add_tensor("v", {10}, 0, bytes_of(floats));
  at_once.write(folder / "at_once");
  for (const std::size_t piece : {std::size_t{4}, std::size_t{12}, std::size_t{40}}) {
    in_pieces(piece).write(folder / "pieces");
    CHECK(contents(folder / "pieces") == contents(folder / "at_once"));
  }
}

TEST_CASE("gguf_writer: what goes wrong while a tensor is made leaves the old file") {
  const temporary_folder folder;
  const std::string path = folder / "m.gguf";
  put(path, "old");
  CHECK(message_of([&] { in_pieces(4, 36).write(path); }) ==
        path + ": tensor w got 36 bytes, its shape needs 40");
  CHECK(message_of([&] { in_pieces(4, 44).write(path); }) ==
        path + ": tensor w gets 44 bytes and more, its shape needs 40");
  gguf_writer stopped;
  stopped.add_tensor("w", {10}, 0, [](const gguf_writer::sink& to) {
    to(bytes_of(floats));
    throw std::runtime_error("stopped");
  });
  CHECK_THROWS_WITH_AS(stopped.write(path), "stopped", std::runtime_error);
  CHECK(contents(path) == "old");
  CHECK(folder.entries() == 1);  // no temporary file
}

TEST_CASE("gguf_writer: tensors are checked when they are added") {
  gguf_writer out;
  const auto nothing = [](const gguf_writer::sink&) {};
  CHECK(message_of([&] { out.add_tensor("w", {5}, 999, nothing); }) ==
        "gguf: tensor w has unknown type 999");
  CHECK(message_of([&] {
          out.add_tensor("x", {40, 2}, 3, nothing);
        }) == "gguf: tensor x has 40 columns, no multiple of q4_1's block of 32");
  out.add_tensor("y", {4}, 0, nothing);
  CHECK(message_of([&] { out.add_tensor("y", {4}, 0, nothing); }) == "gguf: tensor y comes twice");
}

TEST_CASE("gguf_writer: values of every kind go over from another file") {
  const temporary_folder folder;
  gguf_writer first;
  first.set("u8", std::uint8_t{200});
  first.set("i16", std::int16_t{-30000});
  first.set("f32", 0.5f);
  first.set("f64", 0.1);
  first.set("u64", std::uint64_t{1} << 63);
  first.set("yes", true);
  first.set("word", "some text");
  first.set("words", std::vector<std::string>{"a", "", "ccc"});
  first.set("ints", std::vector<std::int16_t>{-1, 2, 300});
  first.set("none", std::vector<std::int32_t>{});
  first.write(folder / "first");
  const zoq::model_file file = zoq::open_gguf(folder / "first");
  gguf_writer second;
  for (const zoq::gguf_value& value : file.metadata()) {
    second.set(value);
  }
  second.write(folder / "second");
  CHECK(contents(folder / "second") == contents(folder / "first"));
  CHECK(message_of([&] { second.set(file.metadata()[0]); }) == "gguf: metadata u8 comes twice");
}
